"""What dispatch hears of ETAs: a change that matters, a risk, a lateness, a recovery: each with hysteresis, each once.

These are statements of a moment (the catalogue's ◦): what was said stays said, and is superseded by what is said next.
"""

from __future__ import annotations

import math

from gateway.engine.live import Live, Said
from gateway.engine.options import AdherenceRule
from gateway.engine.vehicle import Vehicle
from gateway.engine.world import PlanRecord
from gateway.model import Eta, Event, Scalar

SIGMAS_TO_P90 = 1.2816


def p_after(eta: Eta, time_ms: int) -> float:
    """Probability that the stop is reached after `time_ms`: normal on either side of the median, each with its own width."""
    side_ms = eta.p90_ms - eta.p50_ms if time_ms >= eta.p50_ms else eta.p50_ms - eta.p10_ms
    sigma_ms = max(side_ms / SIGMAS_TO_P90, 1.0)
    return 0.5 * math.erfc((time_ms - eta.p50_ms) / sigma_ms / math.sqrt(2))


def review(vehicle: Vehicle, record: PlanRecord, etas: list[Eta], now_ms: int, rule: AdherenceRule) -> list[Event]:
    """What is to be said of the open stops now."""
    live = vehicle.live
    events: list[Event] = []
    for ahead, eta in enumerate(etas):
        said = live.stops.setdefault(eta.stop_id, Said())
        events += _update(vehicle, record, said, eta, rule)
        events += _warnings(vehicle, record, said, eta, now_ms, rule, near=ahead < rule.ahead_stops)
    return events


def availability(vehicle: Vehicle, available: bool, now_ms: int) -> list[Event]:
    """Said when the ETAs of a vehicle under way end for want of a fix, and when they are there again."""
    live: Live = vehicle.live
    if available and live.unavailable_since_ms is not None:
        since_ms, live.unavailable_since_ms = live.unavailable_since_ms, None
        return [_availability(vehicle, "eta.available", since_ms, now_ms)]
    if not available and live.unavailable_since_ms is None:
        live.unavailable_since_ms = now_ms
        return [_availability(vehicle, "eta.unavailable", now_ms, now_ms)]
    return []


def _availability(vehicle: Vehicle, kind: str, since_ms: int, now_ms: int) -> Event:
    return Event(
        type=kind,
        key=f"vehicle/{vehicle.vehicle_id}/{kind}/{since_ms}",
        time_ms=now_ms,
        detected_ms=now_ms,
        vehicle_id=vehicle.vehicle_id,
        device_id=vehicle.device_id,
        plan_id=vehicle.live.plan_id,
        position=vehicle.position,
        measures={"reason": "no usable fix", "last_known_ms": vehicle.received_ms},
    )


def _update(vehicle: Vehicle, record: PlanRecord, said: Said, eta: Eta, rule: AdherenceRule) -> list[Event]:
    """Only a change that somebody would plan differently for; jitter is none."""
    end_ms = record.stops[eta.stop_id].window_end_ms
    late_side = end_ms is not None and eta.p50_ms > end_ms
    if said.p50_ms is not None:
        moved_s = abs(eta.p50_ms - said.p50_ms) / 1000
        remaining_s = (eta.p50_ms - eta.at_ms) / 1000
        matters = moved_s > max(rule.update_s, rule.update_share * remaining_s)
        turned = late_side != said.late_side and moved_s > rule.update_s / 2
        if not matters and not turned and eta.method == said.method:
            return []
    previous_ms = said.p50_ms
    said.p50_ms, said.method, said.told_ms, said.late_side = eta.p50_ms, eta.method, eta.at_ms, late_side
    said.updates += 1
    return [_event(vehicle, record, eta, "eta.updated", 1, said.updates, {"previous_p50_ms": previous_ms})]


def _warnings(
    vehicle: Vehicle, record: PlanRecord, said: Said, eta: Eta, now_ms: int, rule: AdherenceRule, *, near: bool
) -> list[Event]:
    """A warning for a stop that is not yet `near` is kept, and given once it is unless it has calmed down by then."""
    end_ms = record.stops[eta.stop_id].window_end_ms
    if end_ms is None:
        return []
    p_late = p_after(eta, end_ms)
    delay_s = (eta.p50_ms - end_ms) / 1000
    said.risk_since_ms = _since(said.risk_since_ms, p_late >= rule.risk_p, now_ms)
    said.late_since_ms = _since(said.late_since_ms, delay_s > rule.late_tolerance_s or now_ms > end_ms, now_ms)
    said.calm_since_ms = _since(said.calm_since_ms, p_late < rule.recovered_p, now_ms)
    measures: dict[str, Scalar | None] = {"p_late": round(p_late, 3), "delay_s": round(delay_s, 1)}
    if said.warned is not None:
        said.peak_delay_s = max(said.peak_delay_s, delay_s)
        if _lasted(said.calm_since_ms, now_ms, rule.recovered_s) and now_ms <= end_ms:
            given, peak = said.given, {**measures, "peak_delay_s": said.peak_delay_s}
            said.warned, said.kept, said.spell, said.given = None, None, (), False
            return [_event(vehicle, record, eta, "eta.recovered", said.warnings, 1, peak)] if given else []
    late = now_ms > end_ms or _lasted(said.late_since_ms, now_ms, rule.sustain_s)
    risk = _lasted(said.risk_since_ms, now_ms, rule.sustain_s)
    kind = "late" if late else "at_risk" if risk else None
    if kind is not None and kind not in said.spell and said.warned != "late":
        if said.warned is None:
            said.peak_delay_s = delay_s
        said.warned, said.kept, said.spell = kind, kind, (*said.spell, kind)
    if said.kept is None or not near:
        return []
    kind, said.kept = said.kept, None
    if not said.given:
        said.warnings, said.given = said.warnings + 1, True
    measures["slack_s"] = round((end_ms - now_ms) / 1000, 1)
    measures["lead_s"] = round((eta.p50_ms - now_ms) / 1000, 1)
    return [_event(vehicle, record, eta, f"eta.{kind}", said.warnings, 1, measures)]


def _since(since_ms: int | None, holds: bool, now_ms: int) -> int | None:
    return (now_ms if since_ms is None else since_ms) if holds else None


def _lasted(since_ms: int | None, now_ms: int, seconds: float) -> bool:
    return since_ms is not None and now_ms - since_ms >= seconds * 1000


def _event(
    vehicle: Vehicle,
    record: PlanRecord,
    eta: Eta,
    kind: str,
    number: int,
    revision: int,
    measures: dict[str, Scalar | None],
) -> Event:
    plan = record.plan
    told = {
        "p10_ms": eta.p10_ms,
        "p50_ms": eta.p50_ms,
        "p90_ms": eta.p90_ms,
        "remaining_m": eta.remaining_m,
        "age_s": eta.age_s,
    }
    return Event(
        type=kind,
        key=f"plan/{plan.plan_id}/stop/{eta.stop_id}/visit/{number}/{kind}",
        time_ms=eta.at_ms,
        detected_ms=eta.at_ms,
        vehicle_id=vehicle.vehicle_id,
        device_id=vehicle.device_id,
        revision=revision,
        plan_id=plan.plan_id,
        plan_version=plan.version,
        plan_external_ids=plan.external_ids,
        stop=record.stops[eta.stop_id],
        position=vehicle.position,
        method=eta.method,
        measures={**told, **{k: v for k, v in measures.items() if v is not None}},
    )
