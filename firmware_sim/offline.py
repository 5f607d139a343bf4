"""A fleet's reports as a file, as fast as the processor goes: positions.jsonl in the shape that `gateway replay` takes.

Rows stand in order of arrival. The device id is the vehicle's id, because a replay registers devices as they come.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any, BinaryIO

import msgspec

from firmware_sim.fleet import Fleet
from firmware_sim.truth import TruthLog
from firmware_sim.world import Tracker
from gateway.model import Position

LATENCY_S = (0.15, 1.5)


class Air:
    """The network between trackers and the server, in simulated time: it delays, and fails during outages."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(f"{seed}/air")
        self._due: list[tuple[int, int, str, Position]] = []
        self._count = 0

    def carry(self, tracker: Tracker, now_ms: int) -> None:
        """Take what the tracker has to say, unless its network is down."""
        store = tracker.firmware.store
        if not tracker.online(now_ms):
            return
        arrives_ms = now_ms
        while records := store.take():
            arrives_ms += round(1000 * self._dice.uniform(*LATENCY_S))
            for record in records:
                self._count += 1
                heapq.heappush(self._due, (arrives_ms, self._count, tracker.vehicle_id, record))
            store.acknowledged()

    def arrived(self, now_ms: int) -> list[tuple[int, str, Position]]:
        """What has reached the server by now, in order."""
        found = []
        while self._due and self._due[0][0] <= now_ms:
            received_ms, _, vehicle_id, record = heapq.heappop(self._due)
            found.append((received_ms, vehicle_id, record))
        return found


def write_positions(
    fleet: Fleet,
    seed: int,
    until_ms: int,
    file: BinaryIO,
    truth: TruthLog,
    *,
    every_s: int,
    progress: Callable[[int], None],
) -> int:
    """Live until `until_ms` or until everyone is home; returns how many rows were written.

    With `every_s` the truth log gets the true positions, every so many seconds.
    """
    air, encoder = Air(seed), msgspec.json.Encoder()
    rows = 0
    world = fleet.world
    while world.now_ms < until_ms and not world.over:
        truth.write(world.step())
        if world.now_ms % 1000 == world.start_ms % 1000:
            for tracker in world.trackers:
                air.carry(tracker, world.now_ms)
            if every_s and (world.now_ms - world.start_ms) % (every_s * 1000) == 0:
                truth.write_positions(world)
            progress(world.now_ms)
        last = world.now_ms >= until_ms or world.over
        for received_ms, vehicle_id, record in air.arrived(2**62 if last else world.now_ms):
            if record.valid and record.lat_deg is not None:
                file.write(encoder.encode(_row(vehicle_id, record, received_ms)) + b"\n")
                rows += 1
    return rows


def _row(vehicle_id: str, record: Position, received_ms: int) -> dict[str, Any]:
    row = {
        "device_id": vehicle_id,
        "time_ms": record.time_ms,
        "received_ms": received_ms,
        "lat_deg": record.lat_deg,
        "lon_deg": record.lon_deg,
        "speed_mps": record.speed_mps,
        "course_deg": record.course_deg,
        "accuracy_m": record.accuracy_m,
    }
    return {k: v for k, v in row.items() if v is not None}
