"""The sources with the real intake and journal, and a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.journal import Intake, Journal, Registry, Watch
from gateway.model import FrameItem
from gateway.sources.mqtt_client import MqttClientSource
from gateway.sources.topics import TopicRoute
from tests.servers import Mosquitto
from tests.sources.fake_intake import FakeIntake, until
from tests.sources.test_mqtt_client import options_for, publish, running


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextlib.asynccontextmanager
async def journaling(journal: Journal) -> AsyncIterator[Intake]:
    intake = Intake(journal, Registry((), "register"), now_ms=now_ms, committed=Watch())
    task = asyncio.create_task(intake.run())
    try:
        yield intake
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def kept(journal: Journal) -> list[bytes]:
    items = [item for entry in journal.entries(0, 10_000, 1 << 30) for item in entry.items]
    return [item.raw for item in items if isinstance(item, FrameItem) and item.messages]


@pytest.mark.servers
async def test_what_the_broker_was_told_is_safe_is_in_the_journal_once(tmp_path: Path) -> None:
    """The reader is stopped at odd moments; what it had not acknowledged comes again, and counts once."""
    payloads = [b"%d,%.3f" % (number % 90, number / 1000) for number in range(9000)]
    route = TopicRoute(filter="fleet/+/pair", protocol="pair", device_id="{1}", options={"timed": True})
    journal = Journal.open(tmp_path / "journal.db")
    with Mosquitto(tmp_path / "broker") as broker:
        chosen = msgspec.structs.replace(options_for(broker), routes=(route,))
        async with running(MqttClientSource(chosen, FakeIntake())):
            pass
        for start in range(0, 9000, 1000):
            await publish(broker.port, [*payloads[start : start + 1000], b"poison"])
        async with journaling(journal) as intake:
            rounds = 0
            while len(kept(journal)) < len(payloads):
                rounds += 1
                async with running(MqttClientSource(chosen, intake)) as source:
                    await until(lambda source=source: source.stats.acknowledged > 0)
            assert rounds > 1
            async with running(MqttClientSource(chosen, intake)) as source:
                await until(lambda source=source: source.stats.acknowledged == source.stats.messages)
            async with running(MqttClientSource(chosen, intake)) as source:
                await asyncio.sleep(0.2)
                assert source.stats.messages == 0, "the broker has nothing left to send"
    assert kept(journal) == payloads, "each once, and in order"
    assert {each.raw for each in journal.quarantined()} == {b"poison"}
    total = journal.accounting().total
    assert total.received == total.journaled + total.duplicate + total.quarantined + total.state_only
    journal.close()
