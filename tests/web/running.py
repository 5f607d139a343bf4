"""A whole gateway in the test's own event loop, its HTTP side asked over a real socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from gateway.app import Gateway
from gateway.config import parse_config
from gateway.model import Frame, Position, Received
from tests.servers import free_port
from tests.survival.driving import FIX_EVERY_S, Vehicle

CONFIG = """
[gateway]
data_dir = "{folder}"
name = "tested"
snapshot_every_s = 0.01
drain_s = 2.0
[registry]
unknown = "{unknown}"
devices = [{{ device_id = "van-0", vehicle_id = "van-0" }}, {{ device_id = "van-1", vehicle_id = "van-1" }}]
[journal]
min_free_mb = 0
[sources.endpoint]
listen = "127.0.0.1:{mqtt_port}"
anonymous = true
[[sources.endpoint.routes]]
filter = "fleet/+"
protocol = "owntracks"
device_id = "{{1}}"
[web]
port = 0
{web}
"""


@dataclass(slots=True)
class Running:
    gateway: Gateway
    client: httpx.AsyncClient
    mqtt_port: int
    stop: asyncio.Event
    serving: asyncio.Task[None]

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def put(self, path: str, document: Any) -> httpx.Response:
        return await self.client.put(path, json=document)

    async def submit(self, positions: Iterable[Position]) -> None:
        """Until they are on disk, as one batch."""
        await asyncio.gather(*[self.gateway.intake.submit(received(p)) for p in positions])

    async def settle(self) -> None:
        """Until the engine has taken all that is on disk."""
        journal, runner = self.gateway.journal, self.gateway.runner
        await until(
            lambda: runner.entry_id >= journal.last_entry_id and self.gateway.concluded.value >= journal.last_seq
        )

    async def drive(self, vehicle: Vehicle, fixes: int) -> None:
        """So many fixes of a vehicle, in batches as a tracker sends them."""
        for first in range(0, fixes, 20):
            await self.submit([fix_of(vehicle) for _ in range(min(20, fixes - first))])

    async def all_events(self, **params: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = "0"
        while page := await self.get("/v1/events", cursor=cursor, limit=5000, **params):
            found += page["events"]
            if not page["events"]:
                break
            cursor = page["cursor"]
        return found


@asynccontextmanager
async def running(
    folder: Path, *, unknown: str = "quarantine", web: str = "", headers: dict[str, str] | None = None
) -> AsyncIterator[Running]:
    mqtt_port = free_port()
    text = CONFIG.format(folder=folder, unknown=unknown, web=web, mqtt_port=mqtt_port)
    gateway, stop, started = Gateway(parse_config(text.encode(), "test.toml")), asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(gateway.run(stop, started.set))
    ready = asyncio.create_task(started.wait())
    await asyncio.wait([serving, ready], return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        ready.cancel()
        await serving
    url = f"http://127.0.0.1:{gateway.server.port}"
    async with httpx.AsyncClient(base_url=url, timeout=20, headers=headers) as client:
        await until_serves(client)
        try:
            yield Running(gateway, client, mqtt_port, stop, serving)
        finally:
            stop.set()
            await serving


async def until_serves(client: httpx.AsyncClient) -> None:
    for _ in range(200):
        try:
            await client.get("/livez")
        except httpx.TransportError:
            await asyncio.sleep(0.02)
        else:
            return
    raise AssertionError("the gateway does not serve")


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def received(position: Position) -> Received:
    return Received(source="test", protocol="json", received_ms=now_ms(), frame=Frame(raw=b"{}", messages=(position,)))


def fix_of(vehicle: Vehicle) -> Position:
    said = vehicle.next_fix()
    return Position(
        device_id=vehicle.name,
        time_ms=int(said["t"]),
        lat_deg=float(said["lat"]),
        lon_deg=float(said["lon"]),
        speed_mps=float(said["speed"]),
        accuracy_m=5.0,
    )


def van(number: int, fixes: int = 300) -> Vehicle:
    """A vehicle whose so many fixes end now."""
    return Vehicle(number, now_ms() - round(fixes * FIX_EVERY_S * 1000))


@dataclass(slots=True)
class Message:
    """One server-sent message. Without `data` it only moves the cursor."""

    id: str = ""
    event: str = ""
    data: Any = None


async def messages(answer: httpx.Response) -> AsyncIterator[Message]:
    """As a browser reads them."""
    current = Message()
    async for line in answer.aiter_lines():
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if current.id or current.data is not None:
                yield current
            current = Message()
        elif name == "id":
            current.id = value
        elif name == "event":
            current.event = value
        elif name == "data":
            current.data = json.loads(value)


@asynccontextmanager
async def listening(
    client: httpx.AsyncClient, headers: dict[str, str] | None = None, **params: Any
) -> AsyncIterator[AsyncIterator[Message]]:
    async with client.stream("GET", "/v1/stream", params=params, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield messages(answer)


async def take(stream: AsyncIterator[Message], count: int, timeout_s: float = 20.0) -> list[Message]:
    """The next so many that carry an event."""
    found: list[Message] = []
    async with asyncio.timeout(timeout_s):
        async for each in stream:
            if each.data is not None:
                found.append(each)
            if len(found) == count:
                break
    return found
