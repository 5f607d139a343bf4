"""The wire layer against the standard: every packet there and back, any split, any garbage, every truncation."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sources import mqtt_wire as wire
from gateway.sources.mqtt_packets import (
    Announced,
    Connect,
    Disconnect,
    Fault,
    Packet,
    PingReq,
    PubAck,
    Publish,
    Reason,
    Subscribe,
    Unsubscribe,
    Will,
)
from gateway.sources.mqtt_wire import Reader
from tests.sources import mqtt_bytes as client

LIMIT = 4096
levels = st.sampled_from((4, 5))
texts = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=20)
topics = st.text(st.characters(blacklist_characters="\0+#", blacklist_categories=["Cs"]), min_size=1, max_size=20)
ids = st.integers(1, 65_535)
seconds = st.integers(0, 2**32 - 1)


@st.composite
def connects(draw: st.DrawFn, level: int) -> Connect:
    will = st.builds(Will, topics, st.binary(max_size=30), st.integers(0, 2), st.booleans())
    username = draw(st.none() | texts)
    clean = draw(st.booleans())
    return Connect(
        level=level,
        client_id=draw(texts),
        clean=clean,
        keep_alive_s=draw(st.integers(0, 65_535)),
        will=draw(st.none() | will),
        username=username,
        password=draw(st.none() | st.binary(max_size=30)) if username is not None or level == 5 else None,
        session_expiry_s=draw(seconds) if level == 5 else 0 if clean else 0xFFFFFFFF,
        receive_maximum=draw(ids) if level == 5 else 65_535,
        maximum_packet_bytes=draw(st.none() | st.integers(1, 2**32 - 1)) if level == 5 else None,
        authentication_method=draw(st.none() | texts) if level == 5 else None,
    )


@st.composite
def publishes(draw: st.DrawFn) -> Publish:
    qos = draw(st.integers(0, 2))
    return Publish(
        draw(topics),
        draw(st.binary(max_size=300)),
        qos,
        draw(st.booleans()),
        draw(st.booleans()) if qos else False,
        draw(ids) if qos else 0,
    )


def later_packets(level: int) -> st.SearchStrategy[Packet]:
    filters = st.lists(st.tuples(topics, st.integers(0, 2)), min_size=1, max_size=4).map(tuple)
    reasons = st.integers(0, 255) if level == 5 else st.just(0)
    expiry = st.none() | seconds if level == 5 else st.none()
    return st.one_of(
        publishes(),
        st.builds(PubAck, ids, reasons),
        st.builds(Subscribe, ids, filters),
        st.builds(Unsubscribe, ids, st.lists(topics, min_size=1, max_size=4).map(tuple)),
        st.just(PingReq()),
        st.builds(Disconnect, reasons, expiry),
    )


@st.composite
def conversations(draw: st.DrawFn) -> tuple[int, list[Packet]]:
    level = draw(levels)
    return level, [draw(connects(level)), *draw(st.lists(later_packets(level), max_size=8))]


def written(level: int, packet: Packet) -> bytes:
    match packet:
        case Connect():
            return client.connect(packet)
        case Publish():
            return wire.publish(level, packet)  # the one packet that both sides write
        case PubAck():
            return client.puback(level, packet)
        case Subscribe():
            return client.subscribe(level, packet)
        case Unsubscribe():
            return client.unsubscribe(level, packet)
        case Disconnect():
            return client.disconnect(level, packet)
    return client.PINGREQ


def drained(reader: Reader) -> list[Packet | Fault]:
    said: list[Packet | Fault] = []
    while (packet := reader.next()) is not None:
        said.append(packet)
        if isinstance(packet, Fault):
            assert reader.next() == packet  # a fault is the end, and is said again
            break
    return said


def read(data: bytes, pieces: list[int] | None = None, *, limit: int = LIMIT, aliases: int = 4) -> list[Packet | Fault]:
    reader = Reader(limit, aliases)
    said: list[Packet | Fault] = []
    cuts = [0, *sorted(pieces or []), len(data)]
    for start, end in itertools.pairwise(cuts):
        reader.feed(data[start:end])
        said += drained(reader)
        if said and isinstance(said[-1], Fault):
            break
    return said


@given(conversations(), st.data())
def test_what_is_written_is_read_back_however_it_is_split(talk: tuple[int, list[Packet]], data: st.DataObject) -> None:
    level, packets = talk
    stream = b"".join(written(level, p) for p in packets)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    assert read(stream, cuts) == packets


@given(conversations())
@settings(max_examples=30)
def test_byte_by_byte_and_every_truncation(talk: tuple[int, list[Packet]]) -> None:
    level, packets = talk
    stream = b"".join(written(level, p) for p in packets)
    assert read(stream, list(range(len(stream)))) == packets
    whole = [b"".join(written(level, p) for p in packets[:n]) for n in range(len(packets) + 1)]
    for end in range(0, len(stream), max(1, len(stream) // 200)):
        complete = sum(len(w) <= end for w in whole[1:])
        assert read(stream[:end]) == packets[:complete]


@given(st.lists(st.binary(max_size=60), max_size=8), st.sampled_from((None, 4, 5)))
@settings(max_examples=300)
def test_garbage_never_raises(pieces: list[bytes], level: int | None) -> None:
    reader = Reader(LIMIT, 4)
    if level is not None:
        reader.feed(client.simple_connect(level=level))
    for piece in pieces:
        reader.feed(piece)
        drained(reader)
        assert reader.buffered_bytes <= LIMIT + 5


@given(conversations(), st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=300)
def test_one_wrong_byte_never_raises(talk: tuple[int, list[Packet]], where: int, value: int) -> None:
    level, packets = talk
    stream = bytearray(b"".join(written(level, p) for p in packets))
    stream[where % len(stream)] = value
    for said in read(bytes(stream)):
        assert not isinstance(said, Fault) or said.text


@pytest.mark.parametrize(
    ("level", "bad"),
    [(4, client.packet(0x32, b"\0\1a\0")), (5, client.packet(0x32, b"\0\1a\0\1")), (4, client.packet(0x82, b"\0"))],
)
def test_a_field_beyond_its_packet_is_malformed(level: int, bad: bytes) -> None:
    said = read(client.simple_connect(level=level) + bad + client.PINGREQ)
    assert isinstance(said[1], Fault)
    assert said[1].reason is Reason.MALFORMED
    assert len(said) == 2


FAULTS_5 = {
    "QoS 3": (b"\x36\x06\0\1a\0\1\0", Reason.MALFORMED),
    "DUP at QoS 0": (b"\x38\x04\0\1a\0", Reason.MALFORMED),
    "packet id 0": (b"\x32\x06\0\1a\0\0\0", Reason.PROTOCOL_ERROR),
    "wildcard in a topic": (b"\x30\x04\0\1#\0", Reason.MALFORMED),
    "U+0000 in a topic": (b"\x30\x04\0\1\0\0", Reason.MALFORMED),
    "topic is not UTF-8": (b"\x30\x04\0\1\xff\0", Reason.MALFORMED),
    "no topic, no alias": (b"\x30\x03\0\0\0", Reason.PROTOCOL_ERROR),
    "alias never set": (b"\x30\x06\0\0\x03\x23\0\1", Reason.PROTOCOL_ERROR),
    "alias 0": (b"\x30\x07\0\1a\x03\x23\0\0", Reason.PROTOCOL_ERROR),
    "alias too high": (b"\x30\x07\0\1a\x03\x23\0\5", Reason.TOPIC_ALIAS_INVALID),
    "alias twice": (b"\x30\x0a\0\1a\x06\x23\0\1\x23\0\1", Reason.PROTOCOL_ERROR),
    "unknown property": (b"\x30\x06\0\1a\x02\x7e\0", Reason.PROTOCOL_ERROR),
    "AUTH": (b"\xf0\0", Reason.PROTOCOL_ERROR),
    "PUBREL": (b"\x62\2\0\1", Reason.PROTOCOL_ERROR),
    "a CONNACK from the client": (b"\x20\2\0\0", Reason.PROTOCOL_ERROR),
    "a second CONNECT": (client.simple_connect(level=5), Reason.PROTOCOL_ERROR),
    "SUBSCRIBE of nothing": (b"\x82\3\0\1\0", Reason.MALFORMED),
    "subscription identifier": (b"\x82\x09\0\1\2\x0b\1\0\1a\1", Reason.SUBSCRIPTION_IDS_NOT_SUPPORTED),
    "QoS 3 asked": (b"\x82\7\0\1\0\0\1a\3", Reason.MALFORMED),
    "bytes after the last field": (b"\xc0\1\0", Reason.MALFORMED),
    "a length of five bytes": (b"\x30\xff\xff\xff\xff\1", Reason.MALFORMED),
}


@pytest.mark.parametrize("name", FAULTS_5)
def test_faults_of_version_5(name: str) -> None:
    bad, reason = FAULTS_5[name]
    said = read(client.simple_connect(level=5) + bad)
    assert isinstance(said[-1], Fault)
    assert said[-1].reason is reason, said[-1]


def test_an_alias_stands_for_its_topic_until_it_is_set_anew() -> None:
    alias = b"\x23\0\4"
    stream = client.simple_connect(level=5) + b"".join(
        client.publish(5, Publish(topic, b"x"), alias) for topic in ("long/topic", "", "other", "")
    )
    said = read(stream)
    assert [p.topic for p in said[1:] if isinstance(p, Publish)] == ["long/topic", "long/topic", "other", "other"]


@pytest.mark.parametrize(
    ("name", "level", "answer"), [("MQIsdp", 3, 4), ("MQTT", 3, 4), ("MQTT", 6, 5), ("MQTT", 132, 5)]
)
def test_other_versions_are_refused_in_the_nearest_language(name: str, level: int, answer: int) -> None:
    reader = Reader(LIMIT, 4)
    reader.feed(client.packet(0x10, client.binary(name) + bytes((level, 2, 0, 60)) + client.binary("t")))
    said = reader.next()
    assert isinstance(said, Fault)
    assert (said.reason, reader.level) == (Reason.UNSUPPORTED_VERSION, answer)


def test_what_is_not_mqtt_is_refused_at_its_first_byte() -> None:
    assert isinstance(read(b"G")[0], Fault)
    assert isinstance(read(b"\x16\x03\x01")[0], Fault)  # a TLS hello on the plain port


def test_an_oversized_packet_is_refused_at_its_header_and_never_kept() -> None:
    reader = Reader(1000, 0)
    reader.feed(client.simple_connect(level=5))
    reader.next()
    reader.feed(b"\x30" + client.variable(998) + b"\0\1a\0" + b"x" * 994)
    assert isinstance(reader.next(), Fault)  # 1 + 2 + 998: one byte too many
    assert reader.buffered_bytes == 0
    exact = Reader(1000, 0)
    exact.feed(client.simple_connect(level=5) + b"\x30" + client.variable(997) + b"\0\1a\0" + b"x" * 993)
    exact.next()
    assert isinstance(exact.next(), Publish)


def test_memory_stays_bounded_over_a_long_stream() -> None:
    reader = Reader(LIMIT, 4)
    reader.feed(client.simple_connect())
    piece = client.publish(4, Publish("a/b", b"x" * 1000, 1, packet_id=1))
    stream = piece * 3 + piece[:500]
    rest = piece[500:]
    tracemalloc.start()
    for _ in range(300):
        reader.feed(stream)
        drained(reader)
        reader.feed(rest)
        drained(reader)
    assert reader.buffered_bytes == 0
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_exact_bytes_of_the_server() -> None:
    assert wire.connack(4, Reason.SUCCESS, session_present=True) == b"\x20\x02\x01\x00"
    assert wire.connack(4, Reason.BAD_CREDENTIALS) == b"\x20\x02\x00\x04"
    assert wire.connack(4, Reason.UNSUPPORTED_VERSION) == b"\x20\x02\x00\x01"
    assert wire.connack(4, Reason.MALFORMED) == b""
    assert wire.connack(5, Reason.NOT_AUTHORIZED) == b"\x20\x03\x00\x87\x00"
    announced = Announced(
        receive_maximum=256, maximum_packet_bytes=65_536, alias_maximum=16, session_expiry_s=60, assigned_id="x"
    )
    properties = (
        b"\x21\x01\x00\x27\x00\x01\x00\x00\x22\x00\x10\x24\x01\x29\x00\x2a\x00\x11\x00\x00\x00\x3c\x12\x00\x01x"
    )
    said = wire.connack(5, Reason.SUCCESS, announced=announced)
    assert said == b"\x20" + bytes((3 + len(properties), 0, 0, len(properties))) + properties
    assert wire.pubacks([1, 0x1234]) == b"\x40\x02\x00\x01\x40\x02\x12\x34"
    assert wire.suback(4, 7, [1, Reason.NOT_AUTHORIZED]) == b"\x90\x04\x00\x07\x01\x80"
    assert wire.suback(5, 7, [1, Reason.NOT_AUTHORIZED]) == b"\x90\x05\x00\x07\x00\x01\x87"
    assert wire.unsuback(4, 7, [0]) == b"\xb0\x02\x00\x07"
    assert wire.unsuback(5, 7, [0x11]) == b"\xb0\x04\x00\x07\x00\x11"
    assert wire.disconnect(4, Reason.TAKEN_OVER) == b""
    assert wire.disconnect(5, Reason.TAKEN_OVER) == b"\xe0\x02\x8e\x00"
    assert wire.disconnect(5, Reason.TAKEN_OVER, "why") == b"\xe0\x08\x8e\x06\x1f\x00\x03why"
    long = wire.publish(4, Publish("t", b"x" * 200, 1, packet_id=9, dup=True))
    assert long == b"\x3a\xcd\x01\x00\x01t\x00\x09" + b"x" * 200
