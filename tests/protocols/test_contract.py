"""What `gateway.protocols.base` promises, asked of every codec there is: one that is added is held to it at once."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.decode import message_document
from gateway.model import Frame, Position
from gateway.protocols import codec, codecs, new_decoder, new_encoder
from gateway.protocols.base import MAX_BUFFER_BYTES, Context, Decoder
from gateway.times import parse_rfc3339

DEVICE = "352093081452251"
NOW_MS = parse_rfc3339("2026-03-02T12:00:00Z")
START_MS = parse_rfc3339("2026-03-02T11:00:00Z")
VECTORS = Path(__file__).parent / "vectors"
OPTIONS: dict[str, dict[str, Any]] = {  # for codecs whose defaults do not carry every field
    "json": {
        "time": "at",
        "time_unit": "ms",
        "lon_lat": "pos.coordinates",
        "altitude": "pos.alt",
        "speed": "kmh",
        "speed_unit": "km/h",
        "course": "/course",
        "satellites": "sats",
        "valid": "ok",
    }
}
NAMES = sorted(codecs())
fast = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def fix(index: int) -> Position:
    """A fix that no exchange of fields leaves right, in whole units of every format (km/h, degrees, metres)."""
    return Position(
        device_id=DEVICE,
        time_ms=START_MS + 10_000 * index,
        lat_deg=48.137154 + index * 0.001,
        lon_deg=-11.576124 - index * 0.002,
        altitude_m=519.0 + index,
        speed_mps=15.0,
        course_deg=73.0 + index,
        fix="gnss",
        satellites=9,
    )


def packet(name: str, index: int) -> bytes:
    return new_encoder(name, OPTIONS.get(name)).positions([fix(index)])


def separator(name: str) -> bytes:
    return b"\r\n" if codec(name).text else b""


def stream(name: str, *indices: int) -> bytes:
    login = new_encoder(name, OPTIONS.get(name)).login(DEVICE)
    return login + separator(name).join(packet(name, i) for i in indices) + separator(name)


def decoder(name: str, options: dict[str, Any] | None = None) -> Decoder:
    return new_decoder(name, Context(device_id=DEVICE, reference_ms=NOW_MS), options or OPTIONS.get(name))


def decode(name: str, pieces: Iterable[bytes]) -> tuple[list[Frame], int]:
    """The frames, and the bytes that were noise."""
    reader = decoder(name)
    frames = [frame for piece in pieces for frame in reader.feed(piece, NOW_MS)]
    frames += reader.end(NOW_MS)
    return frames, reader.noise_bytes


def places(frames: Sequence[Frame]) -> set[tuple[Any, ...]]:
    """Time and place, to what the coarsest format keeps, of the valid fixes."""
    return {
        (p.time_ms, round(p.lat_deg, 5), round(p.lon_deg, 5))
        for frame in frames
        for p in frame.messages
        if isinstance(p, Position) and p.valid and p.lat_deg is not None and p.lon_deg is not None
    }


def truth(*indices: int) -> set[tuple[Any, ...]]:
    return {(p.time_ms, round(p.lat_deg or 0, 5), round(p.lon_deg or 0, 5)) for p in map(fix, indices)}


@pytest.mark.parametrize("name", NAMES)
def test_what_the_device_encodes_the_gateway_decodes(name: str) -> None:
    sent = [fix(i) for i in range(3)]
    encoder = new_encoder(name, OPTIONS.get(name))
    frames, _ = decode(name, [encoder.login(DEVICE), encoder.positions(sent)])
    got = [m for frame in frames for m in frame.messages if isinstance(m, Position)]
    assert len(got) == 3
    for want, have in zip(sent, got, strict=True):
        assert have.device_id == DEVICE
        assert have.time_ms == want.time_ms
        assert have.valid
        for field, tolerance in (("lat_deg", 2e-6), ("lon_deg", 2e-6), ("altitude_m", 0.51), ("speed_mps", 0.15)):
            assert getattr(have, field) == pytest.approx(getattr(want, field), abs=tolerance), field
        assert have.course_deg == pytest.approx(want.course_deg, abs=0.51)
        assert have.satellites in {None, want.satellites}


@pytest.mark.parametrize("name", NAMES)
def test_any_split_gives_the_same_frames(name: str) -> None:
    data = stream(name, 0, 1) + b"\xff\x00 {broken\r\n" + stream(name, 2)
    want = decode(name, [data])
    assert truth(0, 1, 2) <= places(want[0])
    assert decode(name, [data[i : i + 1] for i in range(len(data))]) == want
    dice = random.Random(name)
    for _ in range(30):
        cuts = sorted(dice.sample(range(len(data)), dice.randint(1, 8)))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert decode(name, pieces) == want, cuts


@pytest.mark.parametrize("name", NAMES)
def test_no_byte_disappears(name: str) -> None:
    data = b"\r\n" + stream(name, 0) + b"\xff\xff!!" + stream(name, 1) + b"\x00{[$"
    frames, noise_bytes = decode(name, [data])
    assert sum(len(frame.raw) for frame in frames) + noise_bytes == len(data)
    at = 0
    for frame in frames:  # in the order of the wire, none twice
        at = data.index(frame.raw, at) + len(frame.raw)


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_off_message_says_nothing_wrong_and_spares_its_neighbour(name: str) -> None:
    whole = packet(name, 0)
    for cut in range(len(whole)):
        frames, _ = decode(name, [whole[:cut]])
        assert places(frames) <= truth(0), cut
        frames, _ = decode(name, [whole[:cut] + separator(name) + stream(name, 1)])
        assert places(frames) <= truth(0, 1), cut
        assert places(frames) >= truth(1), cut


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_byte_spares_its_neighbours(name: str) -> None:
    before, damaged, after = packet(name, 0) + separator(name), packet(name, 1), packet(name, 2) + separator(name)
    for at in range(len(damaged)):
        for flip in (0x01, 0x20, 0x80):
            bad = damaged[:at] + bytes([damaged[at] ^ flip]) + damaged[at + 1 :] + separator(name)
            frames, _ = decode(name, [before + bad + after])
            assert places(frames) >= truth(0, 2), (at, flip)


@pytest.mark.parametrize("name", NAMES)
@given(junk=st.lists(st.one_of(st.binary(max_size=80), st.sampled_from([b"{", b'{"a":"', b"\n[", b"$GP", bytes(8)]))))
@fast
def test_junk_never_raises_and_never_disappears(name: str, junk: list[bytes]) -> None:
    data = b"".join(junk)
    frames, noise_bytes = decode(name, junk)
    assert sum(len(frame.raw) for frame in frames) + noise_bytes == len(data)
    assert not places(frames)
    assert decode(name, [data]) == (frames, noise_bytes)


@pytest.mark.parametrize(
    "pattern", [b"\0", b"\xff", b"[", b"{", b'{"a":"', b"$GPGGA,", b"\0" * 6 + b"\x3f\xff\x08\x01"]
)
@pytest.mark.parametrize("name", NAMES)
def test_garbage_without_end_takes_bounded_memory(name: str, pattern: bytes) -> None:
    reader = decoder(name)
    chunk = (pattern * 4096)[:4096]
    tracemalloc.start()
    try:
        for _ in range(96):
            reader.feed(chunk, NOW_MS)
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 4 * MAX_BUFFER_BYTES
    frames = reader.feed(b"\r\n", NOW_MS) + reader.end(NOW_MS)
    frames = reader.feed(stream(name, 1), NOW_MS) + reader.end(NOW_MS)
    assert places(frames) == truth(1), "and the decoder is as good as new after it"


@pytest.mark.parametrize("name", NAMES)
def test_silence_and_emptiness_say_nothing(name: str) -> None:
    reader = decoder(name)
    assert [*reader.feed(b"", NOW_MS), *reader.idle(NOW_MS), *reader.end(NOW_MS), *reader.end(NOW_MS)] == []


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no_such_option"):
        new_decoder(name, Context(), {"no_such_option": 1})


# ------------------------------------------------------------------------------------------- vectors
# One row a line in vectors/PROTOCOL.jsonl: title, provenance, encoding (hex or text), frames (what one sender sent, each
# closed by itself), context, options, received, and messages: exactly what is to come out, as `gateway decode` prints it.
# A protocol may keep rows of another shape, without `messages`, and read them in a test of its own, as NMEA does.

ROWS = [
    pytest.param(path.stem, row, id=f"{path.stem}: {row['title']}")
    for path in sorted(VECTORS.glob("*.jsonl"))
    for row in map(msgspec.json.decode, path.read_bytes().splitlines())
    if "messages" in row
]


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_vectors_read_exactly_so(name: str, row: dict[str, Any]) -> None:
    assert row["provenance"]
    context = msgspec.convert(row.get("context", {}), Context)
    reader = new_decoder(name, context, row.get("options"))
    received_ms = parse_rfc3339(row.get("received", "2026-03-02T12:00:00Z"))
    messages: list[dict[str, Any]] = []
    for text in row["frames"]:
        data = bytes.fromhex(text) if row["encoding"] == "hex" else text.encode()
        for frame in reader.feed(data, received_ms) + reader.end(received_ms):
            messages += [message_document(m, frame.raw) for m in frame.messages]
    for message in messages:
        message.pop("raw", None)
    assert msgspec.json.decode(msgspec.json.encode(messages)) == row["messages"]


def test_every_codec_has_vectors() -> None:
    assert {path.stem for path in VECTORS.glob("*.jsonl")} >= set(NAMES)
