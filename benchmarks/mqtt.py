"""From MQTT to journal: a real Mosquitto with its client, and trackers that connect to the endpoint.

Through Mosquitto, both ways drain a backlog that waits for them at the broker, so that nothing but the broker and the
measured process run, and connecting is part of it. At the endpoint, a process of its own plays the fleet, connected
before the clock starts. The naive ways take a message, parse it, commit its row, and then look at the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeAlias

import aiomqtt
import uvloop

from benchmarks.journal import Rows
from benchmarks.measure import Clock, Contest, Cost, LeftOut, Pace, Way
from benchmarks.publisher import PROTOCOL, topic_of
from gateway.journal import Intake, Journal, Registry, Watch
from gateway.model import Assignment
from gateway.sources.mqtt_client import MqttClientOptions, MqttClientSource
from gateway.sources.mqtt_endpoint import EndpointOptions, MqttEndpoint
from gateway.sources.topics import TopicRoute
from tests.servers import Mosquitto, program

VANS = 200
FILTER = topic_of("+")
CLIENT_ID = "bench"
ROUTES = (TopicRoute(filter=FILTER, protocol=PROTOCOL, device_id="{1}"),)
WITHIN_S = 60
ROOT = Path(__file__).resolve().parent.parent
CONNECT, PUBLISH = 1, 3
CONNACK = b"\x20\x02\x00\x00"
Save: TypeAlias = Callable[[str, bytes], Awaitable[None]]

_numbers = itertools.count()


def contests(pace: Pace) -> Iterator[Contest]:
    many, few = pace.scaled(100), pace.scaled(4)
    try:
        program("mosquitto")
    except RuntimeError as error:
        raise LeftOut(str(error)) from error
    with Mosquitto(pace.folder / "broker") as broker:
        _run(_subscribe(broker.port))
        yield Contest(
            stage="mqtt",
            case=f"Mosquitto → client → journal, {many * VANS:,} waiting, QoS 1",
            against=f"aiomqtt: json.loads, one row, one commit awaited, then the next ({few * VANS:,} waiting)",
            ours=_way(lambda: _drain(pace.folder, broker.port, many)),
            naive=_way(lambda: _drain_naively(pace.folder, broker.port, few)),
        )
    yield Contest(
        stage="mqtt",
        case=f"{VANS} trackers → endpoint → journal, QoS 1",
        against="asyncio streams: json.loads, one row, one commit awaited, PUBACK, then the next",
        ours=_way(lambda: _serve(pace.folder, many)),
        naive=_way(lambda: _serve_naively(pace.folder, few)),
    )


def _way(measured: Callable[[], Coroutine[None, None, Cost]]) -> Way:
    return lambda: _run(measured())


def _run(work: Coroutine[None, None, Cost | None]) -> Cost:
    """On uvloop, for either way."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work) or Cost(0, 0.0, 0.0)


# ------------------------------------------------------------------------------------------------------- the broker


async def _subscribe(port: int) -> None:
    """The session that the backlog waits in."""
    async with aiomqtt.Client("127.0.0.1", port, identifier=CLIENT_ID, clean_session=False) as client:
        await client.subscribe(FILTER, qos=1)


async def _fill(port: int, ticks: int) -> int:
    """How many messages wait at the broker now."""
    async with _fleet(port, ticks) as fleet:
        await _send(fleet)
    return ticks * VANS


async def _drain(folder: Path, port: int, ticks: int) -> Cost:
    count = await _fill(port, ticks)
    async with _journaling(folder) as intake:
        options = MqttClientOptions(host="127.0.0.1", port=port, client_id=CLIENT_ID, routes=ROUTES)
        source = MqttClientSource(options, intake)
        clock = Clock()
        async with _running(source.run()):
            await _until(lambda: source.stats.acknowledged >= count)
            return clock.stop(count)


async def _drain_naively(folder: Path, port: int, ticks: int) -> Cost:
    count = await _fill(port, ticks)
    with _table(folder) as save:
        clock = Clock()
        async with aiomqtt.Client("127.0.0.1", port, identifier=CLIENT_ID, clean_session=False) as client:
            for _ in range(count):
                message = await anext(client.messages)
                await save(message.topic.value, bytes(message.payload))
            return clock.stop(count)


# ----------------------------------------------------------------------------------------------------- the endpoint


async def _serve(folder: Path, ticks: int) -> Cost:
    async with _journaling(folder) as intake:
        endpoint = MqttEndpoint(EndpointOptions(listen="127.0.0.1:0", anonymous=True, routes=ROUTES), intake)
        await endpoint.start()
        try:
            async with _fleet(endpoint.port, ticks) as fleet:
                clock = Clock()
                await _send(fleet)
                return clock.stop(endpoint.stats.acknowledged)
        finally:
            await endpoint.stop()


async def _serve_naively(folder: Path, ticks: int) -> Cost:
    with _table(folder) as save:
        server = await asyncio.start_server(partial(_serve_one, save), "127.0.0.1", 0)
        async with server, _fleet(server.sockets[0].getsockname()[1], ticks) as fleet:
            clock = Clock()
            await _send(fleet)
            return clock.stop(ticks * VANS)


async def _serve_one(save: Save, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            kind = (await reader.readexactly(1))[0] >> 4
            length, shift = 0, 0
            while True:
                byte = (await reader.readexactly(1))[0]
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            body = await reader.readexactly(length)
            if kind == CONNECT:
                writer.write(CONNACK)
            elif kind == PUBLISH:
                end = 2 + int.from_bytes(body[:2])
                await save(body[2:end].decode(), body[end + 2 :])
                writer.write(b"\x40\x02" + body[end : end + 2])
            await writer.drain()
    writer.close()


# ---------------------------------------------------------------------------------------------- what both ways need


@contextlib.asynccontextmanager
async def _journaling(folder: Path) -> AsyncIterator[Intake]:
    """A new journal, and the intake that writes it."""
    journal = Journal.open(folder / f"mqtt-{next(_numbers)}.journal")
    known = [Assignment(device_id=f"van-{i}", vehicle_id=f"van-{i}") for i in range(VANS)]
    intake = Intake(journal, Registry(known), now_ms=lambda: time.time_ns() // 1_000_000, committed=Watch())
    try:
        async with _running(intake.run()):
            yield intake
        if journal.totals.quarantined or journal.totals.duplicate:
            raise ValueError(f"the journal did not take every message: {journal.totals}")
    finally:
        journal.close()


@contextlib.contextmanager
def _table(folder: Path) -> Iterator[Save]:
    """A new table, and a thread that commits to it, so that the loop is not held up."""
    rows, thread = Rows(folder / f"mqtt-{next(_numbers)}.db"), ThreadPoolExecutor(1)

    async def save(topic: str, payload: bytes) -> None:
        d = json.loads(payload)
        place = (topic.split("/")[1], d["tst"] * 1000, d["lat"], d["lon"], d["alt"], d["vel"], d["cog"])
        row: tuple[object, ...] = (
            *place,
            None,
            None,
            json.dumps({"ignition": d["ign"]}),
            time.time_ns() // 1_000_000,
            payload,
        )
        await asyncio.get_running_loop().run_in_executor(thread, rows.commit, [row])

    try:
        yield save
    finally:
        thread.shutdown()
        rows.close()


@contextlib.asynccontextmanager
async def _fleet(port: int, ticks: int) -> AsyncIterator[Process]:
    """Connected, its messages ready to be sent."""
    arguments = (sys.executable, "-m", "benchmarks.publisher", str(port), str(VANS), str(ticks))
    process = await asyncio.create_subprocess_exec(*arguments, stdin=PIPE, stdout=PIPE, cwd=ROOT)
    try:
        await _say(process, "ready")
        yield process
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _send(fleet: Process) -> None:
    """Let it send; returns once all is acknowledged."""
    assert fleet.stdin is not None
    fleet.stdin.write(b"\n")
    await _say(fleet, "done")


async def _say(fleet: Process, word: str) -> None:
    assert fleet.stdout is not None
    async with asyncio.timeout(WITHIN_S):
        if (await fleet.stdout.readline()).decode().strip() != word:
            raise RuntimeError("the fleet that publishes failed; its error stands above")


@contextlib.asynccontextmanager
async def _running(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not done():
            await asyncio.sleep(0.002)
