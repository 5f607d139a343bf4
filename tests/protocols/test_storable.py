"""What leaves a decoder can be kept and told: encoded, dated, and put on a map, whatever a device wrote.

The vectors are mutated where a decoder will believe it: values inside JSON, fields under a right checksum, records under a
right CRC; and as bytes, anywhere.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastcrc import crc16
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.documents import position_document
from gateway.model import Frame, Login, Malformed, Message, Position, Reply, Scalar, Status
from gateway.protocols import codecs, new_decoder, new_encoder
from gateway.protocols.base import Context
from gateway.protocols.nmea.decoder import checksum
from gateway.protocols.values import MAX_ATTRIBUTE_NAME_CHARS, MAX_ATTRIBUTES, MAX_DEVICE_ID_CHARS
from gateway.times import FIRST_MS, LAST_MS, parse_rfc3339, rfc3339

VECTORS = Path(__file__).parent / "vectors"
ROWS = {
    name: [
        row
        for row in map(msgspec.json.decode, (VECTORS / f"{name}.jsonl").read_bytes().splitlines())
        if "frames" in row
    ]
    for name in sorted(codecs())
}
NASTY: list[Any] = [
    None, True, 0, -1, 0.1, 1e18, 1e19, 1e300, math.inf, -math.inf, math.nan, 2**63, 2**64, -(2**63) - 1, 10**40, 10**5000,
    253_402_300_800, 253_402_300_799_999, 253_402_300_800_000, -62_135_596_800_001, 90.0000001, -180.5, 360, "", " ", "NaN",
    "inf", "1e400", "1" * 70, "\0", "a\0b", "\ud800", "x\udfff", "\U0001f69a", "9" * 300, "9" * 100_000, "9999-12-31T23:59:59-01:00",
    "0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00Z", "91,181", "nan,nan", [], {}, [[]], [1, 2, 3], {"": ""}, ["\ud800", "\0"],
    [math.nan, 1e400], "owntracks/\ud800/x", "owntracks/a/\0",
]  # fmt: skip
FIELDS = [
    b"", b"0", b"-1", b"999999999.9", b"-999999999", b".0", b"235960.999999999", b"000000", b"235959.9", b"9000.0000", b"18000.000",
    b"18000.0001", b"360", b"9999", b"311299", b"010180", b"310499", b"S", b"W", b"A", b"V", b"3", b"2", b"~", b"W84\\",
]  # fmt: skip
TAGS = [b"", b"", b"\\c:9999999999999*00\\", b"\\c:9999999999*00\\", b"\\c:0000000001*00\\"]
TIMES_MS = [0, parse_rfc3339("2026-03-02T12:00:00Z"), FIRST_MS, LAST_MS]
Sent = list[bytes]


def sent(row: dict[str, Any]) -> Sent:
    return [bytes.fromhex(text) if row["encoding"] == "hex" else text.encode() for text in row["frames"]]


def nasty_json(data: bytes, dice: random.Random) -> bytes:
    """Some of the values, wherever they stand, exchanged; some keys added."""
    try:
        document = json.loads(data)
    except ValueError:
        return nasty_bytes(data, dice)
    places = [(None, 0), *_places(document)]
    for into, key in dice.sample(places, min(len(places), dice.randint(1, 3))):
        if into is not None:
            into[key] = dice.choice(NASTY)
        if isinstance(into, dict) and dice.random() < 0.2:
            into |= dice.choice([{"": 1}, {"x" * 10_000: 1}, {"\ud800": 1}, {str(i): i for i in range(3_000)}])
    return _written(document).encode()


def _written(document: Any) -> str:
    """With integers of any size, which `json` refuses to write."""
    if isinstance(document, int) and not isinstance(document, bool) and abs(document) > 10**100:
        return "1" + "0" * 5000
    if isinstance(document, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_written(value)}" for key, value in document.items()) + "}"
    if isinstance(document, list):
        return "[" + ",".join(map(_written, document)) + "]"
    return json.dumps(document)


def _places(document: Any) -> list[tuple[Any, Any]]:
    pairs = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [place for key, value in pairs for place in ((document, key), *_places(value))]


def nasty_sentences(data: bytes, dice: random.Random) -> bytes:
    lines = []
    for line in data.split(b"\r\n"):
        text = line.partition(b"*")[0].rpartition(b"$")[2]
        fields = text.split(b",")
        for _ in range(dice.randint(0, 2)):
            fields[dice.randrange(len(fields))] = dice.choice(FIELDS)
        text = b",".join(fields)
        lines.append(dice.choice(TAGS) + b"$%s*%02X" % (text, checksum(text)))
    return b"\r\n".join(lines) + b"\r\n"


def nasty_packet(data: bytes, dice: random.Random) -> bytes:
    """Bytes of the body exchanged, under a length and a CRC that are right."""
    if data[:4] != b"\0\0\0\0" or len(data) < 16:
        return data
    body = bytearray(data[8:-4])
    for _ in range(dice.randint(1, 4)):
        start = dice.randrange(2, len(body))
        width = dice.choice((1, 1, 2, 4, 8))
        body[start : start + width] = dice.choice((b"\0", b"\xff", b"\x7f", b"\x80"))[:1] * width
    return b"\0\0\0\0" + len(body).to_bytes(4, "big") + body + crc16.arc(bytes(body)).to_bytes(4, "big")


def nasty_bytes(data: bytes, dice: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(dice.randint(1, 5)):
        if damaged:
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
    return bytes(damaged)


MUTATIONS = {"nmea": nasty_sentences, "teltonika": nasty_packet}


def is_text(value: str, most_chars: int, least_chars: int = 0) -> bool:
    value.encode()  # a lone surrogate raises
    return "\0" not in value and least_chars <= len(value) <= most_chars


def check_scalar(value: Scalar) -> None:
    if isinstance(value, str):
        assert is_text(value, 64 * 1024)
    elif isinstance(value, float):
        assert math.isfinite(value)
    else:
        assert -(2**63) <= value < 2**63


def check(message: Position | Status | Login) -> None:
    packed = msgspec.msgpack.encode(message)
    assert msgspec.msgpack.decode(packed, type=Position | Status | Login) == message
    msgspec.json.encode(message)
    assert is_text(message.device_id, MAX_DEVICE_ID_CHARS, 1)
    assert len(message.attributes) <= MAX_ATTRIBUTES + 1, "and how many were left out"
    for name, value in message.attributes.items():
        assert is_text(name, MAX_ATTRIBUTE_NAME_CHARS, 1)
        check_scalar(value)
    if not isinstance(message, Login) and message.time_ms is not None:
        assert parse_rfc3339(rfc3339(message.time_ms)) == message.time_ms
    if isinstance(message, Position):
        check_position(message)


def check_position(fix: Position) -> None:
    document = msgspec.json.decode(msgspec.json.encode(position_document(fix)))
    assert (document["lat_deg"], document["lon_deg"]) == (fix.lat_deg, fix.lon_deg)
    assert (fix.lat_deg is None) == (fix.lon_deg is None)
    assert fix.lat_deg is None or -90 <= fix.lat_deg <= 90
    assert fix.lon_deg is None or -180 <= fix.lon_deg <= 180
    assert fix.lat_deg is not None or not fix.valid
    assert fix.course_deg is None or 0 <= fix.course_deg < 360
    for number in (fix.altitude_m, fix.speed_mps, fix.hdop, fix.accuracy_m, fix.satellites):
        assert number is None or -1e22 < number < 1e22
    for positive in (fix.speed_mps, fix.hdop, fix.accuracy_m, fix.satellites):
        assert positive is None or positive >= 0


def decode(name: str, row: dict[str, Any], pieces: Sent, received_ms: int) -> list[Message]:
    reader = new_decoder(name, msgspec.convert(row.get("context", {}), Context), row.get("options"))
    frames: list[Frame] = []
    for piece in pieces:
        frames += reader.feed(piece, received_ms) + reader.end(received_ms)
    return [message for frame in frames for message in frame.messages]


@pytest.mark.parametrize("name", ROWS)
@settings(max_examples=300, deadline=None)
@given(
    which=st.integers(0, 10_000),
    seed=st.integers(0, 2**32),
    in_bytes=st.booleans(),
    received_ms=st.sampled_from(TIMES_MS),
)
def test_what_a_decoder_says_can_be_stored(name: str, which: int, seed: int, in_bytes: bool, received_ms: int) -> None:
    row, dice = ROWS[name][which % len(ROWS[name])], random.Random(seed)
    mutate = nasty_bytes if in_bytes and seed % 4 == 0 else MUTATIONS.get(name, nasty_json)
    for message in decode(name, row, [mutate(piece, dice) for piece in sent(row)], received_ms):
        if isinstance(message, Position | Status | Login):
            check(message)
        else:
            msgspec.msgpack.encode(message)


def only(name: str, data: bytes, context: Context, **options: Any) -> Message:
    reader = new_decoder(name, context, options)
    (found,) = [m for frame in reader.feed(data, 0) + reader.end(0) for m in frame.messages if not isinstance(m, Reply)]
    return found


def test_attributes_are_bounded_and_those_left_out_are_counted() -> None:
    fix = Position(device_id="v", time_ms=1, lat_deg=1.0, lon_deg=2.0)
    many = msgspec.structs.replace(fix, attributes={f"io_{i}": 1 for i in range(1000, 1000 + 2 * MAX_ATTRIBUTES)})
    for name in ("teltonika", "teltonika_json"):
        found = only(name, new_encoder(name).positions([many]), Context(device_id="v"))
        assert isinstance(found, Position)
        assert len(found.attributes) == MAX_ATTRIBUTES + 1
        assert found.attributes["attributes_left_out"] == MAX_ATTRIBUTES + 1, "the priority is an attribute too"
        check(found)


@pytest.mark.parametrize("name", ["\ud800", "a\0", "", "x" * 129])
def test_no_device_is_named_by_what_cannot_be_stored(name: str) -> None:
    written = json.dumps(name).encode()
    found = only(
        "json", b'{"id":%s,"time":"2026-03-02T09:00:00Z","lat":1,"lon":2}' % written, Context(), device_id="id"
    )
    assert isinstance(found, Malformed)
    for key in (b"imei", b"tid"):
        found = only("owntracks", b'{"_type":"location","tst":1,"lat":1,"lon":2,"%s":%s}' % (key, written), Context())
        assert isinstance(found, Malformed)
    topic = json.dumps(f"owntracks/{name}/van").encode()
    found = only("owntracks", b'{"_type":"location","tst":1,"lat":1,"lon":2,"topic":%s}' % topic, Context())
    assert isinstance(found, Malformed)


def test_texts_are_kept_without_what_cannot_be_stored() -> None:
    data = rb'{"_type":"location","tst":1,"lat":1,"lon":2,"SSID":"a\u0000b\ud800\ud83d\ude9a"}'
    found = only("owntracks", data, Context(device_id="v"))
    assert isinstance(found, Position)
    assert found.attributes == {"ssid": "a\ufffdb\ufffd\U0001f69a"}


@pytest.mark.parametrize(
    "attributes", [{"": "a"}, {"x" * 65: "a"}, {"a\0": "a"}, {str(i): "a" for i in range(MAX_ATTRIBUTES)}]
)
def test_a_mapping_names_attributes_that_can_be_stored(attributes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="attributes"):
        new_decoder("json", Context(), {"attributes": attributes})


def test_a_time_of_day_beyond_the_calendar_is_not_known() -> None:
    text = b"GPGGA,000001,5155.5,N,00434.6,E,1,08,1.0,10,M,40,M,,"
    reader = new_decoder("nmea", Context(device_id="v"))
    frames = reader.feed(b"$%s*%02X\r\n" % (text, checksum(text)), LAST_MS) + reader.end(LAST_MS)
    ((found,),) = [frame.messages for frame in frames]
    assert isinstance(found, Position)
    assert (found.time_ms, found.marks) == (None, ())
