"""A tracker's side of MQTT 3.1.1, no more than trackers use: connect, publish with QoS 1, ping, leave.

One asyncio.Protocol a device and no thread, so that thousands fit into a process, and so that a link can be cut where a
test wants it cut. Source: MQTT 3.1.1 (OASIS), sections 2 and 3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

CONNACK, PUBACK = 2, 4
MAX_PACKET_BYTES = 64 * 1024
"""What a tracker is ready to take in: answers are a few bytes long."""


def _length(n: int) -> bytes:
    out = bytearray()
    while True:
        n, low = divmod(n, 128)
        out.append(low | (128 if n else 0))
        if not n:
            return bytes(out)


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


def connect_packet(client_id: str, keepalive_s: int, username: str | None = None, password: str | None = None) -> bytes:
    flags = 0x02 | (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    body = _text("MQTT") + bytes((4, flags)) + keepalive_s.to_bytes(2, "big") + _text(client_id)
    for credential in (username, password):
        if credential is not None:
            body += _text(credential)
    return b"\x10" + _length(len(body)) + body


def publish_packet(topic: str, payload: bytes, packet_id: int) -> bytes:
    body = _text(topic) + packet_id.to_bytes(2, "big") + payload
    return b"\x32" + _length(len(body)) + body


class Session(asyncio.Protocol):
    """One connection of one device. Futures end with ConnectionError when the link breaks."""

    def __init__(self, hello: bytes, on_lost: Callable[[], None]) -> None:
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hello = hello
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._puback: tuple[int, asyncio.Future[None]] | None = None
        self._packet_id = 0
        self.closed = False

    @classmethod
    async def open(
        cls, host: str, port: int, hello: bytes, *, timeout_s: float, on_lost: Callable[[], None]
    ) -> Session:
        """Connect and be let in; `on_lost` is called when the link is gone. Raises OSError or TimeoutError."""
        async with asyncio.timeout(timeout_s):
            transport, session = await asyncio.get_running_loop().create_connection(
                lambda: cls(hello, on_lost), host, port
            )
            try:
                await session.admitted
            except BaseException:
                transport.abort()
                raise
        return session

    async def publish(self, topic: str, payload: bytes, timeout_s: float) -> None:
        """Returns once the other side has acknowledged; one message at a time."""
        if self._transport is None or self.closed:
            raise ConnectionResetError("the link is down")
        self._packet_id = self._packet_id % 65_535 + 1
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._puback = (self._packet_id, done)
        self._transport.write(publish_packet(topic, payload, self._packet_id))
        async with asyncio.timeout(timeout_s):
            await done

    def ping(self) -> None:
        if self._transport is not None:
            self._transport.write(b"\xc0\x00")

    def leave(self) -> None:
        """Say goodbye and close."""
        if self._transport is not None and not self.closed:
            self._transport.write(b"\xe0\x00")
            self._transport.close()

    def cut(self) -> None:
        """The network is gone from one moment to the next."""
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------------------------ called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._hello)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._fail(ConnectionResetError(f"the link broke: {exc or 'closed by the other side'}"))
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (packet := self._next_packet()) is not None:
            self._take(*packet)
        if len(self._buffer) > MAX_PACKET_BYTES:
            self._fail(ConnectionResetError("the other side sends a packet that no tracker would take"))
            self.cut()

    def _next_packet(self) -> tuple[int, bytes] | None:
        size, shift, at = 0, 0, 1
        while True:
            if at >= len(self._buffer) or at > 4:
                return None
            byte = self._buffer[at]
            size |= (byte & 127) << shift
            shift, at = shift + 7, at + 1
            if byte < 128:
                break
        if len(self._buffer) < at + size:
            return None
        packet = self._buffer[0] >> 4, bytes(self._buffer[at : at + size])
        del self._buffer[: at + size]
        return packet

    def _take(self, kind: int, body: bytes) -> None:
        if kind == CONNACK and not self.admitted.done():
            if len(body) == 2 and body[1] == 0:
                self.admitted.set_result(None)
            else:
                self.admitted.set_exception(ConnectionRefusedError(f"the broker refuses: CONNACK {body.hex()}"))
        elif kind == PUBACK and self._puback is not None and int.from_bytes(body[:2], "big") == self._puback[0]:
            _, done = self._puback
            self._puback = None
            if not done.done():
                done.set_result(None)

    def _fail(self, problem: ConnectionError) -> None:
        for future in (self.admitted, self._puback[1] if self._puback else self.admitted):
            if not future.done():
                future.set_exception(problem)
