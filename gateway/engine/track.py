"""`advance`: one fix further, for one vehicle. A pure function of what was observed, the fix, and the world."""

from __future__ import annotations

from gateway.engine.fences import advance_fences
from gateway.engine.fixes import Fix, metres_between
from gateway.engine.motion import follow
from gateway.engine.observed import Observed
from gateway.engine.options import EngineOptions
from gateway.engine.scene import Scene
from gateway.engine.stops import advance_stops
from gateway.engine.world import World
from gateway.model import Event

BLIND_MS = 120_000
"""A gap between fixes beyond this is time about which nothing is known."""


def advance(
    seen: Observed, fix: Fix, vehicle_id: str, device_id: str | None, world: World, options: EngineOptions
) -> list[Event]:
    """Changes `seen`; returns the observed events, exits before entries, without detection time, seq and revision."""
    before = seen.last
    if before is not None and _leaps(before, fix, options.fix.top_speed_mps):
        if seen.suspect is None or _leaps(seen.suspect, fix, options.fix.top_speed_mps):
            seen.suspect = fix
            return []
        before = seen.suspect
    seen.suspect = None
    plan = world.plan_at(vehicle_id, fix.time_ms)
    plan_id = None if plan is None else plan.plan.plan_id
    if plan_id != seen.plan_id:
        seen.plan_id, seen.plan_open, seen.stops = plan_id, plan is not None, {}
        seen.blind_ms, seen.known_ms = 0, fix.time_ms
    if before is not None and fix.time_ms - before.time_ms > BLIND_MS:
        seen.blind_ms += fix.time_ms - before.time_ms
    scene = Scene(vehicle_id, device_id, options, world, plan, before, fix)
    seen.stand = follow(seen.stand, before, fix)
    events = advance_stops(seen, scene)
    if seen.fences or fix.fences:
        events += advance_fences(seen, scene)
    seen.last = fix
    return events


def _leaps(before: Fix, fix: Fix, top_speed_mps: float) -> bool:
    """Could no vehicle have driven this, even if both fixes are off by twice their accuracy?"""
    if abs(fix.lat_deg - before.lat_deg) + abs(fix.lon_deg - before.lon_deg) < 1e-3:
        return False
    reach_m = top_speed_mps * (fix.time_ms - before.time_ms) / 1000
    return metres_between(before, fix) - 2 * (before.accuracy_m + fix.accuracy_m) > reach_m
