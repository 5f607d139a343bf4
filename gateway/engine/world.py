"""What commands told the engine: who reports for whom, which plan is in force when, and which zones there are."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from gateway.engine.fixes import Fix, Near
from gateway.geofence import Zones, stop_zone
from gateway.model import (
    Assignment,
    Command,
    DevicePut,
    Fence,
    FenceRemove,
    FencesPut,
    Plan,
    PlanPut,
    PlanRemove,
    Stop,
)

FOREVER_MS = 2**62
STOP_REACH_M = 100.0
"""Stops are located this far round their zone, plus twice the fix's accuracy."""
FENCE_REACH_MAX_M = 5_000.0
"""Zones further than this from both ends of a step are not looked for along it."""

_Place: TypeAlias = tuple[object, ...]


class PlanRecord(Struct, eq=False):
    """A plan in force from `start_ms` to `end_ms`. Its path is kept as an array: a tuple of tuples takes nine times that."""

    plan: Plan
    path: NDArray[np.float64] | None
    start_ms: int
    end_ms: int
    stops: dict[str, Stop]
    order: tuple[str, ...]
    handles: dict[str, int]
    at_handle: dict[int, tuple[str, ...]]
    twins: dict[str, tuple[str, ...]]

    def in_order(self, stop_ids: Iterable[str]) -> list[str]:
        rank = self.stops
        return sorted((i for i in stop_ids if i in rank), key=lambda i: rank[i].sequence)

    def whole(self) -> Plan:
        """The plan as it was put."""
        if self.path is None:
            return self.plan
        return structs.replace(self.plan, path=tuple((float(lon), float(lat)) for lon, lat in self.path))


class Point(Struct, array_like=True, gc=False):
    """A position to locate: where, how well known, and how far from the vehicle's neighbouring fix."""

    lat_deg: float
    lon_deg: float
    accuracy_m: float
    step_m: float
    plan: PlanRecord | None


class World:
    def __init__(self, plan_grace_s: float) -> None:
        self._grace_ms = round(plan_grace_s * 1000)
        self._assignments: dict[str, list[Assignment]] = {}
        self._plans: dict[str, PlanRecord] = {}
        self._schedule: dict[str, list[tuple[int, str]]] = {}
        self._fences = Zones()
        self._fence_handles: dict[str, int] = {}
        self._sites = Zones()
        self._site_handles: dict[_Place, tuple[int, int]] = {}
        self._sites_named = 0

    # -------------------------------------------------------------------------------------------------- commands

    def apply(self, command: Command) -> None:
        """Take a command into force. Applying one again changes nothing."""
        match command:
            case PlanPut(received_ms=received_ms, plan=plan):
                self._put_plan(plan, received_ms)
            case PlanRemove(plan_id=plan_id):
                self._remove_plan(plan_id)
            case FencesPut(fences=fences):
                for fence in fences:
                    self._fence_handles[fence.fence_id] = self._fences.put(fence)
            case FenceRemove(fence_id=fence_id):
                if self._fence_handles.pop(fence_id, None) is not None:
                    self._fences.remove(fence_id)
            case DevicePut(assignment=assignment):
                self._assign(assignment)

    def _put_plan(self, plan: Plan, received_ms: int) -> None:
        self._remove_plan(plan.plan_id)
        start_ms = received_ms if plan.start_ms is None else plan.start_ms
        last_ms = max((s.window_end_ms or s.scheduled_arrival_ms or 0 for s in plan.stops), default=0)
        handles = {s.stop_id: self._put_site(s) for s in plan.stops}
        at_handle: dict[int, tuple[str, ...]] = {}
        twins: dict[str, tuple[str, ...]] = {}
        for stop_id, handle in handles.items():
            earlier = at_handle.get(handle, ())
            if earlier:
                twins[stop_id] = earlier
            at_handle[handle] = (*earlier, stop_id)
        self._plans[plan.plan_id] = PlanRecord(
            plan=structs.replace(plan, path=None),
            path=None if plan.path is None else np.array(plan.path, dtype=np.float64),
            start_ms=start_ms,
            end_ms=max(last_ms, start_ms) + self._grace_ms if last_ms else FOREVER_MS,
            stops={s.stop_id: s for s in plan.stops},
            order=tuple(s.stop_id for s in plan.stops),
            handles=handles,
            at_handle=at_handle,
            twins=twins,
        )
        bisect.insort(self._schedule.setdefault(plan.vehicle_id, []), (start_ms, plan.plan_id))

    def _remove_plan(self, plan_id: str) -> None:
        record = self._plans.pop(plan_id, None)
        if record is None:
            return
        schedule = self._schedule[record.plan.vehicle_id]
        schedule.remove((record.start_ms, plan_id))
        if not schedule:
            del self._schedule[record.plan.vehicle_id]
        for stop in record.plan.stops:
            self._drop_site(stop)

    def forget_plans(self, is_past: Callable[[str, int, int], bool]) -> list[str]:
        """Drop the plans of which `is_past(vehicle_id, start_ms, over_ms)` says that no fix falls into them any more."""
        gone: list[str] = []
        for vehicle_id, schedule in list(self._schedule.items()):
            next_ms = FOREVER_MS
            for i in reversed(range(len(schedule))):
                start_ms, plan_id = schedule[i]
                over_ms = min(self._plans[plan_id].end_ms, next_ms - 1)
                next_ms = start_ms
                if over_ms < FOREVER_MS - 1 and is_past(vehicle_id, start_ms, over_ms):
                    if i:  # what it took over from stays over
                        before = self._plans[schedule[i - 1][1]]
                        before.end_ms = min(before.end_ms, start_ms - 1)
                    self._remove_plan(plan_id)
                    gone.append(plan_id)
        return gone

    def _put_site(self, stop: Stop) -> int:
        """Stops of many plans at one place share one zone."""
        zone = stop_zone(stop)
        handle, users = self._site_handles.get(_place(zone), (-1, 0))
        if not users:
            self._sites_named += 1
            handle = self._sites.put(structs.replace(zone, fence_id=f"site-{self._sites_named}"))
        self._site_handles[_place(zone)] = (handle, users + 1)
        return handle

    def _drop_site(self, stop: Stop) -> None:
        place = _place(stop_zone(stop))
        handle, users = self._site_handles[place]
        if users > 1:
            self._site_handles[place] = (handle, users - 1)
        else:
            del self._site_handles[place]
            self._sites.remove(self._sites.fence(handle).fence_id)

    def _assign(self, assignment: Assignment) -> None:
        known = self._assignments.setdefault(assignment.device_id, [])
        known[:] = [a for a in known if a.valid_from_ms != assignment.valid_from_ms] + [assignment]
        known.sort(key=lambda a: a.valid_from_ms)

    # ---------------------------------------------------------------------------------------------------- questions

    def assignment(self, device_id: str, time_ms: int) -> Assignment | None:
        """Who the device reported for at that moment: the newest assignment that covers it."""
        for each in reversed(self._assignments.get(device_id, ())):
            if each.valid_from_ms <= time_ms and (each.valid_to_ms is None or time_ms < each.valid_to_ms):
                return each
        return None

    def assignments(self) -> list[Assignment]:
        return [a for device_id in sorted(self._assignments) for a in self._assignments[device_id]]

    def plan_at(self, vehicle_id: str, time_ms: int) -> PlanRecord | None:
        """The vehicle's plan that started last, unless its time is over."""
        schedule = self._schedule.get(vehicle_id)
        if not schedule:
            return None
        i = bisect.bisect_right(schedule, time_ms, key=lambda s: s[0])
        record = self._plans[schedule[i - 1][1]] if i else None
        return record if record is not None and time_ms <= record.end_ms else None

    def record(self, plan_id: str) -> PlanRecord | None:
        return self._plans.get(plan_id)

    def plans(self) -> list[Plan]:
        return [self._plans[i].whole() for i in sorted(self._plans)]

    def fence(self, fence_id: str) -> Fence | None:
        handle = self._fence_handles.get(fence_id)
        return None if handle is None else self._fences.fence(handle)

    def fences(self) -> list[Fence]:
        return [self._fences.fence(self._fence_handles[i]) for i in sorted(self._fence_handles)]

    # ----------------------------------------------------------------------------------------------------- geometry

    def locate(self, points: Sequence[Point]) -> tuple[list[Near], list[Near]]:
        """Stops (of each point's plan) and fences in reach of each point, in one call each."""
        stops: list[dict[str, float]] = [{} for _ in points]
        fences: list[dict[str, float]] = [{} for _ in points]
        if points:
            lat = np.array([p.lat_deg for p in points])
            lon = np.array([p.lon_deg for p in points])
            near_m = np.array([STOP_REACH_M + 2 * p.accuracy_m for p in points])
            if self._site_handles:
                self._locate_stops(points, lat, lon, near_m, stops)
            if self._fence_handles:
                reach_m = np.maximum(near_m, np.minimum([p.step_m for p in points], FENCE_REACH_MAX_M))
                found = self._fences.locate(lat, lon, reach_m)
                rows = zip(found.point.tolist(), found.zone.tolist(), found.distance_m.tolist(), strict=True)
                for point, handle, distance_m in rows:
                    fences[point][self._fences.fence(handle).fence_id] = distance_m
        return [tuple(sorted(s.items())) for s in stops], [tuple(sorted(f.items())) for f in fences]

    def _locate_stops(
        self,
        points: Sequence[Point],
        lat: NDArray[np.float64],
        lon: NDArray[np.float64],
        reach_m: NDArray[np.float64],
        stops: list[dict[str, float]],
    ) -> None:
        found = self._sites.locate(lat, lon, reach_m)
        rows = zip(found.point.tolist(), found.zone.tolist(), found.distance_m.tolist(), strict=True)
        for point, handle, distance_m in rows:
            plan = points[point].plan
            if plan is not None:
                for stop_id in plan.at_handle.get(handle, ()):
                    stops[point][stop_id] = distance_m

    def stop_crossings(self, plan: PlanRecord, stop_id: str, before: Fix | None, fix: Fix) -> list[tuple[float, bool]]:
        return _crossings(self._sites, plan.handles[stop_id], before, fix)

    def fence_crossings(self, fence_id: str, before: Fix | None, fix: Fix) -> list[tuple[float, bool]]:
        handle = self._fence_handles.get(fence_id)
        return [] if handle is None else _crossings(self._fences, handle, before, fix)


def _place(zone: Fence) -> _Place:
    """A zone without its name: equal for every stop at the place."""
    return (zone.shape, zone.coordinates, zone.radius_m, zone.width_m)


def _crossings(zones: Zones, handle: int, before: Fix | None, fix: Fix) -> list[tuple[float, bool]]:
    """Where the step from one fix to the next cuts the boundary: (share of the way, entering)."""
    if before is None:
        return []
    found = zones.crossings(handle, before.lat_deg, before.lon_deg, fix.lat_deg, fix.lon_deg)
    return [(c.fraction, c.entering) for c in found]
