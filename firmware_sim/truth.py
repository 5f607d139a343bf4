"""The truth as it happens: truth.jsonl, one JSON object a line, and the counts that a score starts from.

    {"what": "arrived", "time": …, "time_ms": …, "vehicle_id": …, "device_id": …, "plan_id": …, "stop_id": …, …}

`what` is zone_entered, zone_left (the circle of one of the vehicle's own stops, every pass), arrived (the wheels stand
still for the service), departed (they roll again), skipped (driven past on purpose), fence_entered, fence_left
(`fence_id`), held (an obstacle), parked (the tour is over), position (asked for with `positions`).
`arrived` carries `lateness_s` against the scheduled arrival and `late` against the window's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from firmware_sim.world import Lived, Tracker, World
from gateway.times import rfc3339

STOP_EVENTS = {"zone_entered", "zone_left", "arrived", "departed", "skipped"}
FENCE_EVENTS = {"fence_entered", "fence_left"}


class Visit(Struct, frozen=True):
    """A true arrival or departure."""

    tracker: Tracker
    what: str
    time_ms: int


class TruthLog:
    """Writes what happens to `file`; remembers arrivals and departures for the counts."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._encoder = msgspec.json.Encoder()
        self.visits: list[Visit] = []

    def write(self, lived: Sequence[Lived]) -> None:
        if not lived:
            return
        for each in lived:
            self._file.write(self._encoder.encode(_row(each)) + b"\n")
            if each.happening.what in ("arrived", "departed"):
                self.visits.append(Visit(each.tracker, each.happening.what, each.happening.time_ms))
        self._file.flush()

    def write_positions(self, world: World) -> None:
        """Where everyone truly is, one row a vehicle."""
        for tracker, state in world.states():
            lat_deg, lon_deg = state.geo
            row = {
                "what": "position",
                "time_ms": state.time_ms,
                "vehicle_id": tracker.vehicle_id,
                "lat_deg": lat_deg,
                "lon_deg": lon_deg,
                "speed_mps": round(state.speed_mps, 2),
                "course_deg": round(state.course_deg, 1),
            }
            self._file.write(self._encoder.encode(row) + b"\n")

    def count(self, what: str, end_ms: int, settle_s: float) -> int:
        """How many arrivals (or departures) a gateway could have detected by the end: those at least `settle_s` before
        it whose tracker has delivered everything it recorded up to `settle_s` after them.
        """
        found = 0
        for visit in self.visits:
            settled_ms = visit.time_ms + round(settle_s * 1000)
            waiting_ms = visit.tracker.firmware.store.oldest_ms()
            found += visit.what == what and settled_ms <= end_ms and (waiting_ms is None or waiting_ms > settled_ms)
        return found


def _row(lived: Lived) -> dict[str, Any]:
    tracker, happening = lived.tracker, lived.happening
    plan = tracker.vehicle.tour.plan
    row: dict[str, Any] = {
        "what": happening.what,
        "time": rfc3339(happening.time_ms),
        "time_ms": happening.time_ms,
        "vehicle_id": tracker.vehicle_id,
        "device_id": tracker.device.device_id,
        "plan_id": plan.plan_id,
    }
    if happening.what in STOP_EVENTS:
        stop = plan.stops[int(happening.ref)]
        row["stop_id"] = stop.stop_id
        if happening.what == "arrived":
            row["lateness_s"] = round((happening.time_ms - (stop.scheduled_arrival_ms or 0)) / 1000, 1)
            row["late"] = happening.time_ms > (stop.window_end_ms or 0)
    elif happening.what in FENCE_EVENTS:
        row["fence_id"] = happening.ref
    return row
