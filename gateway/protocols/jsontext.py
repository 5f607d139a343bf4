"""What the JSON protocols share: documents out of a byte stream, and the way back.

A document is one object or array. Over MQTT or HTTP a payload is one document; in a file or on a connection documents
follow each other, on lines of their own or not. After one that is broken the next must begin a line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from gateway.model import Frame, Malformed, Message, Position
from gateway.protocols.base import MAX_BUFFER_BYTES
from gateway.protocols.values import Unreadable

Reader = Callable[[Any, int], Iterable[Message]]
"""Messages of a parsed document, and the receive time (ms). May raise `Unreadable`: then the document is malformed."""

Writer = Callable[[Sequence[Position]], Any]
"""The document of some fixes. May raise ValueError for what the format cannot carry."""

_BLANKS = b" \t\r\n"
_BLANKS_RUN = re.compile(rb"[ \t\r\n]*")
_OUTSIDE = re.compile(rb'["\[\]{}]')
_INSIDE = re.compile(rb'["\\\n]')
_NEW_LINE_START = re.compile(rb"\n(?=[{\[])")
_SCAN_END = MAX_BUFFER_BYTES + 1


def parse(raw: bytes) -> Any:
    """A JSON document; `Unreadable` with the reason. NaN and numbers without end come through, for `values.number` to refuse."""
    try:
        return msgspec.json.decode(raw)
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except (msgspec.DecodeError, ValueError) as error:
        reason = str(error)
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise Unreadable(reason) from None


class JsonDecoder:
    """`gateway.protocols.base.Decoder` for a protocol of JSON documents; `read` knows what they mean."""

    def __init__(self, read: Reader, device_id: str | None) -> None:
        self.noise_bytes = 0
        self._read = read
        self._device_id = device_id
        self._buffer = bytearray()
        self._skipping = False
        self._restart()

    def _restart(self) -> None:
        self._at = 0
        self._open = bytearray()
        self._in_text = False
        self._lost = False

    def feed(self, data: bytes, received_ms: int) -> list[Frame]:
        if not self._buffer and not self._skipping and len(data) <= MAX_BUFFER_BYTES:
            frame = self._only_document(data, received_ms)
            if frame is not None:
                return [frame]
        self._buffer += data
        return self._take(received_ms, final=False)

    def idle(self, now_ms: int) -> list[Frame]:  # noqa: ARG002
        return []

    def end(self, now_ms: int) -> list[Frame]:
        frames = self._take(now_ms, final=True)
        self._skipping = False
        return frames

    def _only_document(self, data: bytes, received_ms: int) -> Frame | None:
        """The short way for a payload that is one document: what the long way would find too."""
        raw = data.strip(_BLANKS)
        if raw[:1] not in {b"{", b"["}:
            return None
        try:
            document = msgspec.json.decode(raw)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None
        self.noise_bytes += len(data) - len(raw)
        return Frame(raw=raw, messages=self._messages(document, received_ms))

    def _take(self, now_ms: int, *, final: bool) -> list[Frame]:
        frames: list[Frame] = []
        while self._skip_noise(final) and (end := self._unit_end(final)) is not None:
            raw = bytes(self._buffer[: min(end, MAX_BUFFER_BYTES)])
            del self._buffer[: len(raw)]
            self._restart()
            if end > MAX_BUFFER_BYTES:
                self._skipping = True
                reason = f"larger than {MAX_BUFFER_BYTES} bytes"
                frames.append(Frame(raw=raw, messages=(Malformed(reason=reason, device_id=self._device_id),)))
            else:
                frames.append(self._frame(raw, now_ms))
        return frames

    def _frame(self, raw: bytes, now_ms: int) -> Frame:
        try:
            document = parse(raw)
        except Unreadable as error:
            reason = f"not a JSON document: {error}"
            return Frame(raw=raw, messages=(Malformed(reason=reason, device_id=self._device_id),))
        return Frame(raw=raw, messages=self._messages(document, now_ms))

    def _messages(self, document: Any, now_ms: int) -> tuple[Message, ...]:
        try:
            return tuple(self._read(document, now_ms))
        except Unreadable as error:
            return (Malformed(reason=str(error), device_id=self._device_id),)

    def _skip_noise(self, final: bool) -> bool:
        """Drop blanks, and the rest of an oversized document; whether anything is left to look at."""
        if self._skipping:
            start = _NEW_LINE_START.search(self._buffer)
            keep_newline = not final and self._buffer.endswith(b"\n")
            self._drop(start.end() if start else len(self._buffer) - keep_newline)
            self._skipping = start is None
            if self._skipping:
                return False
        if not self._at and (blanks := _BLANKS_RUN.match(self._buffer)):
            self._drop(blanks.end())
        return bool(self._buffer)

    def _drop(self, count: int) -> None:
        self.noise_bytes += count
        del self._buffer[:count]

    def _unit_end(self, final: bool) -> int | None:
        """Where the document at the head ends, or the stretch that is none; None: more bytes are needed to tell.

        More than `MAX_BUFFER_BYTES` means that it is too large.
        """
        self._lost = self._lost or self._buffer[0] not in b"{["
        if not self._lost:
            end = self._document_end()
            if end is not None:
                return end
            if self._lost or (final and len(self._buffer) <= MAX_BUFFER_BYTES):
                end = self._neighbour(self._at if self._lost else len(self._buffer))
                if end is not None:
                    return end
        if self._lost:
            start = _NEW_LINE_START.search(self._buffer, max(0, self._at - 1), _SCAN_END)
            if start:
                return start.end()
            self._at = min(len(self._buffer), MAX_BUFFER_BYTES)
        if len(self._buffer) > MAX_BUFFER_BYTES:
            return _SCAN_END
        return len(self._buffer) if final else None

    def _document_end(self) -> int | None:
        """Follow brackets and texts to the end of the document; sets `_lost`, at `_at`, where it cannot be JSON."""
        while True:
            token = (_INSIDE if self._in_text else _OUTSIDE).search(self._buffer, self._at, _SCAN_END)
            if token is None:
                self._at = min(len(self._buffer), _SCAN_END)
                return None
            at = token.start()
            byte = self._buffer[at]
            if byte == 0x5C:  # a backslash: the byte behind it is no token
                if at + 1 >= min(len(self._buffer), _SCAN_END):
                    self._at = at
                    return None
                self._at = at + 2
                continue
            self._at = at + 1
            if byte == 0x22:
                self._in_text = not self._in_text
            elif byte in b"{[" and self._may_open(at):
                self._open.append(byte)
            elif byte in b"}]" and self._open[-1] == byte - 2:
                self._open.pop()
                if not self._open:
                    return at + 1
            else:
                self._at = at
                self._lost = True
                return None

    def _may_open(self, at: int) -> bool:
        """Whether a value can begin here: as the document itself, or behind `[`, `:` or a comma."""
        before = at - 1
        while before >= 0 and self._buffer[before] in _BLANKS:
            before -= 1
        return before < 0 or self._buffer[before] in b"[:,"

    def _neighbour(self, end: int) -> int | None:
        """The start of the last line before `end` that may begin a document of its own, swallowed by the broken one."""
        found = max(self._buffer.rfind(b"\n{", 0, end), self._buffer.rfind(b"\n[", 0, end))
        return None if found < 0 else found + 1


class JsonEncoder:
    """`gateway.protocols.base.Encoder` for a protocol of JSON documents; `write` makes them. There is no login."""

    def __init__(self, write: Writer) -> None:
        self._write = write

    def login(self, device_id: str) -> bytes:  # noqa: ARG002
        return b""

    def positions(self, fixes: Sequence[Position]) -> bytes:
        return msgspec.json.encode(self._write(fixes))


def one_or_array(rows: list[Any]) -> Any:
    """One row is the document, several are an array of rows."""
    return rows[0] if len(rows) == 1 else rows
