"""Toy, a protocol made up to show all that one needs: a line for each fix.

    #device,epoch seconds,latitude,longitude,metres,m/s,degrees,satellites*XX       XX: XOR of all before it, in hexadecimal

Source: there is none.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Sequence

from msgspec import Struct

from gateway.model import Frame, Malformed, Message, Position
from gateway.protocols import values
from gateway.protocols.base import Codec, Context

MAX_LINE_BYTES = 512
LINE = re.compile(r"(#([\w-]{1,64})" + r",([-.\d]*)" * 7 + r"\*)([\dA-F]{2})", re.ASCII)


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None."""


class ToyDecoder:
    def __init__(self, context: Context, _: Options) -> None:
        self.noise_bytes = 0
        self._buffer = bytearray()
        self._bound_id = context.device_id

    def feed(self, data: bytes, received_ms: int) -> list[Frame]:
        self._buffer += data
        frames: list[Frame] = []
        while (end := self._buffer.find(b"\n", 0, MAX_LINE_BYTES) + 1) or len(self._buffer) >= MAX_LINE_BYTES:
            frames += self._line(end or MAX_LINE_BYTES)
        return frames

    def idle(self, now_ms: int) -> list[Frame]:
        return []

    def end(self, now_ms: int) -> list[Frame]:
        return self._line(len(self._buffer))

    def _line(self, end: int) -> list[Frame]:
        raw = bytes(self._buffer[:end])
        del self._buffer[:end]
        if not raw.strip():
            self.noise_bytes += len(raw)
            return []
        try:
            message: Message = _position(raw.decode("latin-1").strip(), self._bound_id)
        except values.Unreadable as error:
            message = Malformed(reason=str(error), device_id=self._bound_id)
        return [Frame(raw=raw, messages=(message,))]


def _position(line: str, bound_id: str | None) -> Position:
    found = LINE.fullmatch(line)
    if found is None or _checksum(found[1]) != found[10]:
        raise values.Unreadable("no line of Toy, or its checksum is wrong")
    time_s, lat, lon, *rest = (values.number(text or None, "a field") for text in found.groups()[2:9])
    altitude_m, speed_mps, course_deg, satellites = rest
    where = values.place(lat, lon)
    return Position(
        device_id=bound_id or found[2],
        time_ms=values.time_ms(time_s, "the time", per_second=1),
        lat_deg=where[0] if where else None,
        lon_deg=where[1] if where else None,
        altitude_m=altitude_m,
        speed_mps=values.not_negative(speed_mps),
        course_deg=values.course_deg(course_deg),
        fix="gnss" if where else "none",
        valid=where is not None,
        satellites=values.count(satellites, "satellites"),
    )


class ToyEncoder:
    def __init__(self, _: Options) -> None:
        """It has no options."""

    def login(self, device_id: str) -> bytes:
        return b""

    def positions(self, fixes: Sequence[Position]) -> bytes:
        return b"".join(self._line(fix) for fix in fixes)

    @staticmethod
    def _line(fix: Position) -> bytes:
        numbers = (fix.lat_deg, fix.lon_deg, fix.altitude_m, fix.speed_mps, fix.course_deg, fix.satellites)
        text = (
            f"#{fix.device_id},{(fix.time_ms or 0) // 1000},{','.join('' if n is None else str(n) for n in numbers)}*"
        )
        return f"{text}{_checksum(text)}\r\n".encode()


def _checksum(text: str) -> str:
    return f"{functools.reduce(operator.xor, text.encode('latin-1')):02X}"


CODEC = Codec(
    name="toy",
    title="Toy",
    decoder=ToyDecoder,
    encoder=ToyEncoder,
    options_type=Options,
    transports=("tcp",),
    text=True,
)
