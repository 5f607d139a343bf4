"""When a vehicle will stand at each open stop of its plan: travel along the path, visits on the way, and the spread.

Methods, as told with each prediction: `path` (remaining path at learnt paces), `detour` (off its path: straight to the next
stop with a detour factor, then along the path), `straight` (the plan has no path: straight lines between the stops).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gateway.eta.errors import Errors
from gateway.eta.path import PIECE_M, Floats, Path, Waypoint
from gateway.eta.service import ServiceTimes
from gateway.eta.travel import DEFAULT_S_PER_M, FASTEST_S_PER_M, SLOWEST_S_PER_M, Rows, TravelTimes
from gateway.model import Stop

DETOUR = 1.35
"""Road distance over straight distance in a town, where no path is known."""


class Course(NamedTuple):
    """A plan made ready: its path, the stops on it, and the rows of its pieces in the table of travel times."""

    path: Path
    straight: bool
    rows: Rows
    scheduled: Floats
    """Seconds a metre that the schedule implies, by piece."""
    stops: dict[str, Stop]
    stop_m: dict[str, float]


class Where(NamedTuple):
    """What is known of the vehicle: its fix, its progress, and the visit that goes on."""

    time_ms: int
    x: float
    y: float
    along_m: float | None
    """None: not on its path."""
    at_stop: str | None = None
    served_s: float = 0.0


class Forecast(NamedTuple):
    """An uncorrected prediction. `ahead_s` and `between` say which errors of the past apply."""

    stop_id: str
    time_ms: int
    ahead_s: float
    between: int
    remaining_m: float
    method: str


def site_of(stop: Stop) -> str:
    """What a stop's service times are learnt under: its site, else its place to about 11 m."""
    return stop.site_id or f"{stop.lat_deg:.4f},{stop.lon_deg:.4f}"


class Predictor:
    """What the fleet has taught so far. Learning changes it; predicting does not."""

    def __init__(self) -> None:
        self.travel = TravelTimes()
        self.service = ServiceTimes()
        self.errors = Errors()

    def restore(self, table: str, data: bytes) -> None:
        """One table from its snapshot: "travel", "service" or "errors"."""
        match table:
            case "travel":
                self.travel = TravelTimes.restored(data)
            case "service":
                self.service = ServiceTimes.restored(data)
            case "errors":
                self.errors = Errors.restored(data)
            case _:
                raise ValueError(f"no table {table!r}")

    def course(self, stops: Sequence[Stop], path: Floats | None, start_ms: int | None) -> Course:
        """A plan made ready; new cells of its path get rows in the table."""
        straight = path is None or len(path) < 2
        if path is None or straight:
            path = np.array([(s.lon_deg, s.lat_deg) for s in stops], dtype=np.float64)
            if len(path) == 1:
                path = np.vstack((path, path))
        due = _due_s(stops)
        made = Path(path, [Waypoint(s.lat_deg, s.lon_deg, d) for s, d in zip(stops, due, strict=True)])
        rows = np.zeros(len(made.cells), dtype=np.int64) if straight else self.travel.rows(made.cells)
        scheduled = _scheduled(made, due, None if start_ms is None else start_ms / 1000, straight)
        by_id = {s.stop_id: s for s in stops}
        return Course(made, straight, rows, scheduled, by_id, dict(zip(by_id, made.stop_m, strict=True)))

    def forecasts(self, course: Course, where: Where, open_ids: Sequence[str]) -> list[Forecast]:
        """Uncorrected predictions for the open stops, in the plan's order."""
        if not open_ids:
            return []
        from_m, ahead_s, extra_m, method = self._to_path(course, where, open_ids[0])
        first = course.path.piece_at(from_m)
        last = course.path.piece_at(max(course.stop_m[i] for i in open_ids))
        pieces = slice(first, max(last, first) + 1)
        driving = self.travel.seconds(course.rows[pieces], course.scheduled[pieces], where.time_ms)
        reached = np.concatenate(([0.0], np.cumsum(driving)))
        edges = (first + np.arange(len(reached))) * PIECE_M
        places = [from_m, *(course.stop_m[i] for i in open_ids)]
        start_s, *reached_s = np.interp(places, edges, reached).tolist()
        if where.at_stop is not None:
            stop = course.stops[where.at_stop]
            ahead_s += self.service.remaining_s(site_of(stop), stop.service_s, where.served_s)
        found: list[Forecast] = []
        between = int(where.at_stop is not None)
        for stop_id, along_m, stop_s in zip(open_ids, places[1:], reached_s, strict=True):
            stop = course.stops[stop_id]
            at_s = ahead_s + max(0.0, stop_s - start_s)
            time_ms = where.time_ms + round(at_s * 1000)
            found.append(Forecast(stop_id, time_ms, at_s, between, extra_m + max(0.0, along_m - from_m), method))
            site = site_of(stop)
            ahead_s += self.service.chance(site) * self.service.expected_s(site, stop.service_s)
            between += 1
        return found

    def _to_path(self, course: Course, where: Where, next_id: str) -> tuple[float, float, float, str]:
        """Where on the path the prediction starts, and the seconds and metres to get there."""
        if where.at_stop is not None:
            return course.stop_m[where.at_stop], 0.0, 0.0, "straight" if course.straight else "path"
        if where.along_m is not None and not course.straight:
            return where.along_m, 0.0, 0.0, "path"
        stop = course.stops[next_id]
        x, y = course.path.plane(stop.lat_deg, stop.lon_deg)
        distance_m = math.hypot(x - where.x, y - where.y)
        along_m = course.stop_m[next_id]
        if course.straight:
            pace = float(course.scheduled[course.path.piece_at(along_m - 1.0)])
            return along_m, distance_m * pace, distance_m, "straight"
        pace = float(np.mean(self.travel.seconds(course.rows, course.scheduled, where.time_ms))) / PIECE_M
        return along_m, DETOUR * distance_m * pace, DETOUR * distance_m, "detour"


def _due_s(stops: Sequence[Stop]) -> list[float | None]:
    """When each stop is due by the schedule, planned service times before it taken out: driving time only."""
    served_s, due = 0.0, []
    for stop in stops:
        at_ms = stop.scheduled_arrival_ms
        due.append(None if at_ms is None else at_ms / 1000 - served_s)
        served_s += stop.service_s
    return due


def _scheduled(path: Path, due: Sequence[float | None], start_s: float | None, straight: bool) -> Floats:
    """Seconds a metre of each piece as the schedule has it; a default where it says nothing credible."""
    usual = DEFAULT_S_PER_M * (DETOUR if straight else 1.0)
    pace = np.full(len(path.cells), usual)
    before_s, before_m = start_s, 0.0
    for along_m, due_s in zip(path.stop_m, due, strict=True):
        if due_s is None:
            continue
        if before_s is not None and along_m > before_m + PIECE_M and due_s > before_s:
            told = (due_s - before_s) / (along_m - before_m)
            first, last = path.piece_at(before_m), path.piece_at(along_m)
            pace[first : last + 1] = min(max(told, FASTEST_S_PER_M), SLOWEST_S_PER_M)
        before_s, before_m = due_s, along_m
    return pace
