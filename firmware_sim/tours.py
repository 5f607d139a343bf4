"""Tours: what a vehicle is told to do (a plan with stops and a path), and what its driver will really do.

Everything left to chance is drawn here, from the seed, before the first wheel turns.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from firmware_sim.city import City, Place, to_geo, to_place
from firmware_sim.fences import Zone, circle, crossings
from firmware_sim.routes import Route, Search, Ways, crossing_s, drive_s, route
from gateway.model import Plan, Stop

Habit: TypeAlias = Literal["punctual", "early", "late", "skips", "held_up"]
What: TypeAlias = Literal[
    "zone_entered", "zone_left", "arrived", "departed", "skipped", "fence_entered", "fence_left", "held", "parked"
]  # fmt: skip
TOWN_HALF_M = (2_850.0, 2_250.0)


class Kind(Struct, frozen=True):
    """What a sort of vehicle can do."""

    name: str
    top_mps: float
    pull_mps2: float
    brake_mps2: float


VAN = Kind("van", 36.0, 1.7, 2.4)
TRUCK = Kind("truck", 25.0, 0.9, 1.8)
BIKE = Kind("bike", 7.5, 1.0, 2.0)


class Style(Struct, frozen=True, kw_only=True):
    """How tours are cut. `leg_s` and `service_s` are from–to; a window opens and closes so long before and after the
    scheduled arrival; `rolling` tours begin in the middle of the first drive, the others at the depot.
    """

    name: str
    stops: int
    leg_s: tuple[float, float]
    service_s: tuple[float, float]
    opens_before_s: float
    closes_after_s: float
    rolling: bool
    late_s: tuple[float, float]
    held_s: tuple[float, float]


DEMO = Style(
    name="demo", stops=16, leg_s=(60, 170), service_s=(35, 75), opens_before_s=600, closes_after_s=150, rolling=True,
    late_s=(260, 480), held_s=(150, 240),
)  # fmt: skip
DAY = Style(
    name="day", stops=22, leg_s=(120, 420), service_s=(90, 420), opens_before_s=1_800, closes_after_s=300, rolling=False,
    late_s=(300, 1_200), held_s=(300, 900),
)  # fmt: skip
STYLES = {s.name: s for s in (DEMO, DAY)}


class TourStop(Struct, frozen=True, kw_only=True):
    """A stop, where on the route it is served, how long that really takes, and whether the driver leaves it out."""

    stop: Stop
    at_m: float
    takes_s: float
    skipped: bool


class Hold(Struct, frozen=True):
    """Something stands in the way: the vehicle waits here."""

    at_m: float
    for_s: float


class Mark(Struct, frozen=True):
    """A place on the route where something becomes true. `ref`: the stop's index or the fence's id."""

    at_m: float
    what: What
    ref: int | str


class Tour(Struct, frozen=True, kw_only=True):
    """One vehicle's tour: the plan as dispatch knows it, and the truth that nobody is told."""

    plan: Plan
    habit: Habit
    route: Route
    stops: tuple[TourStop, ...]
    holds: tuple[Hold, ...]
    marks: tuple[Mark, ...]
    slow: tuple[tuple[float, float], ...]
    """(from where on, share of the limit that traffic allows)"""
    departs_ms: int

    def flow(self, at_m: float) -> float:
        return self.slow[max(0, bisect_right(self.slow, (at_m, math.inf)) - 1)][1]


class Planner:
    """Makes the tours of a fleet in a city. The same seed and start give the same tours."""

    def __init__(self, city: City, seed: int, style: Style, start_ms: int) -> None:
        self.city = city
        self.ways = Ways(city)
        self.style = style
        self.start_ms = start_ms
        self.seed = seed
        self.depots = [(name, _nearest_arc(city, place)) for name, place in _DEPOTS]
        dice = random.Random(f"{seed}/traffic")
        self.traffic = {a.index: _traffic(a.kind, dice) for a in city.arcs}
        self.kerbs = {a.index for a in city.arcs if _is_kerb(city, a.index)}

    def depot_places(self) -> list[tuple[str, Place]]:
        return [(name, self.city.arcs[arc].points[len(self.city.arcs[arc].points) // 2]) for name, arc in self.depots]

    def tour(self, vehicle_id: str, kind: Kind, habit: Habit, zones: Sequence[Zone]) -> Tour:
        dice = random.Random(f"{self.seed}/{vehicle_id}/tour")
        style = self.style
        depot = self.depots[dice.randrange(len(self.depots))][1]
        first = dice.choice(sorted(self.kerbs)) if style.rolling else depot
        arcs, goals = self._wander(first, dice)
        arcs += self.ways.search(arcs[-1], goal=depot).path(depot)
        begin_m = 0.3 * self.city.arcs[first].length_m
        way = route(self.city, arcs, begin_m, 0.6 * self.city.arcs[depot].length_m)
        served_m = [way.arc_at_m[i] + dice.uniform(0.35, 0.65) * self.city.arcs[arcs[i]].length_m for i in goals]
        service_s = [float(round(dice.uniform(*style.service_s) / 5) * 5) for _ in goals]
        due_s = self._timetable(way, kind, served_m, service_s)
        behind_s = {"late": dice.uniform(*style.late_s), "early": -0.4 * style.late_s[0]}.get(habit, 0.0)
        planned_ms = self.start_ms - round(behind_s * 1000)
        left_out = set(dice.sample(range(1, len(goals)), k=min(2, len(goals) - 1))) if habit == "skips" else set[int]()
        stops = []
        for i, (at_m, serve_s) in enumerate(zip(served_m, service_s, strict=True)):
            stop = self._stop(i, way, at_m, planned_ms + round(due_s[i]) * 1000, serve_s, dice)
            takes_s = round(serve_s * dice.lognormvariate(0.0, 0.22), 1)
            stops.append(TourStop(stop=stop, at_m=at_m, takes_s=max(25.0, takes_s), skipped=i in left_out))
        return Tour(
            plan=Plan(
                plan_id=f"tour-{vehicle_id}", vehicle_id=vehicle_id, stops=tuple(s.stop for s in stops), start_ms=planned_ms,
                path=_path(way),
            ),
            habit=habit, route=way, stops=tuple(stops), holds=self._holds(habit, served_m, dice),
            marks=_marks(way, stops, zones),
            slow=tuple((max(0.0, m), self.traffic[a]) for a, m in zip(way.arcs, way.arc_at_m, strict=True)),
            departs_ms=self.start_ms,
        )  # fmt: skip

    def _wander(self, first: int, dice: random.Random) -> tuple[list[int], list[int]]:
        """Arcs to drive from the first one, and the indexes among them where a stop lies."""
        arcs, goals = [first], list[int]()
        recent: list[Place] = []
        for n in range(self.style.stops):
            low_s, high_s = self.style.leg_s
            if n == 0 and self.style.rolling:
                low_s = dice.uniform(0.0, 0.55 * high_s)
                high_s = low_s + 30.0
            reached, goal = self._pick(arcs[-1], low_s, high_s, recent, dice)
            arcs += reached.path(goal)
            goals.append(len(arcs) - 1)
            recent = [*recent[-5:], self.city.arcs[goal].points[0]]
        return arcs, goals

    def _pick(
        self, here: int, low_s: float, high_s: float, recent: Sequence[Place], dice: random.Random
    ) -> tuple[Search, int]:
        """The next stop's arc: at the wished distance, away from the last stops; wishes that cannot be had give way."""
        while True:
            reached = self.ways.search(here, until_s=high_s)
            found = sorted(a for a, s in reached.seconds.items() if s >= low_s and a in self.kerbs and a != here)
            dice.shuffle(found)
            for keep_off_m in (260.0, 60.0):
                for a in found:
                    if all(math.dist(self.city.arcs[a].points[0], p) >= keep_off_m for p in recent):
                        return reached, a
            high_s *= 1.5

    def _timetable(self, way: Route, kind: Kind, served_m: Sequence[float], service_s: Sequence[float]) -> list[float]:
        """Seconds from the start at which each stop is due, as a dispatcher would reckon."""
        due: list[float] = []
        clock_s = 0.0
        here_m = 0.0
        for i, arc in enumerate(way.arcs):
            if i:
                clock_s += crossing_s(self.city, way.arcs[i - 1], arc)
            end_m = way.arc_at_m[i] + self.city.arcs[arc].length_m
            pace = max(1.0, self.city.arcs[arc].limit_mps / kind.top_mps)
            while len(due) < len(served_m) and served_m[len(due)] <= end_m:
                share = (served_m[len(due)] - here_m) / self.city.arcs[arc].length_m
                clock_s += drive_s(self.city, arc, share * pace) + 2.0
                here_m = served_m[len(due)]
                due.append(clock_s)
                clock_s += service_s[len(due) - 1]
            clock_s += drive_s(self.city, arc, (end_m - here_m) / self.city.arcs[arc].length_m * pace)
            here_m = end_m
        return due

    def _stop(self, i: int, way: Route, at_m: float, due_ms: int, service_s: float, dice: random.Random) -> Stop:
        x_m, y_m, course_deg = way.place(at_m)
        aside_m, right = dice.uniform(6.0, 16.0), math.radians(course_deg + 90.0)
        lat_deg, lon_deg = to_geo(x_m + aside_m * math.sin(right), y_m + aside_m * math.cos(right))
        street = self.city.arcs[way.arcs[bisect_right(way.arc_at_m, at_m) - 1]].name
        return Stop(
            stop_id=str(i + 1),
            sequence=i + 1,
            lat_deg=lat_deg,
            lon_deg=lon_deg,
            radius_m=float(dice.choice((35, 40, 40, 50, 60))),
            kind=dice.choice(("delivery", "delivery", "delivery", "pickup")),
            site_id=f"{street} {dice.randrange(1, 120)}",
            scheduled_arrival_ms=due_ms,
            window_start_ms=due_ms - round(self.style.opens_before_s * 1000),
            window_end_ms=due_ms + round(self.style.closes_after_s * 1000),
            service_s=service_s,
        )

    def _holds(self, habit: Habit, served_m: Sequence[float], dice: random.Random) -> tuple[Hold, ...]:
        """Someone blocks the street, half-way to the second stop and again later."""
        if habit != "held_up":
            return ()
        legs = [n for n in (0, 1, 7, 14) if n + 1 < len(served_m) and served_m[n + 1] - served_m[n] > 250]
        return tuple(
            Hold((served_m[n] + served_m[n + 1]) / 2, round(dice.uniform(*self.style.held_s), 1)) for n in legs
        )


_DEPOTS: tuple[tuple[str, Place], ...] = (
    ("Harbour", (-1700, -1600)),
    ("Northgate", (350, 1900)),
    ("Eastfields", (2480, -700)),
)


def _nearest_arc(city: City, place: Place) -> int:
    kerbs = (a for a in city.arcs if _is_kerb(city, a.index))
    return min(kerbs, key=lambda a: math.dist(a.points[len(a.points) // 2], place)).index


def _is_kerb(city: City, index: int) -> bool:
    """May one stop here? In the town, on a street that is long enough and no thoroughfare, and not in a dead end."""
    arc = city.arcs[index]
    x_m, y_m = arc.points[0]
    return (
        arc.kind in ("residential", "tertiary", "secondary")
        and arc.length_m >= 60.0
        and abs(x_m) < TOWN_HALF_M[0]
        and abs(y_m) < TOWN_HALF_M[1]
        and len(city.out[arc.end]) > 1
        and arc.twin is not None
    )


def _traffic(kind: str, dice: random.Random) -> float:
    if kind in ("primary", "secondary"):
        return dice.choice((1.0, 1.0, 1.0, 0.85, 0.6))
    return dice.choice((1.0, 1.0, 1.0, 1.0, 0.75))


def _path(way: Route) -> tuple[tuple[float, float], ...]:
    path = []
    for x_m, y_m in way.points:
        lat_deg, lon_deg = to_geo(x_m, y_m)
        path.append((round(lon_deg, 6), round(lat_deg, 6)))
    return tuple(path)


def _marks(way: Route, stops: Sequence[TourStop], zones: Sequence[Zone]) -> tuple[Mark, ...]:
    """Every pass through an own stop's zone and through a fence, and the places of the stops that are left out."""
    marks = [Mark(s.at_m, "skipped", i) for i, s in enumerate(stops) if s.skipped]
    for i, s in enumerate(stops):
        zone = circle(*to_place(s.stop.lat_deg, s.stop.lon_deg), s.stop.radius_m)
        marks += [
            Mark(m, "zone_entered" if goes_in else "zone_left", i)
            for m, goes_in in crossings(way.points, way.at_m, zone)
        ]
    for z in zones:
        marks += [
            Mark(m, "fence_entered" if goes_in else "fence_left", z.fence_id)
            for m, goes_in in crossings(way.points, way.at_m, z.shape)
        ]
    return tuple(sorted(marks, key=lambda m: (m.at_m, m.what, str(m.ref))))
