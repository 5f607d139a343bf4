"""A light fleet in a process of its own: MQTT 3.1.1, QoS 1, a connection for each van, one message a fix.

`python -m benchmarks.publisher PORT VANS TICKS`: connects, says "ready", waits for a line, sends TICKS fixes of each van,
says "done" when all are acknowledged.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from functools import partial
from typing import cast

from benchmarks.fleet import Fleet
from gateway.loop import run_until_signal
from gateway.protocols import new_encoder
from gateway.sources.mqtt_packets import Publish
from tests.sources import mqtt_bytes

PROTOCOL = "owntracks"
WINDOW = 64
"""Messages of a van on their way at once."""
PUBACK_BYTES = 4
CONNACK_BYTES = 4


def topic_of(device_id: str) -> str:
    return f"fleet/{device_id}/position"


class _Van(asyncio.Protocol):
    """Keeps `WINDOW` messages on their way until all are acknowledged."""

    def __init__(self, device_id: str, messages: Sequence[bytes]) -> None:
        loop = asyncio.get_running_loop()
        self.connected, self.done = loop.create_future(), loop.create_future()
        self._device_id, self._messages = device_id, messages
        self._sent = self._read_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none of its subclasses
        self._transport.write(mqtt_bytes.simple_connect(self._device_id))

    def data_received(self, data: bytes) -> None:
        """A CONNACK, then nothing but PUBACKs: counting bytes is enough."""
        self._read_bytes += len(data)
        if not self.connected.done():
            self.connected.set_result(None)
        if self._sent:
            self.send()

    def send(self) -> None:
        acknowledged = (self._read_bytes - CONNACK_BYTES) // PUBACK_BYTES
        upto = min(len(self._messages), acknowledged + WINDOW)
        if upto > self._sent:
            self._transport.write(b"".join(self._messages[self._sent : upto]))
            self._sent = upto
        if acknowledged == len(self._messages) and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.connected, self.done):
            if not future.done():
                future.set_exception(exc or ConnectionError("the server closed the connection"))


async def publish(port: int, vans: int, ticks: int) -> None:
    loop = asyncio.get_running_loop()
    fleet, encoder = Fleet(vans), new_encoder(PROTOCOL)
    messages: dict[str, list[bytes]] = {van.device_id: [] for van in fleet.vans}
    for tick in range(ticks):
        for fix in fleet.tick():
            payload = encoder.positions([fix])
            sent = Publish(topic_of(fix.device_id), payload, qos=1, packet_id=tick % 65_535 + 1)
            messages[fix.device_id].append(mqtt_bytes.publish(4, sent))
    connected = []
    for device_id, mine in messages.items():
        _, each = await loop.create_connection(partial(_Van, device_id, mine), "127.0.0.1", port)
        await each.connected
        connected.append(each)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for each in connected:
        each.send()
    await asyncio.gather(*(each.done for each in connected))
    print("done", flush=True)


if __name__ == "__main__":
    port, vans, ticks = map(int, sys.argv[1:])
    run_until_signal(lambda _: publish(port, vans, ticks))
