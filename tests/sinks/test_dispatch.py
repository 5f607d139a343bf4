"""Dispatch over MQTT, through a real Mosquitto."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import aiomqtt
import pytest

from gateway.model import Event, Position
from gateway.sinks.dispatch import DispatchOptions, DispatchSink, topic_of
from tests.servers import Mosquitto
from tests.sinks.conftest import Filled
from tests.sinks.test_influx import until

pytestmark = pytest.mark.servers


def test_a_vehicle_is_one_level_of_the_topic_whatever_its_name() -> None:
    assert (
        topic_of("dispatch/v1", "north", "a/+#ü", "stop.arrived") == "dispatch/v1/north/a%2F%2B%23%C3%BC/stop.arrived"
    )


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_events_are_published_and_go_on_after_the_broker_was_away(
    filled: Filled, fix: Callable[..., Position], event: Callable[..., Event], tmp_path: Path, protocol: str
) -> None:
    heard: list[aiomqtt.Message] = []

    async def listen(port: int) -> None:
        async with aiomqtt.Client("127.0.0.1", port) as client:
            await client.subscribe("dispatch/v1/#", qos=1)
            listening.set()
            async for message in client.messages:
                heard.append(message)

    listening = asyncio.Event()
    with Mosquitto(tmp_path / "broker") as broker:
        options = DispatchOptions(host="127.0.0.1", port=broker.port, retry_max_s=0.2, protocol=protocol)  # type: ignore[arg-type]
        sink = DispatchSink(options, filled.journal, filled.concluded, "/gateway/test", "north")
        tasks = [asyncio.create_task(listen(broker.port)), asyncio.create_task(sink.run())]
        await listening.wait()
        filled.add([fix()], [event("van-1"), event("van-2")])
        await until(lambda: len(heard) == 2)
        assert {m.topic.value for m in heard} == {f"dispatch/v1/north/van-{n}/stop.arrived" for n in (1, 2)}
        assert all(not m.retain for m in heard)
        assert json.loads(heard[0].payload)["specversion"] == "1.0"
        broker.stop()
        filled.add([fix()], [event("van-1"), event("van-1")])
        await until(lambda: sink.stats.trouble is not None)
        broker.start()
        await until(lambda: sink.stats.delivered == 4)
        assert sink.stats.trouble is None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
