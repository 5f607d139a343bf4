"""Two small protocols that the tests of the sources know by heart: whole payloads, and lines that span payloads."""

from __future__ import annotations

import pytest
from msgspec import Struct

import gateway.protocols
from gateway.model import Frame, Malformed, Position
from gateway.protocols.base import Codec, Context


class PairOptions(Struct, frozen=True, forbid_unknown_fields=True):
    scale: float = 1.0
    timed: bool = False


class PairDecoder:
    """`lat,lon` or `device,lat,lon`, fixed on receipt, or (`timed`) at the second that lon says; `crash` raises, as no decoder may; blanks are no message at all."""

    def __init__(self, context: Context, options: PairOptions) -> None:
        self.noise_bytes = 0
        self.context = context
        self.scale = options.scale
        self.timed = options.timed

    def feed(self, data: bytes, received_ms: int) -> list[Frame]:
        if data == b"crash":
            raise RuntimeError("as asked")
        if not data.strip():
            return []
        try:
            *device, lat, lon = data.decode().split(",")
            device_id = device[0] if device else self.context.device_id
            time_ms = 1_700_000_000_000 + int(float(lon) * 1000) if self.timed else received_ms
            position = Position(
                device_id=device_id or "", time_ms=time_ms, lat_deg=float(lat) * self.scale, lon_deg=float(lon)
            )
        except ValueError:
            return [Frame(raw=data, messages=(Malformed(reason="no pair of numbers"),))]
        return [Frame(raw=data, messages=(position,))]

    def idle(self, now_ms: int) -> list[Frame]:
        return []

    def end(self, now_ms: int) -> list[Frame]:
        return []


class LineDecoder(PairDecoder):
    """Lines of pairs. The last complete line stays open, as an NMEA epoch does, until silence closes it.

    A byte above 0x7f is noise; `day` counts the lines of its life, the state that an unplug must not lose.
    """

    def __init__(self, context: Context, options: PairOptions) -> None:
        super().__init__(context, options)
        self.rest = b""
        self.open: bytes | None = None
        self.day = 0

    def feed(self, data: bytes, received_ms: int) -> list[Frame]:
        clean = bytes(b for b in data if b < 0x80)
        self.noise_bytes += len(data) - len(clean)
        *lines, self.rest = (self.rest + clean).split(b"\n")
        frames: list[Frame] = []
        for line in lines:
            frames += self._close(received_ms)
            self.open = line
        return frames

    def _close(self, now_ms: int) -> list[Frame]:
        line, self.open = self.open, None
        self.day += line is not None
        return [] if line is None else super().feed(line, now_ms)

    def idle(self, now_ms: int) -> list[Frame]:
        return self._close(now_ms)

    def end(self, now_ms: int) -> list[Frame]:
        frames = self._close(now_ms)
        if self.rest:
            frames.append(Frame(raw=self.rest, messages=(Malformed(reason="cut"),)))
        self.rest = b""
        return frames


PAIR = Codec(name="pair", title="test", decoder=PairDecoder, encoder=lambda _: None, options_type=PairOptions)
LINES = Codec(
    name="lines",
    title="test",
    decoder=LineDecoder,
    encoder=lambda _: None,
    options_type=PairOptions,
    whole_datagrams=False,
)


@pytest.fixture(autouse=True)
def _protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**gateway.protocols.codecs(), "pair": PAIR, "lines": LINES}
    monkeypatch.setattr(gateway.protocols, "codecs", lambda: known)
