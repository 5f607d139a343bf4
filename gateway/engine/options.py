"""What the engine can be told: thresholds of its rules, each with a default that is meant to fit every fleet."""

from __future__ import annotations

from msgspec import Struct


class FixRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which fixes may drive a vehicle's state, and what an unstated accuracy is taken for."""

    future_s: float = 60.0
    stale_days: float = 7.0
    default_accuracy_m: float = 30.0
    """For a fix that states neither accuracy nor HDOP nor satellites: pessimistic, yet enough for a 50 m zone."""
    network_accuracy_m: float = 500.0
    top_speed_mps: float = 70.0
    """A fix that would need more than this (after both accuracies) is held back until a second one agrees with it."""


class ArrivalRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a vehicle has arrived at a stop of its plan, and when it has left."""

    p_inside: float = 0.9
    slow_mps: float = 1.5
    stand_s: float = 30.0
    """Standing this long inside the zone is an arrival."""
    stand_expected_s: float = 15.0
    """The same at the next stop of the plan: a halt where one is expected needs half the proof."""
    stand_again_s: float = 120.0
    """The same at a stop that was served already: passing it again, in traffic, is common; serving it twice is rare."""
    min_service_s: float = 25.0
    """A visit that stood for less, where the plan expects at least twice that, was traffic: it is withdrawn."""
    dwell_s: float = 60.0
    crawl_mps: float = 1.0
    """Inside for `dwell_s` at a mean speed below this is an arrival too (manoeuvring in a yard)."""
    exit_margin_m: float = 15.0
    exit_s: float = 30.0
    """Outside zone + margin on two fixes, or for this long, is a departure."""


class FenceRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a generic zone is entered and left. Confirmation is by time: a count of fixes gets worse with faster reports."""

    p_inside: float = 0.9
    p_outside: float = 0.1
    exit_margin_m: float = 15.0
    confirm_s: float = 10.0


class AdherenceRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When dispatch hears of an ETA: change that matters, risk, lateness, recovery."""

    every_s: float = 60.0
    """How often a vehicle under way is looked at."""
    update_s: float = 60.0
    update_share: float = 0.05
    risk_p: float = 0.8
    sustain_s: float = 120.0
    late_tolerance_s: float = 300.0
    recovered_p: float = 0.3
    recovered_s: float = 300.0
    ahead_stops: int = 3
    """Warnings name the next open stops only: a late vehicle is late for all the rest of its plan."""


class SilenceRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Silence is measured against the vehicle's own rhythm."""

    intervals: float = 3.0
    least_s: float = 180.0
    parked_s: float = 3_600.0
    """A vehicle that stood when it was last heard may sleep this long before it counts as silent."""


class LateRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far back late data may still rewrite what was concluded."""

    horizon_s: float = 1_800.0
    fixes: int = 1_024
    revise_min_s: float = 30.0


class EngineOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    fix: FixRule = FixRule()
    arrival: ArrivalRule = ArrivalRule()
    fence: FenceRule = FenceRule()
    adherence: AdherenceRule = AdherenceRule()
    silence: SilenceRule = SilenceRule()
    late: LateRule = LateRule()
    plan_grace_s: float = 4 * 3_600.0
    """A plan nobody finishes closes this long after its last window."""
