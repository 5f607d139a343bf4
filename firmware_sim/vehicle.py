"""A vehicle on its route: it accelerates, brakes for bends, lights and stops, serves them, and parks at the end.

Time goes in steps of STEP_MS; speed is constant within one, so whatever is crossed in a step has an exact instant.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left

from msgspec import Struct

from firmware_sim.city import to_geo
from firmware_sim.tours import Kind, Tour, What

STEP_MS = 500
STEP_S = STEP_MS / 1000.0
STANDS_MPS = 0.05
ENGINE_OFF_AFTER_MS = 8_000
ON_THE_LINE_M = 0.5
"""Who stands this far beyond the stop line still waits."""


class Happening(Struct, frozen=True):
    """Something true. `ref` is the stop's index in the tour, the fence's id, or empty."""

    time_ms: int
    what: What
    ref: int | str = ""


class State(Struct, frozen=True):
    """Where a vehicle truly is."""

    time_ms: int
    x_m: float
    y_m: float
    course_deg: float
    speed_mps: float
    ignition: bool
    odometer_m: float

    @property
    def geo(self) -> tuple[float, float]:
        return to_geo(self.x_m, self.y_m)


class Vehicle:
    """Drives one tour. Deterministic: everything that is left to chance was drawn when the tour was made."""

    def __init__(self, kind: Kind, tour: Tour, *, haste: float = 0.95, odometer_m: float = 0.0) -> None:
        self.kind = kind
        self.tour = tour
        self.haste = haste
        self.at_m = 0.0
        self.speed_mps = 0.0
        self.parked = False
        self._odometer_m = odometer_m
        self._stands_since_ms: int | None = None
        self._busy_until_ms = tour.departs_ms
        self._serving: int | None = None
        self._stops = [i for i, s in enumerate(tour.stops) if not s.skipped]
        self._next_stop = 0
        self._next_hold = 0
        self._next_mark = 0
        self._brakes = sorted([*tour.route.bends, *_drops(tour.route.limits)])
        self._brakes_at_m = [b[0] for b in self._brakes]
        self._lights_at_m = [light.at_m for light in tour.route.lights]

    def start_rolling(self, now_ms: int) -> None:
        """Begin in the middle of a drive instead of at the kerb."""
        self.speed_mps = max(0.0, min(self._free_mps(), self._safe_mps(now_ms)))

    def step(self, now_ms: int) -> list[Happening]:
        """Live through the step that ends at `now_ms`; what happened in it, in order."""
        said: list[Happening] = []
        if self.parked or now_ms <= self._busy_until_ms:
            return said
        if self._serving is not None:
            said.append(Happening(self._busy_until_ms, "departed", self._serving))
            self._serving = None
        before_m, before_mps = self.at_m, self.speed_mps
        pulled_mps = before_mps + self.kind.pull_mps2 * STEP_S
        braked_mps = max(0.0, before_mps - self.kind.brake_mps2 * STEP_S)
        self.speed_mps = max(braked_mps, min(pulled_mps, self._free_mps(), self._safe_mps(now_ms)))
        if self.speed_mps < STANDS_MPS:
            self.speed_mps = 0.0
        self.at_m = min(before_m + self.speed_mps * STEP_S, self.tour.route.length_m)
        self._odometer_m += self.at_m - before_m
        said += self._crossed(before_m, now_ms - STEP_MS)
        if self.speed_mps == 0.0:
            said += self._stands(now_ms)
        else:
            self._stands_since_ms = None
        return said

    def _free_mps(self) -> float:
        return min(self.tour.route.limit_mps(self.at_m) * self.haste * self.tour.flow(self.at_m), self.kind.top_mps)

    def _safe_mps(self, now_ms: int) -> float:
        """The most one may have at the end of this step and still meet what lies ahead with comfortable braking."""
        brake = self.kind.brake_mps2
        horizon_m = self.at_m + 10.0 + 0.5 * (self.speed_mps + 2.0) ** 2 / brake + self.speed_mps
        safe = _stop_within(self._goal_m() - self.at_m, 0.0, brake)
        for i in range(bisect_left(self._brakes_at_m, self.at_m - 1.0), len(self._brakes)):
            at_m, most_mps = self._brakes[i]
            if at_m > horizon_m:
                break
            safe = min(safe, _stop_within(max(0.0, at_m - self.at_m), most_mps, brake))
        for i in range(bisect_left(self._lights_at_m, self.at_m - ON_THE_LINE_M), len(self._lights_at_m)):
            ahead_m = self._lights_at_m[i] - self.at_m
            if ahead_m + self.at_m > horizon_m:
                break
            needs_m = 0.5 * self.speed_mps**2 / brake
            if ahead_m + ON_THE_LINE_M >= needs_m and self.tour.route.lights[i].red(now_ms):
                safe = min(safe, _stop_within(ahead_m, 0.0, brake))
        return safe

    def _goal_m(self) -> float:
        """Where one has to stand next: an obstacle, a stop, or the end of the route."""
        goals = [self.tour.route.length_m]
        if self._next_stop < len(self._stops):
            goals.append(self.tour.stops[self._stops[self._next_stop]].at_m)
        if self._next_hold < len(self.tour.holds):
            goals.append(self.tour.holds[self._next_hold].at_m)
        return min(goals)

    def _stands(self, now_ms: int) -> list[Happening]:
        if self._stands_since_ms is None:
            self._stands_since_ms = now_ms
        if self._goal_m() - self.at_m > 0.5:
            return []  # a red light
        if self._next_hold < len(self.tour.holds) and self._goal_m() == self.tour.holds[self._next_hold].at_m:
            self._busy_until_ms = now_ms + round(self.tour.holds[self._next_hold].for_s * 1000)
            self._next_hold += 1
            return [Happening(now_ms, "held")]
        if self._next_stop < len(self._stops):
            self._serving = self._stops[self._next_stop]
            self._next_stop += 1
            self._busy_until_ms = now_ms + round(self.tour.stops[self._serving].takes_s * 1000)
            return [Happening(now_ms, "arrived", self._serving)]
        self.parked = True
        return [Happening(now_ms, "parked")]

    def _crossed(self, from_m: float, from_ms: int) -> list[Happening]:
        said = []
        while self._next_mark < len(self.tour.marks) and self.tour.marks[self._next_mark].at_m <= self.at_m:
            mark = self.tour.marks[self._next_mark]
            share = (mark.at_m - from_m) / (self.at_m - from_m) if self.at_m > from_m else 0.0
            said.append(Happening(from_ms + round(STEP_MS * min(max(share, 0.0), 1.0)), mark.what, mark.ref))
            self._next_mark += 1
        return said

    def state(self, now_ms: int) -> State:
        x_m, y_m, course_deg = self.tour.route.place(self.at_m)
        at_rest = self._serving is not None or self.parked
        since_ms = self._stands_since_ms
        off = at_rest and since_ms is not None and now_ms - since_ms >= ENGINE_OFF_AFTER_MS
        waiting = now_ms < self.tour.departs_ms
        return State(now_ms, x_m, y_m, course_deg, self.speed_mps, not (off or waiting), self._odometer_m)


def _drops(limits: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [b for a, b in itertools.pairwise(limits) if b[1] < a[1]]


def _stop_within(ahead_m: float, most_mps: float, brake_mps2: float) -> float:
    """The speed for the coming step from which one still gets down to `most_mps` in `ahead_m` (Krauss, 1998)."""
    b = brake_mps2 * STEP_S
    return -b + math.sqrt(b * b + most_mps * most_mps + 2 * brake_mps2 * max(0.0, ahead_m))
