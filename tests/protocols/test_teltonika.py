"""Teltonika: the hand-written reader against the declared layout, answers, and what a bad packet may cost."""

from __future__ import annotations

from typing import Any

import construct
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Frame, Login, Malformed, Message, Position, Reply, Status
from gateway.protocols import new_decoder, new_encoder
from gateway.protocols.base import Context
from gateway.protocols.teltonika.decoder import MAX_PACKET_BYTES
from gateway.protocols.teltonika.elements import BY_ID, GENERATION_TYPES, variable_value
from gateway.protocols.teltonika.layout import BODIES, CODEC_IDS, LOGIN, PACKET, packet
from gateway.protocols.teltonika.records import read_records

IMEI = "352093081452251"
WIDTHS = {"one": 1, "two": 2, "four": 4, "eight": 8, "variable": 0}


def record(**fields: Any) -> dict[str, Any]:
    plain = dict.fromkeys(WIDTHS, ())
    return {
        "time_ms": 1_772_449_200_000,
        "priority": 1,
        "lon": -115_761_240,
        "lat": 481_371_540,
        "altitude": 519,
        "angle": 73,
        "satellites": 9,
        "speed": 54,
        "event_id": 0,
        "generation": 5,
        "total": 0,
        **plain,
        **fields,
    }


def decode(*pieces: bytes, context: Context | None = None, end: bool = True) -> list[Frame]:
    decoder = new_decoder("teltonika", context or Context(device_id=IMEI))
    frames = [frame for piece in pieces for frame in decoder.feed(piece, 0)]
    return frames + (decoder.end(0) if end else [])


def messages(*pieces: bytes, context: Context | None = None) -> list[Message]:
    return [message for frame in decode(*pieces, context=context) for message in frame.messages]


def packet_of(body: bytes) -> bytes:
    built: bytes = PACKET.build({"body": body})
    return built


# ------------------------------------------------------------------------------------------- the oracle

ids = {"8": st.integers(0, 0xFF), "8E": st.integers(0, 0xFFFF), "16": st.integers(0, 0xFFFF)}


def records_of(codec: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    def group(value: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
        return st.lists(st.fixed_dictionaries({"id": ids[codec], "value": value}), max_size=4)

    fields: dict[str, st.SearchStrategy[Any]] = {
        "time_ms": st.integers(0, 253_402_300_799_999),
        "priority": st.integers(0, 255),
        "lon": st.integers(-1_800_000_000, 1_800_000_000),
        "lat": st.integers(-900_000_000, 900_000_000),
        "altitude": st.integers(-32_768, 32_767),
        "angle": st.integers(0, 65_535),
        "satellites": st.integers(0, 255),
        "speed": st.integers(0, 65_535),
        "event_id": ids[codec],
        "generation": st.integers(0, 255),
        "total": st.integers(0, 255),
        "one": group(st.integers(0, 0xFF)),
        "two": group(st.integers(0, 0xFFFF)),
        "four": group(st.integers(0, 0xFFFF_FFFF)),
        "eight": group(st.binary(min_size=8, max_size=8)),
        "variable": group(st.binary(max_size=40)),
    }
    return st.lists(st.fixed_dictionaries(fields), min_size=1, max_size=4)


def expected(parsed: construct.Container[Any]) -> dict[str, Any]:
    """A position's fields from what construct parsed: the oracle, in its own words."""
    somewhere = parsed.lat != 0 or parsed.lon != 0
    valid = somewhere and parsed.satellites > 0
    attributes: dict[str, Any] = {"priority": parsed.priority}
    if parsed.event_id:
        attributes["event_id"] = parsed.event_id
    if "generation" in parsed:
        known = parsed.generation < len(GENERATION_TYPES)
        attributes["generation_type"] = GENERATION_TYPES[parsed.generation] if known else str(parsed.generation)
    for name, width in WIDTHS.items():
        for each in parsed.get(name, ()):
            key, value = f"io_{each.id}", each.value
            if width == 0:
                key, value = variable_value(each.id, value)
            elif width == 8:
                value = value.hex()
            elif (element := BY_ID.get(each.id)) and element.width_bytes == width:
                meant = element.of_unsigned(value)
                key, value = (key, value) if meant is None else (element.name, meant)
            attributes[key] = value
    hdop = attributes.pop("hdop", None)
    speed_kmh = attributes.pop("speed_kmh", parsed.speed)
    return {
        "time_ms": parsed.time_ms,
        "lat_deg": parsed.lat / 1e7 if somewhere else None,
        "lon_deg": parsed.lon / 1e7 if somewhere else None,
        "altitude_m": parsed.altitude if somewhere else None,
        "speed_mps": speed_kmh / 3.6 if valid else None,
        "course_deg": parsed.angle % 360 if valid and parsed.angle <= 360 else None,
        "valid": valid,
        "satellites": parsed.satellites,
        "hdop": hdop or None,
        "attributes": attributes,
    }


@pytest.mark.parametrize("codec", sorted(CODEC_IDS))
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_reader_agrees_with_the_declared_layout(codec: str, data: st.DataObject) -> None:
    body = BODIES[codec].build({"records": data.draw(records_of(codec))})
    parsed = BODIES[codec].parse(body)
    got = read_records(body, IMEI)
    assert len(got) == len(parsed.records)
    for position, want in zip(got, map(expected, parsed.records), strict=True):
        assert isinstance(position, Position)
        assert {name: getattr(position, name) for name in want} == want


@pytest.mark.parametrize("codec", sorted(CODEC_IDS))
def test_the_encoder_writes_what_construct_parses(codec: str) -> None:
    fix = Position(
        device_id=IMEI,
        time_ms=1_772_449_200_000,
        lat_deg=-33.856784,
        lon_deg=151.215297,
        altitude_m=12.0,
        speed_mps=15.0,
        course_deg=270.0,
        satellites=11,
        hdop=0.9,
        attributes={
            "ignition": True,
            "odometer_m": 6_120_501,
            "external_voltage_v": 12.508,
            "temperature_1_c": -18.5,
            "io_200": 3,
            "io_385": "0a0b0c",
            "vin": "WDB9066331S123456",
            "note": "has no element",
        },
    )
    data = new_encoder("teltonika", {"codec": codec}).positions([fix])
    assert PACKET.parse(data).body[0] == CODEC_IDS[codec]
    position = messages(data)[0]
    assert isinstance(position, Position)
    assert (position.lat_deg, position.lon_deg, position.speed_mps) == (-33.856784, 151.215297, 15.0)
    assert (position.hdop, position.satellites) == (0.9, 11)
    extended = {"io_385": "0a0b0c", "vin": "WDB9066331S123456"} if codec == "8E" else {}
    generation = {"generation_type": "periodical"} if codec == "16" else {}
    assert position.attributes == {
        "priority": 0,
        "ignition": True,
        "odometer_m": 6_120_501,
        "external_voltage_v": 12.508,
        "temperature_1_c": -18.5,
        "sleep_mode": 3,
        **extended,
        **generation,
    }


# ------------------------------------------------------------------------------------------- answers


def test_the_login_is_answered_before_the_commit_and_records_after_it() -> None:
    sent = LOGIN.build(IMEI) + packet("8", [record(), record()])
    login, yes, *positions, count = messages(sent, context=Context())
    assert login == Login(device_id=IMEI, attributes={"imei": IMEI})
    assert yes == Reply(data=b"\x01", after_commit=False)
    assert [type(p) for p in positions] == [Position, Position]
    assert count == Reply(data=b"\0\0\0\2", after_commit=True)


def test_a_bound_connection_keeps_its_name() -> None:
    login, _, position, _ = messages(LOGIN.build(IMEI) + packet("8", [record()]), context=Context(device_id="van 7"))
    assert login == Login(device_id="van 7", attributes={"imei": IMEI})
    assert isinstance(position, Position)
    assert position.device_id == "van 7"


def test_over_mqtt_the_broker_answers() -> None:
    found = messages(packet("8E", [record()]), context=Context(device_id=IMEI, topic=f"{IMEI}/data"))
    assert [type(m) for m in found] == [Position]


def test_a_whole_packet_that_cannot_be_read_is_answered_or_it_would_come_for_ever() -> None:
    body = BODIES["8"].build({"records": [record()]})
    broken, count = messages(packet_of(body[:-1] + b"\x02"))
    assert isinstance(broken, Malformed)
    assert "closes with 2" in broken.reason
    assert count == Reply(data=b"\0\0\0\1", after_commit=True)


def test_a_damaged_packet_is_not_answered_so_that_it_comes_again() -> None:
    data = bytearray(packet("8", [record()]))
    data[20] ^= 1
    (broken,) = messages(bytes(data))
    assert isinstance(broken, Malformed)
    assert "checksum" in broken.reason


def test_records_of_nobody_are_malformed_and_not_answered() -> None:
    (broken,) = messages(packet("8", [record()]), context=Context())
    assert isinstance(broken, Malformed)
    assert "login" in broken.reason


# ------------------------------------------------------------------------------------------- what is in it


def test_a_record_off_the_earth_costs_no_other() -> None:
    bad = [record(lat=900_000_001), record(lon=-1_800_000_001), record(time_ms=1 << 63)]
    found = messages(packet("8", [record(), *bad, record()]))
    assert [type(m) for m in found] == [Position, Malformed, Malformed, Malformed, Position, Reply]
    assert found[-1] == Reply(data=b"\0\0\0\5")


@pytest.mark.parametrize(
    ("fields", "valid", "lat_deg"),
    [({}, True, 48.137154), ({"satellites": 0}, False, 48.137154), ({"lat": 0, "lon": 0}, False, None)],
)
def test_without_a_fix_speed_and_course_say_nothing(fields: dict[str, int], valid: bool, lat_deg: float | None) -> None:
    position = messages(packet("16", [record(**fields)]))[0]
    assert isinstance(position, Position)
    assert (position.valid, position.lat_deg) == (valid, lat_deg)
    assert (position.speed_mps, position.course_deg) == ((15.0, 73.0) if valid else (None, None))


def test_an_element_is_known_only_with_its_documented_width_and_range() -> None:
    fields = {
        "one": [{"id": 113, "value": 87}, {"id": 239, "value": 2}, {"id": 66, "value": 12}],
        "two": [{"id": 113, "value": 2_952}, {"id": 24, "value": 60}],
        "four": [{"id": 72, "value": 0xFFFF_FF47}, {"id": 73, "value": 3_000}],
    }
    position = messages(packet("8", [record(**fields)]))[0]
    assert isinstance(position, Position)
    assert position.attributes == {
        "priority": 1,
        "battery_pct": 87,
        "io_239": 2,
        "io_66": 12,
        "io_113": 2_952,
        "temperature_1_c": -18.5,
        "io_73": 3_000,
    }
    assert position.speed_mps == pytest.approx(60 / 3.6), "element 24 is the speed of the configured source"


def test_codec_8_with_an_unannounced_group_of_16_byte_elements() -> None:
    plain = BODIES["8"].build({"records": [record()]})
    body = plain[:-1] + b"\x01\xcb" + bytes(range(16)) + plain[-1:]
    position, count = messages(packet_of(body))
    assert isinstance(position, Position)
    assert position.attributes["io_203"] == bytes(range(16)).hex()
    assert isinstance(count, Reply)


@pytest.mark.parametrize(
    ("body", "want"),
    [
        ("0c010600000005" + b"ok 12".hex() + "01", {"message_type": 6, "text": "ok 12"}),
        ("0e01060000000a" + "0352093081452251" + "4142" + "01", {"message_type": 6, "text": "AB"}),
        ("0e011100000008" + "0352093081452251" + "01", {"message_type": 17, "text": "", "executed": False}),
    ],
)
def test_texts_are_statuses_and_never_positions(body: str, want: dict[str, Any]) -> None:
    (status,) = messages(packet_of(bytes.fromhex(body)))
    assert status == Status(device_id=IMEI, kind="text", attributes=want)


@pytest.mark.parametrize("body", ["0c0106000000ff4101", "0c02060000000141" + "02", "07010000"])
def test_texts_that_do_not_fit_and_other_codecs_are_malformed(body: str) -> None:
    (broken,) = messages(packet_of(bytes.fromhex(body)))
    assert isinstance(broken, Malformed)


# ------------------------------------------------------------------------------------------- bad neighbours


def test_a_length_that_is_wrong_swallows_no_neighbour() -> None:
    first, *rest = (packet("8", [record(time_ms=t)]) for t in (1_000, 2_000, 3_000))
    for length in (0, 5, 32, 34, 60, 200, MAX_PACKET_BYTES, 0xFFFF_FFFF):
        bad = first[:4] + length.to_bytes(4) + first[8:]
        got = [m for m in messages(bad, *rest) if isinstance(m, Position)]
        assert [p.time_ms for p in got] == [2_000, 3_000], length


def test_a_false_start_does_not_hide_the_true_one_that_overlaps_it() -> None:
    good = packet("8E", [record(variable=[{"id": 300, "value": bytes(219)}])])
    assert good[4:9] == b"\0\0\1\x08\x8e", "seen one byte early, with a zero before it, this is a header of Codec 8"
    bad = bytes(6) + b"\x01\x40\x08\x01" + b"damaged\0"
    assert [type(m) for m in messages(bad + good)] == [Malformed, Position, Reply]


def test_a_bad_packet_is_told_as_soon_as_it_cannot_have_swallowed_more() -> None:
    bad = bytearray(packet("8", [record()]))
    bad[-1] ^= 0xFF
    frames = decode(bytes(bad), packet("8", [record()]), end=False)
    assert [type(f.messages[0]) for f in frames] == [Malformed, Position]


def test_a_vin_inside_a_damaged_packet_is_no_login() -> None:
    data = bytearray(packet("8E", [record(variable=[{"id": 256, "value": b"WDB9066331S123456"}])]))
    data[20] ^= 1
    assert [type(m) for m in messages(bytes(data), packet("8", [record()]))] == [Malformed, Position, Reply]


def test_pings_between_packets_are_noise() -> None:
    decoder = new_decoder("teltonika", Context(device_id=IMEI))
    frames = decoder.feed(b"\xff" + packet("8", [record()]) + b"\xff\xff" + packet("8", [record()]), 0)
    assert [type(f.messages[0]) for f in frames] == [Position, Position]
    assert decoder.noise_bytes == 3


def test_the_encoder_refuses_what_a_packet_cannot_carry() -> None:
    encoder = new_encoder("teltonika", {"codec": "8"})
    fix = Position(device_id=IMEI, time_ms=None, lat_deg=1.0, lon_deg=2.0)
    with pytest.raises(ValueError, match="time"):
        encoder.positions([fix])
    with pytest.raises(ValueError, match="255"):
        encoder.positions([fix] * 256)
