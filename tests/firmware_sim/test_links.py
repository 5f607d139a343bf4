"""The fleet against a real broker, and on a virtual serial port."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import aiomqtt
import msgspec
import pytest

from firmware_sim.drive import Pace, drive
from firmware_sim.fleet import Fleet, FleetOptions, make_fleet
from firmware_sim.links import Broker, MqttLink
from firmware_sim.serial_line import SerialLine
from firmware_sim.truth import TruthLog
from gateway.model import Position
from gateway.protocols import new_decoder
from gateway.protocols.base import Context
from tests.firmware_sim.fleets import START_MS, small_fleet
from tests.servers import Mosquitto, free_port


@pytest.fixture
def broker(tmp_path: Path) -> Mosquitto:
    server = Mosquitto(tmp_path / "broker")
    with server:
        yield server


class Heard:
    """A subscriber to everything, which counts fixes by device and time."""

    def __init__(self, fleet: Fleet, port: int) -> None:
        self.fixes: Counter[tuple[str, int]] = Counter()
        self.ready = asyncio.Event()
        self._devices = {d.topic: d for d in fleet.devices}
        self._port = port

    async def run(self) -> None:
        while True:
            try:
                async with aiomqtt.Client("127.0.0.1", self._port, identifier="ear", clean_session=False) as client:
                    await client.subscribe("#", qos=1)
                    self.ready.set()
                    async for message in client.messages:
                        self._take(str(message.topic), bytes(message.payload))
            except aiomqtt.MqttError:
                await asyncio.sleep(0.1)

    def _take(self, topic: str, payload: bytes) -> None:
        device = self._devices[topic]
        decoder = new_decoder(device.protocol, Context(device_id=device.device_id, topic=topic))
        for frame in decoder.feed(payload, START_MS) + decoder.end(START_MS):
            for message in frame.messages:
                assert isinstance(message, Position)
                self.fixes[device.device_id, message.time_ms or 0] += 1


def recorded(fleet: Fleet, until_ms: int) -> set[tuple[str, int]]:
    """What the trackers of a fleet record until then, by device and time: a second fleet of the same seed tells."""
    while fleet.world.now_ms < until_ms:
        fleet.world.step()
    found = set()
    for tracker in fleet.world.trackers:
        while records := tracker.firmware.store.take():
            found |= {(tracker.device.device_id, r.time_ms or 0) for r in records}
            tracker.firmware.store.acknowledged()
    return found


@pytest.mark.servers
async def test_everything_recorded_arrives_although_networks_and_the_broker_fail(
    broker: Mosquitto, tmp_path: Path
) -> None:
    fleet = small_fleet(10)
    until_ms = START_MS + 150_000
    made = recorded(small_fleet(10), until_ms)
    heard = Heard(fleet, broker.port)
    links = [MqttLink(t, Broker("127.0.0.1", broker.port), 7) for t in fleet.world.trackers]
    ear = asyncio.create_task(heard.run())
    await heard.ready.wait()

    async def trouble() -> None:
        await asyncio.sleep(2)
        broker.stop()
        await asyncio.sleep(0.5)
        broker.start()

    troubles = asyncio.create_task(trouble())
    with (tmp_path / "truth.jsonl").open("wb") as log:
        pace = Pace(factor=25.0, until_ms=until_ms, anchored=False)
        await drive(fleet.world, links, TruthLog(log), pace, asyncio.Event(), lambda _: None)
    await troubles
    await asyncio.sleep(0.5)
    ear.cancel()
    stores = [t.firmware.store for t in fleet.world.trackers]
    assert sum(len(s) for s in stores) == sum(s.dropped for s in stores) == 0
    assert sum(s.acknowledged_count for s in stores) == len(made)
    # OwnTracks has whole seconds only, and all fixes here fall on one; a resend after a lost answer may come twice
    assert made == set(heard.fixes)
    assert sum(link.reconnects for link in links) >= 10


@pytest.mark.servers
async def test_nothing_counts_as_acknowledged_before_the_broker_said_so(tmp_path: Path) -> None:
    fleet = small_fleet(3)
    links = [MqttLink(t, Broker("127.0.0.1", free_port()), 7) for t in fleet.world.trackers]
    with (tmp_path / "truth.jsonl").open("wb") as log:
        pace = Pace(factor=None, until_ms=START_MS + 60_000, anchored=False)
        await drive(fleet.world, links, TruthLog(log), pace, asyncio.Event(), lambda _: None)
    stores = [t.firmware.store for t in fleet.world.trackers]
    assert all(s.acknowledged_count == 0 and len(s) == s.made > 0 for s in stores)
    assert all(link.trouble for link in links)


def start(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "firmware_sim", "fleet", "--out", str(folder), "--vehicles", "6", *more]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.servers
def test_the_command_waits_drives_and_reports(broker: Mosquitto, tmp_path: Path) -> None:
    link = tmp_path / "gps0"
    command = start(
        tmp_path / "out", "--mqtt", f"127.0.0.1:{broker.port}", "--serial", str(link), "--wait", "--seconds", "60"
    )
    assert command.stdout is not None
    assert command.stdin is not None
    ready = msgspec.json.decode(command.stdout.readline())
    assert ready["ready"] is True
    for name in ("plans.json", "fences.geojson", "city.geojson", "devices.json"):
        assert (tmp_path / "out" / name).stat().st_size > 100
    assert link.is_symlink()
    port = os.open(link, os.O_RDONLY | os.O_NOCTTY)
    command.stdin.write(b"go\n")
    command.stdin.flush()
    said = b""
    while said.count(b"RMC") < 3:
        said += os.read(port, 4096)
    os.close(port)
    command.send_signal(signal.SIGTERM)
    out, _ = command.communicate(timeout=20)
    assert command.returncode == 0
    counts = msgspec.json.decode(out.splitlines()[-1])
    assert counts["serial_written"] >= 3
    assert counts["published"] > 0
    balance = ("acknowledged", "buffered", "dropped", "serial_written", "serial_lost")
    assert counts["fixes_made"] == sum(counts[k] for k in balance)
    assert not link.is_symlink()


def test_without_a_broker_it_says_so_and_fails(tmp_path: Path) -> None:
    command = start(tmp_path / "out", "--mqtt", f"127.0.0.1:{free_port()}", "--seconds", "1")
    out, err = command.communicate(timeout=30)
    assert command.returncode == 1
    assert b"could not deliver" in err
    assert msgspec.json.decode(out.splitlines()[-1])["acknowledged"] == 0


def test_a_virtual_port_carries_bytes_both_ways_and_counts_what_nobody_reads(tmp_path: Path) -> None:
    line = SerialLine(tmp_path / "port")
    other = os.open(tmp_path / "port", os.O_RDWR | os.O_NOCTTY)
    assert line.write(b"\x00$GPRMC\r\n\x03\x11")
    assert os.read(other, 100) == b"\x00$GPRMC\r\n\x03\x11"
    os.write(other, b"hello\n")
    assert line.read() == b"hello\n"
    while line.write(bytes(512)):
        pass
    assert 0 < line.lost_bytes <= 512
    os.close(other)
    line.close()
    assert not (tmp_path / "port").is_symlink()


async def test_simulated_time_never_runs_ahead_of_the_clock(tmp_path: Path) -> None:
    """A fix from the future would be set aside by the gateway."""
    fleet = make_fleet(FleetOptions(vehicles=1, seed=7, start_ms=int(time.time()) * 1000 - 1_700))
    ahead_s: list[float] = []
    with (tmp_path / "truth.jsonl").open("wb") as log:
        await drive(
            fleet.world, [], TruthLog(log), Pace(seconds=1.2), asyncio.Event(),
            lambda now_ms: ahead_s.append(now_ms / 1000 - time.time()),
        )  # fmt: skip
    assert max(ahead_s) <= 0
    assert ahead_s[-1] > -1.0, "nor does it fall behind"


async def test_it_ends_at_an_odd_moment_too(tmp_path: Path) -> None:
    fleet = small_fleet(1)
    with (tmp_path / "truth.jsonl").open("wb") as log:
        pace = Pace(factor=50.0, until_ms=START_MS + 10_300, anchored=False)
        await drive(fleet.world, [], TruthLog(log), pace, asyncio.Event(), lambda _: None)
    assert fleet.world.now_ms == START_MS + 10_000
