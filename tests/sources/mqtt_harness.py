"""An endpoint on a free port, an intake whose commits the test decides on, and a client that speaks in packets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from gateway.model import Malformed, Received
from gateway.sources.mqtt_endpoint import EndpointOptions, MqttEndpoint, TopicRoute
from gateway.sources.mqtt_packets import Publish
from tests.sources import fake_intake
from tests.sources import mqtt_bytes as client_bytes

ROUTES = (
    TopicRoute(filter="t/+/pos", protocol="pair", device_id="{1}"),
    TopicRoute(filter="t/+/lines", protocol="lines", device_id="{1}"),
    TopicRoute(filter="any", protocol="pair", device_id="{client_id}"),
    TopicRoute(filter="own", protocol="pair"),
)
CONNACK, PUBLISH, PUBACK, SUBACK, UNSUBACK, PINGRESP, DISCONNECT = 0x20, 0x30, 0x40, 0x90, 0xB0, 0xD0, 0xE0


class FakeIntake(fake_intake.FakeIntake):
    @property
    def received(self) -> list[Received]:
        return self.submitted

    @property
    def payloads(self) -> list[bytes]:
        return [received.frame.raw for received in self.submitted]

    def reasons(self) -> list[str]:
        messages = [message for received in self.submitted for message in received.frame.messages]
        return [message.reason for message in messages if isinstance(message, Malformed)]


@contextlib.asynccontextmanager
async def serving(intake: Any, **options: Any) -> AsyncIterator[MqttEndpoint]:
    settings: dict[str, Any] = {"listen": "127.0.0.1:0", "anonymous": True, "routes": ROUTES} | options
    environment = settings.pop("environment", {})
    endpoint = MqttEndpoint(EndpointOptions(**settings), intake, environment=environment)
    await endpoint.start()
    try:
        yield endpoint
    finally:
        await endpoint.stop()


class RawClient:
    """Writes bytes, reads packets as (first byte, body)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, endpoint: MqttEndpoint) -> RawClient:
        return cls(*await asyncio.open_connection("127.0.0.1", endpoint.port))

    @classmethod
    async def connected(cls, endpoint: MqttEndpoint, client_id: str = "t1", level: int = 4, **more: Any) -> RawClient:
        client = await cls.open(endpoint)
        client.send(client_bytes.simple_connect(client_id, level, **more))
        client.connack = await client.packet(CONNACK)
        assert client.connack[1] == 0, client.connack
        return client

    connack: bytes = b""

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def publish(self, payload: bytes, packet_id: int = 0, topic: str = "t/t1/pos", level: int = 4, **more: Any) -> None:
        message = Publish(topic, payload, qos=1 if packet_id else 0, packet_id=packet_id, **more)
        self.send(client_bytes.publish(level, message))

    async def packet(self, kind: int | None = None) -> bytes:
        """The body of the next packet, which is of that kind."""
        async with asyncio.timeout(8):
            first = (await self.reader.readexactly(1))[0]
            length, shift = 0, 0
            while True:
                byte = (await self.reader.readexactly(1))[0]
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            body = await self.reader.readexactly(length)
        assert kind is None or first & 0xF0 == kind, (hex(first), body)
        return body

    async def acks(self, count: int) -> list[int]:
        return [int.from_bytes(await self.packet(PUBACK)) for _ in range(count)]

    async def ended(self) -> bytes:
        """What still comes before the server closes."""
        async with asyncio.timeout(8):
            with contextlib.suppress(ConnectionResetError):
                return await self.reader.read()
        return b""

    async def silent(self, seconds: float = 0.1) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return not await self.reader.read(1)
        except TimeoutError:
            return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def abort(self) -> None:
        self.writer.transport.abort()
