"""The world in simulated time: vehicles that move, trackers that watch them, networks that come and go.

It knows no wall clock and no socket. Whoever drives it calls `step` as often as time is to pass; the same seed and
start give the same happenings and the same records.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from firmware_sim.firmware import Device, Firmware
from firmware_sim.vehicle import STEP_MS, Happening, State, Vehicle

OBSERVE_EVERY_MS = 1_000


class Outage(Struct, frozen=True):
    """From–to in simulated time (ms): the tracker has no network."""

    from_ms: int
    to_ms: int


class Tracker(Struct, kw_only=True):
    """A vehicle and the device that reports for it."""

    vehicle_id: str
    vehicle: Vehicle
    device: Device
    firmware: Firmware
    outages: tuple[Outage, ...] = ()

    def online(self, now_ms: int) -> bool:
        return not any(o.from_ms <= now_ms < o.to_ms for o in self.outages)


class Lived(Struct, frozen=True):
    """Something that happened to a vehicle."""

    tracker: Tracker
    happening: Happening


class World:
    """All trackers at one moment, `now_ms`."""

    def __init__(self, trackers: Sequence[Tracker], start_ms: int) -> None:
        self.trackers = tuple(trackers)
        self.start_ms = start_ms
        self.now_ms = start_ms

    def step(self) -> list[Lived]:
        """Half a second passes; what happened in it, in order of time."""
        self.now_ms += STEP_MS
        look = self.now_ms % OBSERVE_EVERY_MS == self.start_ms % OBSERVE_EVERY_MS
        lived: list[Lived] = []
        for tracker in self.trackers:
            lived += (Lived(tracker, h) for h in tracker.vehicle.step(self.now_ms))
            if look:
                tracker.firmware.observe(tracker.vehicle.state(self.now_ms))
        lived.sort(key=lambda e: e.happening.time_ms)
        return lived

    def states(self) -> list[tuple[Tracker, State]]:
        """Where everyone truly is."""
        return [(t, t.vehicle.state(self.now_ms)) for t in self.trackers]

    @property
    def over(self) -> bool:
        """Everyone has come home."""
        return all(t.vehicle.parked for t in self.trackers)
