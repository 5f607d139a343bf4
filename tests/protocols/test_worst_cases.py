"""No bytes make a decoder slow: its time grows with what it is fed, whatever that is, and not with the square of it.

Measured is how much longer four times as much takes: four times for linear work, sixteen for quadratic. The bound lies
between, far enough from both for any machine; a slow moment of it is measured again.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.protocols import codecs, new_decoder
from gateway.protocols.base import MAX_BUFFER_BYTES, Context
from tests.protocols.test_contract import NOW_MS

GROWTH = 4
MOST = 8.0
NOISE_FLOOR_S = 0.002
TRIES = 4

HEADER = b"\0" * 6 + b"\x3f\xff\x08\x01"
"""Of a Teltonika packet of almost the greatest length."""
SHORT_HEADER = b"\0" * 6 + b"\x00\x08\x08\x01"
PATTERNS = {
    "nmea": [
        b"$GPGGA,",
        b"$",
        b"!",
        b"\\",
        b"\\s:a",
        b"\\s:a*00\\$GPGGA,",
        b"$GPGGA,1\r",
        b"$GPGGA" + b"," * 200 + b"\r\n",
        b"$GPRMC" + b",1" * 100 + b"\n",
        b"$GPDTM,W84\r\n",
        b"$" + b"a" * 254,
    ],
    "teltonika": [
        b"\0",
        b"\xff\0",
        b"\0\x0f12345678",
        HEADER,
        HEADER + b"\0" * 7,
        SHORT_HEADER + HEADER,
        b"\0" * 6 + b"\x3f\xff\x0c\xff",
    ],
    "json": [
        b"{",
        b"[",
        b"[ ",
        b'"',
        b'{"\\',
        b'{"a":"',
        b"{}",
        b"{}\n",
        b"{\n",
        b'{"\n',
        b"x\n{",
        b"{]\n",
        b"[" * 500 + b"]" * 500,
        b"[" * 3000 + b"\n",
    ],
}
CASES = [pytest.param(name, pattern, id=f"{name} {pattern[:12]!r}") for name in PATTERNS for pattern in PATTERNS[name]]


def decoding_s(name: str, options: dict[str, Any] | None, pieces: list[bytes]) -> float:
    reader = new_decoder(name, Context(client_id="c"), options)
    gc.collect()
    gc.disable()  # it looks at more the more frames there are, which is not the decoder's doing
    try:
        began_s = time.process_time()
        for piece in pieces:
            reader.feed(piece, NOW_MS)
        reader.end(NOW_MS)
        return time.process_time() - began_s
    finally:
        gc.enable()


def growth(pieces: Callable[[int], list[bytes]], count: int, name: str, options: dict[str, Any] | None = None) -> float:
    """How much longer `GROWTH` times as much takes, at the best of some tries."""
    found = []
    for _ in range(TRIES):
        one_s, more_s = (decoding_s(name, options, pieces(n)) for n in (count, GROWTH * count))
        found.append(more_s / max(one_s, NOISE_FLOOR_S))
        if found[-1] < MOST:
            break
    return min(found)


def cut(data: bytes, step_bytes: int) -> list[bytes]:
    return [data[i : i + step_bytes] for i in range(0, len(data), step_bytes)]


@pytest.mark.parametrize(("step_bytes", "size_bytes"), [(1, 2_000), (4096, 16_000), (1 << 20, 16_000)])
@pytest.mark.parametrize(("name", "pattern"), CASES)
def test_repeated_beginnings(name: str, pattern: bytes, step_bytes: int, size_bytes: int) -> None:
    def pieces(size_bytes: int) -> list[bytes]:
        return cut((pattern * (size_bytes // len(pattern) + 1))[:size_bytes], step_bytes)

    assert growth(pieces, size_bytes, name) < MOST


def test_many_small_documents_in_one_piece() -> None:
    """A look at what is left, at each document, shows only where much is left."""
    assert growth(lambda n: [b"[]" * n], 60_000, "json") < MOST


VALUES = {
    "digits that are no number": lambda n: b'"%sx"' % (b"1" * n),
    "digits": lambda n: b"1" * n,
    "blanks": lambda n: b'"%s"' % (b" " * n),
    "an array": lambda n: b"[%s1]" % (b"1," * (n // 2)),
    "a text": lambda n: b'"%s"' % (b"7" * n),
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("key", ["lat", "tst", "ign", "t", "inregions"])
def test_long_values(key: str, value: str) -> None:
    def pieces(size_bytes: int) -> list[bytes]:
        return [b'{"_type":"location","tst":1,"lon":1,"lat":2,"%s":%s}' % (key.encode(), VALUES[value](size_bytes))]

    assert growth(pieces, 32_000, "owntracks") < MOST


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("path", ["device_id", "time", "lat", "lat_lon", "speed", "valid", "ignition"])
def test_one_long_value_that_each_row_names(path: str, value: str) -> None:
    options = {"batch": "rows", "lat": "lat", "lon": "lon", path: "$.x"}
    row = b'{"time":"2026-03-02T09:00:00Z","lat":null,"lon":1}'

    def pieces(size_bytes: int) -> list[bytes]:
        rows = b",".join([row] * (size_bytes // len(row)))
        return [b'{"x":%s,"rows":[%s]}' % (VALUES[value](size_bytes), rows)]

    assert growth(pieces, 20_000, "json", options) < MOST


@pytest.mark.parametrize("name", ["json", "owntracks", "teltonika_json"])
@pytest.mark.parametrize("depth", [100, 500, 900, 990, 1_000, 10_000])
def test_values_of_any_depth_are_not_written_out(name: str, depth: int) -> None:
    """Where they stand in the place of a number, a flag, a text or a list of names."""
    deep = b"[" * depth + b"]" * depth
    for key in (b"lat", b"time", b"t", b"tst", b"ign", b"inregions", b"ts", b"latlng", b"66", b"sat"):
        row = b'{"_type":"location","tst":1,"lat":1,"lon":1,"ts":1,"%s":%s}' % (key, deep)
        for document in (row, b'{"state":{"reported":%s}}' % row):
            if len(document) <= MAX_BUFFER_BYTES:
                reader = new_decoder(name, Context(client_id="c"))
                assert reader.feed(document, NOW_MS) + reader.end(NOW_MS)


def test_the_patterns_are_of_codecs_that_are() -> None:
    assert set(PATTERNS) <= set(codecs())
