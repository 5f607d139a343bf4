"""Teltonika's byte stream: the login, packets and their checksums, and finding the next packet after a bad one.

    login   length u16 (15) | IMEI in ASCII                              answered at once with 01
    packet  00000000 | length u32 | body | crc u32                       body: codec u8 | n u8 | … | n u8

A packet of records is answered with their count as u32, once they are on disk; over MQTT the broker's PUBACK takes that
place. Text packets (codecs 12 to 15: answers to commands, serial data) are not answered. Between packets a device may
send 0xff to keep its connection open. Source: "Teltonika Data Sending Protocols" in the vendor's wiki.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from fastcrc import crc16

from gateway.model import Frame, Login, Malformed, Message, Reply, Scalar, Status
from gateway.protocols.base import Context
from gateway.protocols.teltonika.records import LAYOUTS, read_records

MAX_PACKET_BYTES = 16 * 1024
"""The vendor's limit is 1,280 bytes; text packets and newer families exceed it, none comes near this."""
MAX_TRIES = 16
"""How many packets are looked for inside a bad one: true neighbours come first, look-alikes cost time."""

_OVERHEAD_BYTES = 12
_LOOK_BYTES = 10
_HEADER = rb"\0{6}[\0-\x3f].[\x07\x08\x0c-\x10\x8e][\x01-\xff]"
_LOGIN = rb"\0[\x08-\x14][0-9A-Za-z]{8}"
_PACKET_START = re.compile(b"(?s)(?=" + _HEADER + b")")
_START = re.compile(b"(?s)(?=" + _HEADER + b"|" + _LOGIN + b")")
"""What a packet, or a login too, begins with: `_LOOK_BYTES` bytes, lengths under `MAX_PACKET_BYTES`. A look ahead, so that
a false start does not hide a true one that overlaps it."""
_PING = re.compile(rb"\xff+")
_LENGTH = struct.Struct(">I")
_TEXT_HEAD = struct.Struct(">BI")

_IMEI_BYTES = 8
_TIMESTAMP_BYTES = 4
_TEXT_CODECS = {  # codec id: bytes of the timestamp and of the IMEI before the text
    0x0C: (0, 0),
    0x0D: (_TIMESTAMP_BYTES, 0),
    0x0E: (0, _IMEI_BYTES),
    0x0F: (_TIMESTAMP_BYTES, _IMEI_BYTES),
}
_NOT_EXECUTED = 0x11
"""Codec 14: the command was meant for another IMEI."""


class _Piece(NamedTuple):
    """A stretch of the buffer: `reason` says why it is no unit, or is None."""

    start: int
    end: int
    reason: str | None


class Decoder:
    """`gateway.protocols.base.Decoder`. Holds at most two packets of the greatest size."""

    def __init__(self, context: Context) -> None:
        self.noise_bytes = 0
        self._buffer = bytearray()
        self._needed_bytes = 0
        self._searched_bytes = 0
        self._bound_id = context.device_id
        self._device_id = context.device_id
        self._fallback_id = context.client_id
        self._answers = context.topic is None

    def feed(self, data: bytes, received_ms: int) -> list[Frame]:  # noqa: ARG002 - records carry their own time
        self._buffer += data
        if len(self._buffer) < self._needed_bytes:
            return []
        return self._take(final=False)

    def idle(self, now_ms: int) -> list[Frame]:  # noqa: ARG002
        return []

    def end(self, now_ms: int) -> list[Frame]:  # noqa: ARG002
        """What is open is cut off. The login stays: a decoder serves one connection, whoever feeds it in pieces."""
        return self._take(final=True)

    def _take(self, *, final: bool) -> list[Frame]:
        frames: list[Frame] = []
        at = 0
        self._needed_bytes = 0
        while at < len(self._buffer):
            if ping := _PING.match(self._buffer, at):
                self.noise_bytes += ping.end() - at
                at = ping.end()
                continue
            piece = self._next(at, final)
            if piece is None:
                break
            frames.append(self._frame(piece))
            at = piece.end
        del self._buffer[:at]
        self._needed_bytes = max(0, self._needed_bytes - at)
        self._searched_bytes = max(0, self._searched_bytes - at)
        return frames

    def _next(self, at: int, final: bool) -> _Piece | None:
        """The unit or the bad stretch that begins here; None: more bytes are needed to tell."""
        if not final and self._short_of(at + _LOOK_BYTES):
            return None
        if not _START.match(self._buffer, at):
            return self._garbage(at, final)
        end = at + self._unit_bytes(at)
        if end > len(self._buffer):
            if not final and self._short_of(end):
                return None
            there = len(self._buffer)
            return self._bad(at, there, f"cut off: {there - at} of {end - at} bytes", final)
        flaw = self._flaw(at, end)
        return _Piece(at, end, None) if flaw is None else self._bad(at, end, flaw, final)

    def _short_of(self, end: int) -> bool:
        """Whether the buffer stops before `end`; then nothing is tried again until it reaches there."""
        self._needed_bytes = max(self._needed_bytes, end)
        return len(self._buffer) < end

    def _unit_bytes(self, at: int) -> int:
        if self._buffer[at + 1]:
            return 2 + self._buffer[at + 1]
        return _OVERHEAD_BYTES + int(_LENGTH.unpack_from(self._buffer, at + 4)[0])

    def _flaw(self, at: int, end: int) -> str | None:
        """What is wrong with a complete unit as such: its checksum, or the login's characters."""
        unit = bytes(self._buffer[at:end])
        if unit[1]:
            return None if unit[2:].isalnum() else "a login with an IMEI that is none"
        said = int(_LENGTH.unpack_from(unit, len(unit) - 4)[0])
        found = crc16.arc(unit[8:-4])
        return None if said == found else f"checksum {said:08x}, but its bytes give {found:08x}"

    def _garbage(self, at: int, final: bool) -> _Piece | None:
        """Bytes that begin nothing, up to the next start, the end, or the limit. None of them is searched twice."""
        limit = at + MAX_PACKET_BYTES
        start = _START.search(self._buffer, max(at + 1, self._searched_bytes), limit + _LOOK_BYTES)
        if start is None and not final and len(self._buffer) < limit + _LOOK_BYTES:
            self._searched_bytes = len(self._buffer) - _LOOK_BYTES + 1
            return None
        end = min(limit, start.start() if start else len(self._buffer))
        return _Piece(at, end, "neither a login nor a packet")

    def _bad(self, at: int, end: int, reason: str, final: bool) -> _Piece | None:
        """A bad unit ends where its length says, unless a good packet begins inside: then its length was what was bad.

        Only a packet has a checksum to prove that it is one; what looks like a login may be a text inside a record.
        """
        if not final and self._short_of(end + _LOOK_BYTES):
            return None
        for tries, start in enumerate(_PACKET_START.finditer(self._buffer, at + 1, end + _LOOK_BYTES - 1)):
            if tries == MAX_TRIES:
                break
            inner = start.start()
            inner_end = inner + self._unit_bytes(inner)
            if inner_end > len(self._buffer):
                if not final and self._short_of(inner_end):
                    return None
            elif self._flaw(inner, inner_end) is None:
                return _Piece(at, inner, reason)
        return _Piece(at, end, reason)

    def _frame(self, piece: _Piece) -> Frame:
        raw = bytes(self._buffer[piece.start : piece.end])
        if piece.reason is not None:
            return Frame(raw=raw, messages=(Malformed(reason=piece.reason, device_id=self._device_id),))
        if raw[1]:
            return Frame(raw=raw, messages=self._login(raw[2:].decode("ascii")))
        return Frame(raw=raw, messages=tuple(self._messages(raw[8:-4])))

    def _login(self, imei: str) -> tuple[Message, ...]:
        """A connection that is bound to a device keeps that name: the IMEI is then another word for it."""
        self._device_id = self._bound_id or imei
        login = Login(device_id=self._device_id, attributes={"imei": imei})
        return (login, Reply(data=b"\x01", after_commit=False))

    def _messages(self, body: bytes) -> Iterator[Message]:
        try:
            if body[0] in _TEXT_CODECS:
                yield from _texts(body, self._device_id or self._fallback_id)
                return
            yield from self._records(body)
        except (ValueError, struct.error) as error:
            yield Malformed(reason=str(error), device_id=self._device_id)

    def _records(self, body: bytes) -> Iterator[Message]:
        """A packet that arrived whole is answered even if it cannot be read: it is kept, and would come for ever."""
        if body[0] not in LAYOUTS:
            raise ValueError(f"codec 0x{body[0]:02x} is not one that is read")
        device_id = self._device_id or self._fallback_id
        if device_id is None:
            raise ValueError("records before a login: nothing says which device sends them")
        try:
            yield from read_records(body, device_id)
        except ValueError as error:
            yield Malformed(reason=str(error), device_id=device_id)
        if self._answers:
            yield Reply(data=_LENGTH.pack(body[1]), after_commit=True)


def _texts(body: bytes, device_id: str | None) -> list[Status]:
    """The texts of a packet of codec 12, 13, 14 or 15. Raises ValueError or struct.error where it does not fit."""
    stamp_bytes, imei_bytes = _TEXT_CODECS[body[0]]
    found: list[Status] = []
    at = 2
    for _ in range(body[1]):
        kind, length = _TEXT_HEAD.unpack_from(body, at)
        start, at = at + _TEXT_HEAD.size, at + _TEXT_HEAD.size + length
        if at >= len(body) or length < stamp_bytes + imei_bytes:
            raise ValueError(f"a text of {length} bytes does not fit the packet")
        imei = body[start + stamp_bytes : start + stamp_bytes + imei_bytes].hex().removeprefix("0")
        named = device_id or imei
        if not named:
            raise ValueError("a text before a login: nothing says which device sends it")
        seconds = int(_LENGTH.unpack_from(body, start)[0]) if stamp_bytes else None
        status = Status(
            device_id=named,
            kind="text",
            time_ms=None if seconds is None else seconds * 1000,
            attributes=_text_attributes(kind, body[start + stamp_bytes + imei_bytes : at]),
        )
        found.append(status)
    if at != len(body) - 1:
        raise ValueError(f"{len(body) - 1 - at} bytes follow its last text")
    return found


def _text_attributes(kind: int, data: bytes) -> dict[str, Scalar]:
    attributes: dict[str, Scalar] = {"message_type": kind}
    text = data.decode("ascii", "replace").strip("\r\n\0")
    if text.isprintable() and "\ufffd" not in text:
        attributes["text"] = text
    else:
        attributes["hex"] = data.hex()
    if kind == _NOT_EXECUTED:
        attributes["executed"] = False
    return attributes
