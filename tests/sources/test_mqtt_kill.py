"""kill -9 of the endpoint under load: what it acknowledged is in the journal, and what it did not comes again, once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from gateway.journal import Intake, Journal, JournalOptions, Registry, Watch
from gateway.sources.mqtt_endpoint import EndpointOptions, MqttEndpoint, TopicRoute
from gateway.sources.mqtt_packets import Publish
from tests.sources import mqtt_bytes as client_bytes
from tests.sources.mqtt_harness import CONNACK, RawClient

ROOMY = JournalOptions(min_free_mb=0)
T0_S = 1_790_000_000
WINDOW, MESSAGES, DEVICES, KILLS = 40, 3_000, 4, 4


async def serve(path: Path) -> None:
    """What the killed process runs; it prints its port."""
    journal = Journal.open(path, ROOMY)
    intake = Intake(journal, Registry((), "register"), now_ms=lambda: T0_S * 1000, committed=Watch())
    committing = asyncio.create_task(intake.run())
    routes = (TopicRoute(filter="owntracks/+", protocol="owntracks", device_id="{1}"),)
    endpoint = MqttEndpoint(EndpointOptions(listen="127.0.0.1:0", anonymous=True, routes=routes), intake)
    await endpoint.start()
    print(endpoint.port, flush=True)
    await asyncio.gather(endpoint.run(), committing)


@contextlib.asynccontextmanager
async def process(path: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, str(path)), stdout=asyncio.subprocess.PIPE
    )
    assert running.stdout is not None
    try:
        yield running, int(await running.stdout.readline())
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.kill()
        await running.wait()


class Tracker:
    """Sends its fixes in order at QoS 1, `WINDOW` of them unacknowledged, and again what was not acknowledged."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.acknowledged = 0

    async def drive(self, port: int) -> None:
        client = RawClient(*await asyncio.open_connection("127.0.0.1", port))
        client.send(client_bytes.simple_connect(self.name, clean=False))
        await client.packet(CONNACK)
        sent = self.acknowledged
        while self.acknowledged < MESSAGES:
            while sent < min(MESSAGES, self.acknowledged + WINDOW):
                sent += 1
                client.send(client_bytes.publish(4, Publish(f"owntracks/{self.name}", fix(sent), 1, packet_id=sent)))
            assert await client.acks(1) == [self.acknowledged + 1]
            self.acknowledged += 1
        await client.close()


def fix(number: int) -> bytes:
    return json.dumps(
        {"_type": "location", "lat": 38.7, "lon": -9.1, "tst": T0_S + number, "vel": number % 90}
    ).encode()


async def test_killed_at_any_moment_nothing_acknowledged_is_lost_and_nothing_is_double(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    trackers = [Tracker(f"t{n}") for n in range(DEVICES)]
    dice = random.Random(9)
    for _ in range(KILLS):
        async with process(path) as (running, port):
            driving = [asyncio.create_task(tracker.drive(port)) for tracker in trackers]
            enough = trackers[0].acknowledged + dice.randint(20, 600)  # of work, not of time: machines differ
            while trackers[0].acknowledged < enough and not driving[0].done():
                await asyncio.sleep(0.001)
            running.kill()
            await asyncio.gather(*driving, return_exceptions=True)
        with contextlib.closing(Journal.open(path, ROOMY)) as journal:
            for tracker in trackers:
                kept = {stored.position.time_ms for stored in journal.track(tracker.name, 0, 2**60)}
                assert kept >= {(T0_S + n) * 1000 for n in range(1, tracker.acknowledged + 1)}
    assert all(0 < tracker.acknowledged < MESSAGES for tracker in trackers), "no kill came under load"
    async with process(path) as (_, port):
        await asyncio.gather(*(tracker.drive(port) for tracker in trackers))
    with contextlib.closing(Journal.open(path, ROOMY)) as journal:
        expected = [(T0_S + n) * 1000 for n in range(1, MESSAGES + 1)]
        for tracker in trackers:
            assert [stored.position.time_ms for stored in journal.track(tracker.name, 0, 2**60)] == expected


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
