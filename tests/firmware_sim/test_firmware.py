"""What a tracker records, and that each make's bytes mean what it recorded."""

from __future__ import annotations

import random

import pytest

from firmware_sim.firmware import MAKES, Firmware, Make, Policy, device_of, imei
from firmware_sim.receiver import Receiver, Sky
from firmware_sim.store import Store
from firmware_sim.vehicle import State
from gateway.model import Position
from gateway.protocols import new_decoder
from gateway.protocols.base import Context
from tests.firmware_sim.fleets import START_MS

SKY = Sky(sigma_m=4.0, bursts_per_h=0.0)


def drive(
    make: Make, policy: Policy, seconds: int, *, speed_mps: float, ignition: bool = True, sky: Sky = SKY
) -> Firmware:
    firmware = Firmware(
        make, policy, Receiver("dev-1", sky, random.Random(3)), Store(capacity=10_000, batch=make.batch)
    )
    for t in range(seconds):
        firmware.observe(
            State(START_MS + t * 1000, t * speed_mps, 0.0, 90.0, speed_mps, ignition, 1_000.0 + t * speed_mps)
        )
    return firmware


def times_s(firmware: Firmware) -> list[float]:
    records: list[Position] = []
    while packet := firmware.store.take():
        records += packet
        firmware.store.acknowledged()
    return [((r.time_ms or 0) - START_MS) / 1000 for r in records]


def test_reports_by_time_by_distance_and_by_ignition() -> None:
    make = MAKES["teltonika"]
    slow = Policy(moving_s=10, standing_s=30, off_s=60, distance_m=1e9, turn_deg=360)
    assert times_s(drive(make, slow, 41, speed_mps=10)) == [0, 10, 20, 30, 40]
    assert times_s(drive(make, slow, 91, speed_mps=0)) == [0, 30, 60, 90]
    assert times_s(drive(make, slow, 121, speed_mps=0, ignition=False)) == [0, 60, 120]
    far = Policy(moving_s=60, distance_m=100, turn_deg=360)
    gaps = times_s(drive(make, far, 60, speed_mps=20))
    assert 4 <= (gaps[-1] - gaps[0]) / (len(gaps) - 1) <= 6


def test_reports_a_turn_and_a_change_of_the_ignition() -> None:
    firmware = Firmware(
        MAKES["teltonika"], Policy(moving_s=600, off_s=600, standing_s=600, distance_m=1e9, turn_deg=30),
        Receiver("dev-1", SKY, random.Random(3)), Store(capacity=99, batch=20),
    )  # fmt: skip
    for t in range(40):
        course_deg, ignition = (0.0 if t < 20 else 90.0), t < 30
        firmware.observe(State(START_MS + t * 1000, 0.0, 0.0, course_deg, 8.0, ignition, 0.0))
    assert times_s(firmware) == [0, 20, 30]


@pytest.mark.parametrize("make", MAKES.values(), ids=lambda m: m.name)
def test_bytes_mean_what_was_recorded(make: Make) -> None:
    device = device_of(make, "van-07", 12)
    firmware = drive(make, Policy(moving_s=5), 60, speed_mps=13.9)
    decoder = new_decoder(make.protocol, Context(device_id=device.device_id, topic=device.topic))
    seen = 0
    while records := firmware.store.take():
        firmware.store.acknowledged()
        now_ms = (records[-1].time_ms or 0) + 100
        frames = decoder.feed(firmware.packet(records), now_ms) + decoder.end(now_ms)
        told = [m for f in frames for m in f.messages if isinstance(m, Position)]
        assert [abs((t.time_ms or 0) - (r.time_ms or 0)) < 1000 for t, r in zip(told, records, strict=True)]
        for t, r in zip(told, records, strict=True):
            seen += 1
            assert t.valid
            assert t.lat_deg == pytest.approx(r.lat_deg, abs=1e-5)
            assert t.lon_deg == pytest.approx(r.lon_deg, abs=1e-5)
            assert t.speed_mps == pytest.approx(r.speed_mps, abs=0.3)
            if make.tells_engine:
                assert t.attributes["ignition"] is True
                assert t.attributes["odometer_m"] == r.attributes["odometer_m"]
    assert seen == 12


def test_a_cold_tracker_says_that_it_has_no_fix_and_a_phone_says_nothing() -> None:
    cold = Sky(sigma_m=4.0, cold_s=20.0)
    policy = Policy(moving_s=5, distance_m=1e9, turn_deg=360)
    assert times_s(drive(MAKES["teltonika"], policy, 30, speed_mps=10, sky=cold))[0] == 0
    assert times_s(drive(MAKES["owntracks"], policy, 30, speed_mps=10, sky=cold))[0] == 20


def test_an_imei_has_fifteen_digits_and_a_check_digit() -> None:
    assert imei(0) == "004401330000007"
    for number in range(50):
        digits = [int(d) for d in imei(number)]
        doubled = [sum(divmod(2 * d, 10)) if i % 2 else d for i, d in enumerate(digits)]
        assert len(digits) == 15
        assert sum(doubled) % 10 == 0


def test_devices_are_all_different() -> None:
    for make in MAKES.values():
        devices = [device_of(make, f"van-{n}", n) for n in range(20)]
        assert len({d.device_id for d in devices}) == 20
        assert make.topic is None or len({d.topic for d in devices}) == 20
