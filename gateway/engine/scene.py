"""One fix of one vehicle in its surroundings: what the rules look at, and how they word what they conclude."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, structs

from gateway.engine.fixes import Fix, metres_between
from gateway.engine.kinematics import passing_s
from gateway.engine.observed import Crossing
from gateway.engine.options import EngineOptions
from gateway.engine.world import PlanRecord, World
from gateway.model import Event, Evidence, Position, Stop


class Scene(Struct, gc=False):
    """The fix, the one before it, the plan in force at its time, and the world for the geometry of crossings."""

    vehicle_id: str
    device_id: str | None
    options: EngineOptions
    world: World
    plan: PlanRecord | None
    before: Fix | None
    fix: Fix

    def crossed_stop(self, stop_id: str, *, entering: bool) -> Crossing:
        if self.plan is None:
            raise ValueError("no plan, no stop")
        return self._crossed(self.world.stop_crossings(self.plan, stop_id, self.before, self.fix), entering)

    def crossed_fence(self, fence_id: str, *, entering: bool) -> Crossing | None:
        """None where the boundary was not crossed between the two fixes: the vehicle was there before the zone."""
        found = self.world.fence_crossings(fence_id, self.before, self.fix)
        return self._crossed(found, entering) if any(e is entering for _, e in found) else None

    def _crossed(self, found: list[tuple[float, bool]], entering: bool) -> Crossing:
        fix, before = self.fix, self.before
        if before is None:
            return Crossing(fix.time_ms, fix.time_ms, fix.time_ms)
        shares = [share for share, way in found if way is entering]
        if not shares:
            return Crossing(fix.time_ms if entering else before.time_ms, before.time_ms, fix.time_ms)
        return Crossing(self.passed_ms(shares[-1] if entering else shares[0]), before.time_ms, fix.time_ms)

    def passed_ms(self, share: float) -> int:
        """When that share of the way from the fix before to this one was driven."""
        before, fix = self.before, self.fix
        if before is None:
            return fix.time_ms
        length_m = metres_between(before, fix)
        duration_s = (fix.time_ms - before.time_ms) / 1000
        passed = passing_s(share * length_m, length_m, duration_s, before.speed_mps, fix.speed_mps)
        return before.time_ms + round(passed * 1000)

    def position(self) -> Position:
        f = self.fix
        return Position(
            device_id=self.device_id or self.vehicle_id,
            time_ms=f.time_ms,
            lat_deg=f.lat_deg,
            lon_deg=f.lon_deg,
            accuracy_m=f.accuracy_m,
            speed_mps=f.speed_mps,
            course_deg=f.course_deg,
            fix="gnss",
        )

    def event(self, kind: str, key: str, crossing: Crossing, **more: Any) -> Event:
        """An observed event; detection, sequence and revision are the caller's to fill in."""
        return Event(
            type=kind,
            key=key,
            time_ms=crossing.time_ms,
            occurred_min_ms=crossing.min_ms,
            occurred_max_ms=crossing.max_ms,
            detected_ms=0,
            vehicle_id=self.vehicle_id,
            device_id=self.device_id,
            position=self.position(),
            **more,
        )

    def stop(self, stop_id: str) -> Stop:
        if self.plan is None:
            raise ValueError("no plan, no stop")
        return self.plan.stops[stop_id]

    def stop_event(self, kind: str, stop: Stop, visit: int, crossing: Crossing, **more: Any) -> Event:
        if self.plan is None:
            raise ValueError("no plan, no stop")
        plan = self.plan.plan
        return self.event(
            f"stop.{kind}",
            f"plan/{plan.plan_id}/stop/{stop.stop_id}/visit/{visit}/{kind}",
            crossing,
            source_of_claim="gps",
            plan_id=plan.plan_id,
            plan_version=plan.version,
            plan_external_ids=plan.external_ids,
            stop=stop,
            **more,
        )

    def evidence(self, rule: str, fixes_ms: tuple[int, ...], zone: str, reasons: tuple[str, ...]) -> Evidence:
        decided = tuple(sorted({*fixes_ms, self.fix.time_ms}))
        return Evidence(fixes_ms=decided, rule=rule, zone=zone, zone_version=1, reasons=reasons)


def withdrawn(event: Event, reasons: tuple[str, ...]) -> Event:
    """The same event, taken back: it repeats the data that it withdraws."""
    evidence = structs.replace(event.evidence or Evidence(), reasons=reasons)
    return structs.replace(event, status="withdrawn", evidence=evidence)
