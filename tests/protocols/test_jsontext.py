"""Documents out of bytes: where they end, and what a broken one costs."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Frame, Malformed, Status
from gateway.protocols import values
from gateway.protocols.base import MAX_BUFFER_BYTES
from gateway.protocols.jsontext import JsonDecoder
from gateway.protocols.values import Unreadable


def reader() -> JsonDecoder:
    """Tells each document it saw, as text."""

    def read(document: Any, _: int) -> list[Status]:
        return [Status(device_id="d", kind=msgspec.json.encode(document).decode())]

    return JsonDecoder(read, "d")


def decode(*pieces: bytes) -> tuple[list[Frame], int]:
    decoder = reader()
    frames = [frame for piece in pieces for frame in decoder.feed(piece, 0)]
    return frames + decoder.end(0), decoder.noise_bytes


def seen(*pieces: bytes) -> list[str]:
    """The documents, and `!` for what was malformed."""
    frames, _ = decode(*pieces)
    return [m.kind if isinstance(m, Status) else "!" for frame in frames for m in frame.messages]


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (b'{"a":1}', ['{"a":1}']),
        (b' \r\n{"a":1}\n', ['{"a":1}']),
        (b'{"a":1}{"b":2} [3]', ['{"a":1}', '{"b":2}', "[3]"]),
        (b'{"a":\n{"b":\n[\n{"c":1},\n{"d":2}]}}\n{"e":3}', ['{"a":{"b":[{"c":1},{"d":2}]}}', '{"e":3}']),
        (b'{"a":"}]\\"{[\\\\"}', ['{"a":"}]\\"{[\\\\"}']),
        (b'{"a":1\n{"b":2}', ["!", '{"b":2}']),
        (b'{"a":\n{"b":2}\n{"c":3}', ["!", '{"b":2}', '{"c":3}']),
        (b'{"a":\n{"b":2}\n', ["!", '{"b":2}']),
        (b'{"a":1,\n{"b":2}\n{"c":3}', ["!", '{"b":2}', '{"c":3}']),
        (b'{"a":"open\n{"b":2}', ["!", '{"b":2}']),
        (b'{"a":1]\n{"b":2}', ["!", '{"b":2}']),
        (b'{"a":1,{"lat":1,"lon":2}}\n{"b":2}', ["!", '{"b":2}']),
        (b'garbage {"lat":1,"lon":2}\n{"b":2}', ["!", '{"b":2}']),
        (b"12", ["12"]),
        (b"\xff\xfe", ["!"]),
        (b"{'a':1}", ["!"]),
        (b'{"a":"\xff"}', ["!"]),
        (b"[" * 20_000 + b"]" * 20_000, ["!"]),
        (b"", []),
        (b" \n", []),
    ],
)
def test_where_documents_end(data: bytes, want: list[str]) -> None:
    assert seen(data) == want
    assert seen(*(data[i : i + 1] for i in range(min(len(data), 200))), data[200:]) == want


def test_an_oversized_document_costs_itself_only() -> None:
    rows = b'[{"lat":1,"lon":2}' + b',{"lat":1,"lon":2}' * (MAX_BUFFER_BYTES // 16) + b"]"
    data = rows + b'\n{"b":2}'
    frames, noise_bytes = decode(data)
    assert [len(frame.raw) for frame in frames] == [MAX_BUFFER_BYTES, 7]
    assert isinstance(frames[0].messages[0], Malformed)
    assert sum(len(f.raw) for f in frames) + noise_bytes == len(data)
    assert decode(*(data[i : i + 1000] for i in range(0, len(data), 1000))) == (frames, noise_bytes)


def test_the_greatest_document_fits() -> None:
    data = b'{"a":"' + b"x" * (MAX_BUFFER_BYTES - 8) + b'"}'
    assert len(data) == MAX_BUFFER_BYTES
    assert len(seen(data)) == 1
    assert seen(data) != ["!"]
    assert seen(data[:60_000], data[60_000:]) == seen(data)
    assert seen(data[:-1] + b" }") == ["!"], "and one byte more does not"


pieces = st.lists(
    st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\n", b" ", b"1", b"a", b'{"a":1}'])
)


@given(data=pieces, cuts=st.lists(st.integers(0, 40)))
@settings(max_examples=300, deadline=None)
def test_any_split_of_anything_gives_the_same(data: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(data)
    frames, noise_bytes = decode(whole)
    assert sum(len(f.raw) for f in frames) + noise_bytes == len(whole)
    edges = [0, *sorted(min(c, len(whole)) for c in cuts), len(whole)]
    assert decode(*(whole[a:b] for a, b in itertools.pairwise(edges))) == (frames, noise_bytes)


@given(st.recursive(st.none() | st.booleans() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)))
@settings(max_examples=100, deadline=None)
def test_every_document_is_found_in_a_stream(value: Any) -> None:
    one = msgspec.json.encode([value])
    pretty = msgspec.json.format(one, indent=2)
    assert seen(one + pretty + b"\n" + one) == [one.decode()] * 3


# ------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(("value", "want"), [(1, 1), ("1.5", 1.5), (" -2 ", -2), ("1e3", 1000), (None, None), (0, 0)])
def test_numbers(value: Any, want: float | None) -> None:
    assert values.number(value, "it") == want


@pytest.mark.parametrize(
    "value", [True, "", "nan", "inf", "1_0", "0x10", "1e999", float("nan"), float("inf"), 10**19, [], "١"]
)
def test_what_is_no_number_is_named(value: Any) -> None:
    with pytest.raises(Unreadable, match="it is"):
        values.number(value, "it")


@pytest.mark.parametrize("value", [-1, 10**12, "soon"])
def test_what_is_no_time(value: Any) -> None:
    with pytest.raises(Unreadable):
        values.time_ms(value, "t", per_second=1)


def test_times_in_their_unit() -> None:
    assert values.time_ms("1700000000.25", "t", per_second=1) == 1_700_000_000_250
    assert values.time_ms(1_700_000_000_250, "t", per_second=1000) == 1_700_000_000_250


def test_places() -> None:
    assert values.place(0, 0) is None
    assert values.place(None, 4) is None
    assert values.place(0, 4) == (0, 4)
    with pytest.raises(Unreadable):
        values.place(4, 181)


def test_attributes_are_short_and_finite() -> None:
    assert [values.scalar(v) for v in (True, 1, 1.5, "x")] == [True, 1, 1.5, "x"]
    assert [values.scalar(v) for v in (None, [], {}, float("nan"), float("inf"), "")] == [None] * 6
    assert len(str(values.scalar("x" * 1000))) == 256
