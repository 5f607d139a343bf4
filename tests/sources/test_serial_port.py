"""Through pseudo-terminals, opened by pyserial as real ports are. Their speed means nothing, so hunting has a line that
turns what it reads at a wrong speed into garbage.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import tty
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.model import Malformed, Position
from gateway.problems import BadInput
from gateway.sources import serial_port
from gateway.sources.serial_line import SerialLine
from gateway.sources.serial_port import SerialOptions, SerialSource, problems
from tests.sources.fake_intake import FakeIntake, until


class Plug:
    """A device that can be plugged in under one path, talk, and be pulled out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ends: tuple[int, ...] = ()

    def plug(self) -> None:
        self._ends = os.openpty()
        tty.setraw(self._ends[1])
        self.path.symlink_to(os.ttyname(self._ends[1]))

    def unplug(self) -> None:
        for end in self._ends:
            os.close(end)
        self._ends = ()
        self.path.unlink(missing_ok=True)

    def say(self, data: bytes) -> None:
        os.write(self._ends[0], data)

    def heard(self) -> bytes:
        """What the gateway wrote to the device: it must be nothing."""
        os.set_blocking(self._ends[0], False)
        try:
            return os.read(self._ends[0], 100)
        except BlockingIOError:
            return b""


@pytest.fixture
def plug(tmp_path: Path) -> Iterator[Plug]:
    plug = Plug(tmp_path / "gps")
    yield plug
    plug.unplug()


def options_for(plug: Plug, **more: object) -> SerialOptions:
    given = {"protocol": "lines", "speed": 9600, "reopen_first_s": 0.02, "reopen_max_s": 0.05, **more}
    return SerialOptions(port=str(plug.path), device_id="truck", **given)


@contextlib.asynccontextmanager
async def running(source: SerialSource) -> AsyncIterator[SerialSource]:
    task = asyncio.create_task(source.run())
    try:
        yield source
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def raw(intake: FakeIntake) -> list[bytes]:
    return [received.frame.raw for received in intake.committed]


async def test_lines_become_frames_and_silence_closes_the_last(plug: Plug) -> None:
    plug.plug()
    intake = FakeIntake()
    async with running(SerialSource(options_for(plug), intake)) as source:
        await until(lambda: source.stats.opened == 1)
        plug.say(b"1,2\n3,4\n")
        await until(lambda: raw(intake) == [b"1,2", b"3,4"])
        assert plug.heard() == b""
        assert (source.stats.connected, source.stats.frames, source.stats.received_bytes) == (1, 2, 8)
        assert source.stats.last_received_ms > 0
        assert source.stats.speed_baud == 9600
        assert source.trouble is None
    (position,) = intake.committed[0].frame.messages
    assert isinstance(position, Position)
    assert position.device_id == "truck"
    assert (intake.committed[0].source, intake.committed[0].device_id) == ("serial", "truck")


async def test_bytes_that_dribble_give_the_same(plug: Plug) -> None:
    plug.plug()
    intake = FakeIntake()
    async with running(SerialSource(options_for(plug), intake)) as source:
        await until(lambda: source.stats.opened == 1)
        for byte in b"1,2\n3,4\n":
            plug.say(bytes([byte]))
            await asyncio.sleep(0.005)
        await until(lambda: raw(intake) == [b"1,2", b"3,4"])


async def test_unplug_and_replug(plug: Plug, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway")
    plug.plug()
    intake = FakeIntake()
    async with running(SerialSource(options_for(plug), intake)) as source:
        decoder = source._decoder._decoder
        await until(lambda: source.stats.opened == 1)
        plug.say(b"1,2\n3,")
        await until(lambda: raw(intake) == [b"1,2"])
        plug.unplug()
        await until(lambda: source.stats.connected == 0)
        await until(lambda: raw(intake)[1:] == [b"3,"])
        await asyncio.sleep(0.3)
        plug.plug()
        await until(lambda: source.stats.opened == 1)
        plug.say(b"4\n5,6\n")
        await until(lambda: raw(intake)[-1:] == [b"5,6"])
        assert source.stats.reconnects == 1
        assert source._decoder._decoder is decoder, "the date it learnt is kept"
    kinds = [isinstance(received.frame.messages[0], Malformed) for received in intake.committed]
    assert raw(intake) == [b"1,2", b"3,", b"4", b"5,6"]
    assert kinds == [False, True, True, False], "the halves of a sentence are never joined"
    told = [record.levelno for record in caplog.records if record.name == "gateway.sources.serial_port"]
    assert told.count(logging.INFO) == 2
    assert told.count(logging.WARNING) <= 3


async def test_a_port_that_is_not_there_yet_is_waited_for(plug: Plug) -> None:
    intake = FakeIntake()
    async with running(SerialSource(options_for(plug), intake)) as source:
        await until(lambda: "could not open port" in (source.trouble or ""))
        plug.plug()
        await until(lambda: source.stats.opened == 1)
        plug.say(b"1,2\n")
        await until(lambda: raw(intake) == [b"1,2"])
        assert source.stats.reconnects == 0


async def test_silence_is_counted_said_once_and_ended_by_the_first_word(
    plug: Plug, caplog: pytest.LogCaptureFixture
) -> None:
    plug.plug()
    intake = FakeIntake()
    async with running(SerialSource(options_for(plug, silence_s=0.15), intake)) as source:
        await until(lambda: source.stats.silences >= 3)
        warnings = [r.getMessage() for r in caplog.records if r.name == "gateway.sources.serial_port"]
        assert len(warnings) == 1
        assert "nothing good heard for 0.15 s" in warnings[0]
        assert source.stats.connected == 0
        for number in range(100):
            plug.say(b"%d,2\n" % number)
            await asyncio.sleep(0.02)
            if intake.committed:
                break
        assert source.stats.connected == 1


async def test_garbage_is_not_taken_for_life(plug: Plug) -> None:
    plug.plug()
    async with running(SerialSource(options_for(plug, silence_s=0.2), FakeIntake())) as source:
        while not source.stats.silences:
            plug.say(b"\xff\x80")
            await asyncio.sleep(0.01)
        assert source.stats.noise_bytes > 10
        assert source.stats.connected == 0


async def test_a_full_intake_fills_a_bounded_buffer_and_a_gap_is_not_bridged(plug: Plug) -> None:
    plug.plug()
    intake = FakeIntake()
    async with running(SerialSource(options_for(plug, buffer_bytes=4096), intake)) as source:
        await until(lambda: source.stats.opened == 1)
        plug.say(b"1,2\n")
        await until(lambda: raw(intake) == [b"1,2"])
        intake.hold, intake.limit = True, 1
        plug.say(b"3,4\n")
        await until(lambda: intake.full)
        for _ in range(100):  # the buffer ends within a line: nobody may join "5," to what comes after the gap
            plug.say(b"5,6\n" * 20 + b"5,")
            await asyncio.sleep(0.002)
        assert len(raw(intake)) == 1
        intake.hold, intake.limit = False, 10**9
        intake.commit()
        await asyncio.sleep(0.1)
        plug.say(b"7,8\n")
        await until(lambda: raw(intake)[-1:] == [b"7,8"])
        assert source.stats.dropped_bytes > 2000
        assert len(intake.committed) < 1200
    assert b"5,7,8" not in raw(intake)


class GarbledLine(SerialLine):
    """At every speed but the right one, what is read makes no sense."""

    RIGHT_BAUD = 38400
    tried: list[int]

    def __init__(self, path: str, speed_baud: int) -> None:
        super().__init__(path, speed_baud)
        self.speed_baud = speed_baud

    def set_speed(self, speed_baud: int) -> None:
        if speed_baud == 57600:
            raise ValueError("this port cannot do it")
        super().set_speed(speed_baud)
        self.speed_baud = speed_baud
        self.tried.append(speed_baud)

    def read(self) -> bytes:
        data = super().read()
        return data if self.speed_baud == self.RIGHT_BAUD else bytes(byte & 0x6F | 0x40 for byte in data)


@contextlib.asynccontextmanager
async def talking(plug: Plug, every_s: float = 0.02) -> AsyncIterator[None]:
    async def talk() -> None:
        number = 0
        while True:
            with contextlib.suppress(OSError, IndexError):
                plug.say(b"%d,2\n" % (number % 90))
            number += 1
            await asyncio.sleep(every_s)

    task = asyncio.create_task(talk())
    try:
        yield
    finally:
        task.cancel()


async def test_the_speed_is_hunted_and_remembered(plug: Plug, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GarbledLine, "tried", [], raising=False)
    plug.plug()
    intake = FakeIntake()
    source = SerialSource(options_for(plug, speed="hunt", listen_s=0.2), intake, opener=GarbledLine)
    async with talking(plug), running(source):
        await until(lambda: source.stats.connected == 1)
        assert GarbledLine.tried == [4800, 9600, 19200, 38400]
        assert source.stats.speed_baud == 38400
        await until(lambda: len(intake.committed) > 5)
        plug.unplug()
        await until(lambda: source.stats.connected == 0)
        plug.plug()
        await until(lambda: source.stats.connected == 1)
        assert GarbledLine.tried[4:] == [38400]
    good = [received for received in intake.committed if isinstance(received.frame.messages[0], Position)]
    assert len(intake.committed) - len(good) <= 3, "garbage of wrong speeds stays out of the quarantine"


async def test_hunting_goes_on_for_ever_and_is_said_once(
    plug: Plug, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(GarbledLine, "tried", [], raising=False)
    monkeypatch.setattr(GarbledLine, "RIGHT_BAUD", -1)
    monkeypatch.setattr(serial_port, "SPEEDS_BAUD", (4800, 9600, 57600))
    plug.plug()
    source = SerialSource(options_for(plug, speed="hunt", listen_s=0.1), FakeIntake(), opener=GarbledLine)
    async with talking(plug), running(source):
        await until(lambda: source.stats.silences == 3)
        assert GarbledLine.tried[:6] == [4800, 9600] * 3
        assert source.stats.frames == 0
        monkeypatch.setattr(GarbledLine, "RIGHT_BAUD", 9600)
        await until(lambda: source.stats.connected == 1)
    warnings = [r for r in caplog.records if r.name == "gateway.sources.serial_port" and r.levelno >= logging.WARNING]
    assert len(warnings) == 1


async def test_a_slow_device_gets_more_time_once_it_made_sense(plug: Plug, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GarbledLine, "tried", [], raising=False)
    monkeypatch.setattr(GarbledLine, "RIGHT_BAUD", 4800)
    plug.plug()
    source = SerialSource(options_for(plug, speed="hunt", listen_s=0.3), FakeIntake(), opener=GarbledLine)
    async with talking(plug, every_s=0.2), running(source):
        await until(lambda: source.stats.connected == 1)
    assert GarbledLine.tried == [4800]


async def test_a_port_in_use_is_refused(plug: Plug) -> None:
    plug.plug()
    first = SerialLine(str(plug.path), 9600)
    try:
        async with running(SerialSource(options_for(plug), FakeIntake())) as source:
            await until(lambda: "lock" in (source.trouble or "") or "busy" in (source.trouble or ""))
    finally:
        first.close()


async def test_a_line_without_descriptor_is_read_by_a_thread(plug: Plug, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, or over rfc2217://."""

    class NoDescriptor(SerialLine):
        def __init__(self, path: str, speed_baud: int) -> None:
            super().__init__(path, speed_baud)
            self._fd = None
            self._port.timeout = 0.05

    plug.plug()
    intake = FakeIntake()
    async with running(SerialSource(options_for(plug), intake, opener=NoDescriptor)) as source:
        await until(lambda: source.stats.opened == 1)
        plug.say(b"1,2\n3,4\n")
        await until(lambda: raw(intake) == [b"1,2", b"3,4"])
        plug.unplug()
        await until(lambda: source.stats.connected == 0)
        plug.plug()
        await until(lambda: source.stats.opened == 1)
        plug.say(b"5,6\n")
        await until(lambda: raw(intake)[-1:] == [b"5,6"])


async def test_a_serial_server_on_the_network_is_a_port_too() -> None:
    intake = FakeIntake()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        options = SerialOptions(
            port=f"socket://127.0.0.1:{server.getsockname()[1]}", device_id="truck", protocol="lines", speed=9600
        )
        async with running(SerialSource(options, intake)) as source:
            peer, _ = await asyncio.to_thread(server.accept)
            with peer:
                await until(lambda: source.stats.opened == 1)
                peer.sendall(b"1,2\n")
                await until(lambda: raw(intake) == [b"1,2"])
            await until(lambda: source.stats.connected == 0)


def sentence(text: str) -> bytes:
    check = 0
    for byte in text.encode():
        check ^= byte
    return f"${text}*{check:02X}\r\n".encode()


async def test_nmea_epochs_close_on_silence(plug: Plug) -> None:
    plug.plug()
    intake = FakeIntake()
    async with running(SerialSource(options_for(plug, protocol="nmea"), intake)) as source:
        await until(lambda: source.stats.opened == 1)
        for second in range(10, 13):
            plug.say(sentence(f"GPRMC,1201{second}.00,A,4717.1100,N,00833.9100,E,10.0,90.0,221126,,,A"))
            plug.say(sentence(f"GPGGA,1201{second}.00,4717.1100,N,00833.9100,E,1,08,1.0,450.0,M,48.0,M,,"))
            await until(lambda count=second - 9: source.stats.frames == count)
    positions = [m for received in intake.submitted for m in received.frame.messages]
    assert [p.time_ms % 60_000 for p in positions] == [10_000, 11_000, 12_000]
    assert {p.device_id for p in positions} == {"truck"}


def test_options_are_checked_before_anything_opens() -> None:
    bad = SerialOptions(port="", device_id="", protocol="morse", reference_time="noon")
    assert [p.where for p in problems(bad, "sources.serial[0]")] == [
        f"sources.serial[0].{key}" for key in ("protocol", "port", "device_id", "reference_time")
    ]
    with pytest.raises(BadInput):
        SerialSource(bad, FakeIntake())
