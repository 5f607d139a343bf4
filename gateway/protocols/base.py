"""The codec contract: what a protocol's file provides, and what its decoder promises.

A decoder is sans-io: the caller owns the bytes and the time. It is fed by TCP, UDP, an MQTT payload, a serial port or a
recording alike, and it promises:

* `feed`, `idle` and `end` never raise, whatever the bytes; what cannot be read is a `Malformed` message in a frame whose
  `raw` holds the bytes;
* any split of the stream gives the same frames; a bad frame never costs its neighbour;
* what it buffers is bounded (`MAX_BUFFER_BYTES` unless its protocol states less);
* every byte fed ends up in the `raw` of exactly one frame, or is noise between frames that it counted in `noise_bytes`;
* its work grows with what it is fed, not with the square of it;
* what it says can be stored and told: finite numbers, integers of 64 bits, times of the years 1 to 9999, places on the
  earth, texts without NUL and lone surrogates, attributes bounded in number (`gateway.protocols.values` does all that).

The encoder is the device's side: the simulator speaks through it, and round-trip tests use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from gateway.model import Frame, Position

MAX_BUFFER_BYTES = 256 * 1024


class HttpRequest(Struct, frozen=True, kw_only=True):
    method: str = "POST"
    url: str = "/"
    headers: dict[str, str] = {}


class Context(Struct, frozen=True, kw_only=True):
    """What the transport knows of the sender before its first byte."""

    device_id: str | None = None
    """Bound by a credential, a topic level, a port's configuration; a codec whose payload names no device uses it."""
    topic: str | None = None
    client_id: str | None = None
    peer: str | None = None
    http: HttpRequest | None = None
    reference_ms: int | None = None
    """For recordings: the time that dates and corrects what the bytes leave open, instead of the receive time."""


class Decoder(Protocol):
    noise_bytes: int

    def feed(self, data: bytes, received_ms: int) -> list[Frame]:
        """Take bytes as they came; return the frames that are complete now, in order."""

    def idle(self, now_ms: int) -> list[Frame]:
        """Nothing came for a while: close what only silence closes (an NMEA epoch). Call as often as you like."""

    def end(self, now_ms: int) -> list[Frame]:
        """The connection, file or datagram is over: what is still open is a frame or malformed. Then start afresh."""


class Encoder(Protocol):
    def login(self, device_id: str) -> bytes:
        """The bytes that open a connection; empty where the protocol has none."""

    def positions(self, fixes: Sequence[Position]) -> bytes:
        """One packet (or sentence group, or document) that carries the fixes, oldest first."""


class Codec(Struct, frozen=True, kw_only=True):
    """What a protocol's module exports as `CODEC`; found by discovery, registered nowhere.

    `decoder(context, options)` and `encoder(options)` are called with an instance of `options_type` (its defaults when
    nothing is configured). `whole_datagrams`: over MQTT and UDP one payload is one complete message, so the caller
    calls `end` after it; False where messages span payloads (NMEA epochs). `text`: frames are text (for `decode`).
    """

    name: str
    title: str
    decoder: Callable[[Context, Any], Decoder]
    encoder: Callable[[Any], Encoder]
    options_type: type[Struct]
    transports: tuple[str, ...] = ("tcp", "mqtt")
    whole_datagrams: bool = True
    text: bool = False


Options = Mapping[str, Any]
