"""The client's side of MQTT 3.1.1 and 5, written from the standard for the tests: packets → bytes, good and bad ones."""

from __future__ import annotations

import struct

from gateway.sources.mqtt_packets import Connect, Disconnect, PubAck, Publish, Subscribe, Unsubscribe


def variable(value: int) -> bytes:
    out = b""
    while True:
        value, low = divmod(value, 128)
        out += bytes((low | (0x80 if value else 0),))
        if not value:
            return out


def packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + variable(len(body)) + body


def binary(value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(data)) + data


def block(level: int, properties: bytes = b"") -> bytes:
    return variable(len(properties)) + properties if level == 5 else b""


def connect(c: Connect, *, name: str = "MQTT", more_properties: bytes = b"") -> bytes:
    flags = 2 * c.clean
    properties = more_properties
    if c.level == 5:
        if c.session_expiry_s:
            properties += b"\x11" + struct.pack("!I", c.session_expiry_s)
        if c.receive_maximum != 65_535:
            properties += b"\x21" + struct.pack("!H", c.receive_maximum)
        if c.maximum_packet_bytes is not None:
            properties += b"\x27" + struct.pack("!I", c.maximum_packet_bytes)
        if c.authentication_method is not None:
            properties += b"\x15" + binary(c.authentication_method)
    tail = binary(c.client_id)
    if c.will is not None:
        flags |= 4 | c.will.qos << 3 | c.will.retain << 5
        tail += block(c.level, b"\x18" + struct.pack("!I", 7)) + binary(c.will.topic) + binary(c.will.payload)
    if c.username is not None:
        flags |= 0x80
        tail += binary(c.username)
    if c.password is not None:
        flags |= 0x40
        tail += binary(c.password)
    head = binary(name) + struct.pack("!BBH", c.level, flags, c.keep_alive_s)
    return packet(0x10, head + block(c.level, properties) + tail)


def simple_connect(client_id: str = "t1", level: int = 4, **more: object) -> bytes:
    fields: dict[str, object] = {"clean": True, "keep_alive_s": 60} | more
    return connect(Connect(level=level, client_id=client_id, **fields))


def publish(level: int, p: Publish, properties: bytes = b"") -> bytes:
    packet_id = struct.pack("!H", p.packet_id) if p.qos else b""
    body = binary(p.topic) + packet_id + block(level, properties) + p.payload
    return packet(0x30 | p.dup << 3 | p.qos << 1 | p.retain, body)


def subscribe(level: int, s: Subscribe, properties: bytes = b"") -> bytes:
    filters = b"".join(binary(name) + bytes((qos,)) for name, qos in s.filters)
    return packet(0x82, struct.pack("!H", s.packet_id) + block(level, properties) + filters)


def unsubscribe(level: int, u: Unsubscribe) -> bytes:
    return packet(0xA2, struct.pack("!H", u.packet_id) + block(level) + b"".join(binary(f) for f in u.filters))


def puback(level: int, a: PubAck) -> bytes:
    return packet(0x40, struct.pack("!H", a.packet_id) + (bytes((a.reason, 0)) if level == 5 else b""))


def disconnect(level: int, d: Disconnect) -> bytes:
    if level == 4:
        return b"\xe0\x00"
    expiry = b"" if d.session_expiry_s is None else b"\x11" + struct.pack("!I", d.session_expiry_s)
    return packet(0xE0, bytes((d.reason,)) + block(5, expiry))


PINGREQ = b"\xc0\x00"
