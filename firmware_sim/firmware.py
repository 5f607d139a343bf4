"""What runs in a tracker: when to record a fix, what to say with it, and how its make writes and addresses it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from firmware_sim.receiver import Receiver
from firmware_sim.store import Store
from firmware_sim.vehicle import State
from gateway.geo import distance_m
from gateway.model import Position, Scalar
from gateway.protocols import new_encoder


class Policy(Struct, frozen=True, kw_only=True):
    """When a tracker records: every so many seconds (moving, standing with the engine on, engine off), and at once
    after a distance, a turn, or a change of the ignition; never more often than `least_s`.
    """

    moving_s: float = 10.0
    standing_s: float = 20.0
    off_s: float = 60.0
    distance_m: float = 200.0
    turn_deg: float = 25.0
    least_s: float = 1.0


EVERY_SECOND = Policy(moving_s=1.0, standing_s=1.0, off_s=1.0, distance_m=math.inf, turn_deg=360.0)


class Make(Struct, frozen=True, kw_only=True):
    """How a sort of tracker speaks. `topic` and `device_id` are templates of `{serial}`, `{user}`, `{vehicle}`.

    `batch` is the most records in one packet. `options` are the encoder's. Without a topic it speaks over a serial line.
    `tells_engine`: wired to the vehicle. `needs_fix`: says nothing while it does not know where it is.
    """

    name: str
    protocol: str
    device_id: str
    topic: str | None
    policy: Policy
    batch: int = 1
    options: dict[str, object] = {}
    tells_engine: bool = True
    needs_fix: bool = False


MAKES = {
    m.name: m
    for m in (
        Make(
            name="teltonika", protocol="teltonika", device_id="{serial}", topic="teltonika/{serial}/data", batch=20,
            options={"codec": "8"},
            policy=Policy(),
        ),
        Make(
            name="teltonika_json", protocol="teltonika_json", device_id="{serial}", topic="{serial}/json",
            policy=Policy(moving_s=8.0, standing_s=15.0),
        ),
        Make(
            name="owntracks", protocol="owntracks", device_id="{user}-phone", topic="owntracks/{user}/phone",
            policy=Policy(moving_s=10.0, standing_s=15.0, off_s=30.0, distance_m=100.0, turn_deg=360.0), tells_engine=False, needs_fix=True,
        ),
        Make(
            name="nmea", protocol="nmea", device_id="{vehicle}-gps", topic=None, policy=EVERY_SECOND,
            options={"sentences": ["RMC", "GGA", "GSA", "GST"]}, tells_engine=False,
        ),
    )
}  # fmt: skip


def imei(number: int) -> str:
    """A 15-digit IMEI of the test range (reporting body 00), with its check digit (Luhn)."""
    body = f"00440133{number:06d}"
    total = sum(sum(divmod(int(d) * (1 + i % 2), 10)) for i, d in enumerate(body))
    return f"{body}{-total % 10}"


class Device(Struct, frozen=True, kw_only=True):
    """A tracker's identity, as devices.json lists it."""

    device_id: str
    vehicle_id: str
    protocol: str
    topic: str | None


def device_of(make: Make, vehicle_id: str, number: int) -> Device:
    words = {"serial": imei(number), "user": vehicle_id, "vehicle": vehicle_id}
    topic = make.topic.format(**words) if make.topic else None
    return Device(device_id=make.device_id.format(**words), vehicle_id=vehicle_id, protocol=make.protocol, topic=topic)


class Firmware:
    """A tracker at work: call `observe` once a second of its time; records pile up in `store`."""

    def __init__(self, make: Make, policy: Policy, receiver: Receiver, store: Store) -> None:
        self.make = make
        self.policy = policy
        self.receiver = receiver
        self.store = store
        self._encoder = new_encoder(make.protocol, make.options)
        self._last: Position | None = None
        self._last_ignition: bool | None = None

    def observe(self, truth: State) -> None:
        fix = self.receiver.fix(truth)
        if (fix.valid or not self.make.needs_fix) and self._due(fix, truth):
            self._last, self._last_ignition = fix, truth.ignition
            self.store.put(msgspec.structs.replace(fix, attributes=self._attributes(truth)))

    def _due(self, fix: Position, truth: State) -> bool:
        last, policy = self._last, self.policy
        if last is None or last.time_ms is None or fix.time_ms is None:
            return True
        waited_s = (fix.time_ms - last.time_ms) / 1000.0
        if waited_s < policy.least_s:
            return False
        if truth.ignition != self._last_ignition or fix.valid != last.valid:
            return True
        moving = fix.speed_mps is not None and fix.speed_mps > 1.0
        period_s = policy.moving_s if moving else policy.standing_s if truth.ignition else policy.off_s
        return waited_s >= period_s or (moving and self._moved_on(fix, last))

    def _moved_on(self, fix: Position, last: Position) -> bool:
        if fix.lat_deg is None or fix.lon_deg is None or last.lat_deg is None or last.lon_deg is None:
            return False
        if distance_m(last.lat_deg, last.lon_deg, fix.lat_deg, fix.lon_deg) >= self.policy.distance_m:
            return True
        turn_deg = abs(((fix.course_deg or 0.0) - (last.course_deg or 0.0) + 180.0) % 360.0 - 180.0)
        return turn_deg >= self.policy.turn_deg

    def _attributes(self, truth: State) -> dict[str, Scalar]:
        if not self.make.tells_engine:
            return {}
        return {
            "ignition": truth.ignition,
            "motion": truth.speed_mps > 0.3,
            "odometer_m": round(truth.odometer_m),
            "external_voltage_v": 13.9 if truth.ignition else 12.6,
        }

    def packet(self, records: Sequence[Position]) -> bytes:
        """The records as this make writes them, oldest first."""
        return self._encoder.positions(records)
