"""Ways through the city: the quickest path over streets, turns and lights, and the line that a vehicle then drives."""

from __future__ import annotations

import heapq
import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence

from msgspec import Struct

from firmware_sim.city import City, Place

PACE = 0.86
"""Average speed between crossings as a share of the limit; with the waits below it makes the timetable of a tour."""
LIGHT_S = 16.0
TURN_S = 2.5
SIDEWAYS_MPS2 = 2.2
"""What load and passengers bear in a bend."""
CREEP_MPS = 2.2
STOP_LINE_M = 9.0


class Search(Struct, frozen=True):
    """What was reached from an arc: for each arc the seconds until its far end, and the arc before it."""

    seconds: dict[int, float]
    before: dict[int, int]

    def path(self, to_arc: int) -> list[int]:
        """The arcs to drive after the first one, `to_arc` the last."""
        path = [to_arc]
        while path[-1] in self.before:
            path.append(self.before[path[-1]])
        return path[-2::-1]


class Ways:
    """The city as a search sees it: from each arc, the arcs one can go on to and the seconds until their far end.

    Over arcs, not crossings, because turns cost time and a U-turn is for dead ends only.
    """

    def __init__(self, city: City) -> None:
        self._onward = [
            [
                (there, crossing_s(city, arc.index, there) + drive_s(city, there))
                for there in city.out[arc.end]
                if there != arc.twin or len(city.out[arc.end]) == 1
            ]
            for arc in city.arcs
        ]

    def search(self, from_arc: int, *, until_s: float = math.inf, goal: int | None = None) -> Search:
        """What can be reached from the far end of an arc (Dijkstra), up to a time or a goal."""
        seconds = {from_arc: 0.0}
        before: dict[int, int] = {}
        done: dict[int, float] = {}
        queue = [(0.0, from_arc)]
        while queue:
            cost_s, here = heapq.heappop(queue)
            if here in done:
                continue
            if cost_s > until_s:
                break
            done[here] = cost_s
            if here == goal:
                break
            for there, more_s in self._onward[here]:
                if cost_s + more_s < seconds.get(there, math.inf):
                    seconds[there] = cost_s + more_s
                    before[there] = here
                    heapq.heappush(queue, (cost_s + more_s, there))
        return Search(done, before)


def drive_s(city: City, arc: int, share: float = 1.0) -> float:
    """Seconds that a timetable allows for a street."""
    return share * city.arcs[arc].length_m / (city.arcs[arc].limit_mps * PACE)


def crossing_s(city: City, here: int, there: int) -> float:
    """Seconds that a timetable allows for getting from one street into the next."""
    light = LIGHT_S if city.arcs[here].end in city.signals else 0.0
    return light + (TURN_S if _turn_rad(city.arcs[here].points, city.arcs[there].points) > 0.6 else 0.0)


def _turn_rad(a: Sequence[Place], b: Sequence[Place]) -> float:
    return angle_rad(a[-2], a[-1], b[1])


def angle_rad(p: Place, q: Place, r: Place) -> float:
    """How far one turns at q on the way from p to r: 0 straight on, pi a U-turn."""
    turn = math.atan2(r[1] - q[1], r[0] - q[0]) - math.atan2(q[1] - p[1], q[0] - p[0])
    return abs((turn + math.pi) % math.tau - math.pi)


class Light(Struct, frozen=True):
    """A traffic light on a route: where one stops, at which junction, coming along which axis (degrees, 0…180)."""

    at_m: float
    junction: int
    axis_deg: float

    def red(self, now_ms: int) -> bool:
        """Fixed cycle of a minute; the junction's two directions take turns, with all red for 4 s between."""
        second = (now_ms / 1000.0 + self.junction * 37) % 60.0
        across = 45.0 <= (self.axis_deg - self.junction * 11) % 180.0 < 135.0
        return not (30.0 <= second < 56.0 if across else second < 26.0)


class Route(Struct, kw_only=True):
    """A line to drive, with what it demands. Distances are metres from its start."""

    points: list[Place]
    at_m: list[float]
    """Distance of each point."""
    limits: list[tuple[float, float]]
    """(from where on, m/s)"""
    bends: list[tuple[float, float]]
    """(where, the m/s one may have there)"""
    lights: list[Light]
    arcs: list[int]
    arc_at_m: list[float]

    @property
    def length_m(self) -> float:
        return self.at_m[-1]

    def place(self, at_m: float) -> tuple[float, float, float]:
        """Place and course (x, y, degrees) at a distance."""
        i = min(max(bisect_right(self.at_m, at_m), 1), len(self.points) - 1)
        (x1, y1), (x2, y2) = self.points[i - 1], self.points[i]
        share = (at_m - self.at_m[i - 1]) / (self.at_m[i] - self.at_m[i - 1])
        course_deg = math.degrees(math.atan2(x2 - x1, y2 - y1)) % 360.0
        return x1 + share * (x2 - x1), y1 + share * (y2 - y1), course_deg

    def limit_mps(self, at_m: float) -> float:
        return self.limits[max(0, bisect_right(self.limits, (at_m, math.inf)) - 1)][1]


def route(city: City, arcs: Sequence[int], start_m: float, end_m: float) -> Route:
    """The line over these arcs, from `start_m` into the first to `end_m` into the last."""
    line: list[Place] = [city.arcs[arcs[0]].points[0]]
    limits: list[tuple[float, float]] = []
    lights: list[Light] = []
    arc_at_m: list[float] = []
    reached_m = -start_m
    for n, index in enumerate(arcs):
        arc = city.arcs[index]
        line += arc.points[1:]
        arc_at_m.append(reached_m)
        if not limits or limits[-1][1] != arc.limit_mps:
            limits.append((max(0.0, reached_m), arc.limit_mps))
        reached_m += arc.length_m
        if n + 1 < len(arcs) and arc.end in city.signals and reached_m > STOP_LINE_M + 3.0:
            (x1, y1), (x2, y2) = arc.points[-2:]
            axis_deg = math.degrees(math.atan2(x2 - x1, y2 - y1)) % 180.0
            lights.append(Light(reached_m - STOP_LINE_M, arc.end, axis_deg))
    length_m = reached_m - city.arcs[arcs[-1]].length_m + end_m
    points, at_m = _cut(line, start_m, start_m + length_m)
    bends = _bends(points, at_m)
    return Route(
        points=points, at_m=at_m, limits=limits, bends=bends, lights=lights, arcs=list(arcs), arc_at_m=arc_at_m
    )


def _cut(line: Sequence[Place], from_m: float, to_m: float) -> tuple[list[Place], list[float]]:
    """The part of a line between two distances: its points, and how far along the part each one lies."""
    points: list[Place] = []
    at_m: list[float] = []
    a_m = 0.0
    for a, b in itertools.pairwise(line):
        step_m = math.dist(a, b)
        low_m, high_m = max(a_m, from_m), min(a_m + step_m, to_m)
        if high_m - low_m > 0.01:
            for m in (low_m, high_m) if not points else (high_m,):
                share = (m - a_m) / step_m
                points.append((a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])))
                at_m.append(m - from_m)
        a_m += step_m
    return points, at_m


def _bends(points: Sequence[Place], at_m: Sequence[float]) -> list[tuple[float, float]]:
    found = []
    for i in range(1, len(points) - 1):
        turn = angle_rad(points[i - 1], points[i], points[i + 1])
        if turn > 0.12:
            arm_m = min(at_m[i] - at_m[i - 1], at_m[i + 1] - at_m[i], 14.0)
            radius_m = arm_m / (2 * math.tan(min(turn, 3.0) / 2))
            found.append((at_m[i], max(CREEP_MPS, math.sqrt(SIDEWAYS_MPS2 * radius_m))))
    return found
