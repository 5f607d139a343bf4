"""MQTT 3.1.1 and 5 as a server reads and writes it: bytes in, packets out, no sockets and no clock.

Sources: OASIS MQTT Version 3.1.1 (29 October 2014) and MQTT Version 5.0 (7 March 2019); section numbers below are of 5.0.

`Reader` never raises, whatever the bytes: what cannot be read is a `Fault`, the last thing a reader says. What it keeps
is less than one packet beyond what it was fed; a packet larger than the announced maximum is a fault at its header,
before any of it is kept. Writers are plain functions of their arguments.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

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

_RETURN_CODES_3: Final = {
    Reason.SUCCESS: 0,
    Reason.UNSUPPORTED_VERSION: 1,
    Reason.CLIENT_ID_INVALID: 2,
    Reason.SERVER_BUSY: 3,
    Reason.BAD_CREDENTIALS: 4,
    Reason.NOT_AUTHORIZED: 5,
}
"""CONNACK of 3.1.1 has six return codes; what is not among them closes the connection without one."""


_Value: TypeAlias = int | bytes | str | None

_CONNECT, _CONNACK, _PUBLISH, _PUBACK = 0x10, 0x20, 0x30, 0x40
_SUBSCRIBE, _SUBACK, _UNSUBSCRIBE, _UNSUBACK = 0x82, 0x90, 0xA2, 0xB0
_PINGREQ, _DISCONNECT, _AUTH = 0xC0, 0xE0, 0xF0
PINGRESP: Final = b"\xd0\x00"

# Properties (section 2.2.2.2) that a client may send, and those that this server says.
_SESSION_EXPIRY, _ASSIGNED_ID, _AUTHENTICATION_METHOD = 0x11, 0x12, 0x15
_REASON_STRING, _RECEIVE_MAXIMUM, _ALIAS_MAXIMUM, _ALIAS = 0x1F, 0x21, 0x22, 0x23
_MAXIMUM_QOS, _USER, _MAXIMUM_PACKET, _SUBSCRIPTION_ID = 0x24, 0x26, 0x27, 0x0B
_SUBSCRIPTION_IDS_AVAILABLE, _SHARED_AVAILABLE = 0x29, 0x2A

_MESSAGE_PROPERTIES = frozenset({0x01, 0x02, 0x03, 0x08, 0x09, _USER})
_OF_CONNECT = frozenset(
    {
        _SESSION_EXPIRY,
        _AUTHENTICATION_METHOD,
        0x16,
        0x17,
        0x19,
        _RECEIVE_MAXIMUM,
        _ALIAS_MAXIMUM,
        _USER,
        _MAXIMUM_PACKET,
    }
)
_OF_WILL = _MESSAGE_PROPERTIES | {0x18}
_OF_PUBLISH = _MESSAGE_PROPERTIES | {_ALIAS}
_OF_ACK = frozenset({_REASON_STRING, _USER})
_OF_SUBSCRIBE = frozenset({_SUBSCRIPTION_ID, _USER})
_OF_UNSUBSCRIBE = frozenset({_USER})
_OF_DISCONNECT = frozenset({_SESSION_EXPIRY, _REASON_STRING, _USER})
_NEVER_ZERO = frozenset({_SUBSCRIPTION_ID, _RECEIVE_MAXIMUM, _ALIAS, _MAXIMUM_PACKET})


class _BadPacket(Exception):
    """Carries a fault from the depth of a packet to `Reader.next`; never leaves this file."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(reason, text)


class _Fields:
    """Reads one packet's fields in turn; a field that reaches beyond the packet is a malformed packet."""

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes | bytearray, at: int, end: int) -> None:
        self._data, self._at, self._end = data, at, end

    @property
    def more(self) -> bool:
        return self._at < self._end

    def take(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        if self._at > self._end:
            raise _BadPacket(Reason.MALFORMED, "a field reaches beyond its packet")
        return bytes(self._data[start : self._at])

    def rest(self) -> bytes:
        return self.take(self._end - self._at)

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2))

    def u32(self) -> int:
        return int.from_bytes(self.take(4))

    def variable(self) -> int:
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise _BadPacket(Reason.MALFORMED, "a variable byte integer of more than four bytes")

    def binary(self) -> bytes:
        return self.take(self.u16())

    def text(self) -> str:
        try:
            text = self.binary().decode()
        except UnicodeDecodeError:
            raise _BadPacket(Reason.MALFORMED, "a string is not UTF-8") from None
        if "\0" in text:
            raise _BadPacket(Reason.MALFORMED, "a string holds U+0000")
        return text

    def topic(self) -> str:
        topic = self.text()
        if "+" in topic or "#" in topic:
            raise _BadPacket(Reason.MALFORMED, "a topic name holds a wildcard")
        return topic

    def packet_id(self) -> int:
        packet_id = self.u16()
        if not packet_id:
            raise _BadPacket(Reason.PROTOCOL_ERROR, "packet identifier 0")
        return packet_id

    def pair(self) -> None:
        self.text()
        self.text()

    def properties(self, allowed: frozenset[int]) -> dict[int, _Value]:
        """A property block; what is not allowed here, or stands twice, is a protocol error."""
        length = self.variable()
        if not length:
            return {}
        inner = _Fields(self._data, self._at, self._at + length)
        self.take(length)
        found: dict[int, _Value] = {}
        while inner.more:
            name = inner.variable()
            if name not in allowed:
                raise _BadPacket(Reason.PROTOCOL_ERROR, f"property 0x{name:02x} does not belong here")
            value = _PROPERTY_READERS[name](inner)
            if name in found and name != _USER:
                raise _BadPacket(Reason.PROTOCOL_ERROR, f"property 0x{name:02x} stands twice")
            if value == 0 and name in _NEVER_ZERO:
                raise _BadPacket(Reason.PROTOCOL_ERROR, f"property 0x{name:02x} is 0")
            found[name] = value
        return found

    def finish(self) -> None:
        if self.more:
            raise _BadPacket(Reason.MALFORMED, "bytes after the last field of a packet")


_PROPERTY_READERS: Final[dict[int, Callable[[_Fields], _Value]]] = {
    0x01: _Fields.u8,
    0x02: _Fields.u32,
    0x03: _Fields.text,
    0x08: _Fields.topic,
    0x09: _Fields.binary,
    _SUBSCRIPTION_ID: _Fields.variable,
    _SESSION_EXPIRY: _Fields.u32,
    _AUTHENTICATION_METHOD: _Fields.text,
    0x16: _Fields.binary,
    0x17: _Fields.u8,
    0x18: _Fields.u32,
    0x19: _Fields.u8,
    _REASON_STRING: _Fields.text,
    _RECEIVE_MAXIMUM: _Fields.u16,
    _ALIAS_MAXIMUM: _Fields.u16,
    _ALIAS: _Fields.u16,
    _USER: _Fields.pair,
    _MAXIMUM_PACKET: _Fields.u32,
}


def _number(properties: dict[int, _Value], name: int, default: int) -> int:
    value = properties.get(name, default)
    assert isinstance(value, int)
    return value


class Reader:
    """A client's bytes → packets, one stream. `level` is 0 until its CONNECT was read, then 4 or 5."""

    def __init__(self, max_packet_bytes: int, alias_maximum: int) -> None:
        self.level = 0
        self._max_packet_bytes = max_packet_bytes
        self._alias_maximum = alias_maximum
        self._aliases: dict[int, str] = {}
        self._buffer = bytearray()
        self._at = 0
        self._fault: Fault | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes as they came; then call `next` until it says None."""
        del self._buffer[: self._at]
        self._at = 0
        self._buffer += data

    @property
    def buffered_bytes(self) -> int:
        return len(self._buffer) - self._at

    @property
    def publish_is_next(self) -> bool:
        """Whether what `next` reads, or waits for, is a PUBLISH."""
        return self.buffered_bytes > 0 and self._buffer[self._at] & 0xF0 == _PUBLISH

    def next(self) -> Packet | Fault | None:
        """The next whole packet, or None when more bytes are needed. After a fault there is nothing but that fault."""
        if self._fault is not None:
            return self._fault
        try:
            return self._next()
        except _BadPacket as e:
            self._fault = e.fault
            self._buffer.clear()
            self._at = 0
            return self._fault

    def _next(self) -> Packet | None:
        buffer, at = self._buffer, self._at
        available = len(buffer) - at
        if not available:
            return None
        first = buffer[at]
        if (first == _CONNECT) is (self.level != 0):
            said = "a second CONNECT" if self.level else "the first packet is not CONNECT"
            raise _BadPacket(Reason.PROTOCOL_ERROR, said)
        length = 0
        for i in range(1, 5):
            if i >= available:
                return None
            byte = buffer[at + i]
            length |= (byte & 0x7F) << (7 * (i - 1))
            if byte < 0x80:
                break
        else:
            raise _BadPacket(Reason.MALFORMED, "a remaining length of more than four bytes")
        total = 1 + i + length
        if total > self._max_packet_bytes:
            text = f"a packet of {total} bytes, more than {self._max_packet_bytes}"
            raise _BadPacket(Reason.PACKET_TOO_LARGE, text)
        if total > available:
            return None
        self._at = at + total
        fields = _Fields(buffer, at + 1 + i, at + total)
        if first & 0xF0 == _PUBLISH:
            return self._publish(first & 0x0F, fields)
        packet = self._other(first, fields)
        fields.finish()
        return packet

    def _publish(self, flags: int, fields: _Fields) -> Publish:
        qos = flags >> 1 & 3
        if qos == 3 or (not qos and flags & 8):
            raise _BadPacket(Reason.MALFORMED, "PUBLISH with impossible flags")
        topic = fields.topic()
        packet_id = fields.packet_id() if qos else 0
        if self.level == 5:
            alias = _number(fields.properties(_OF_PUBLISH), _ALIAS, 0)
            if alias:
                topic = self._aliased(alias, topic)
        if not topic:
            raise _BadPacket(Reason.PROTOCOL_ERROR, "PUBLISH without a topic")
        return Publish(topic, fields.rest(), qos, bool(flags & 1), bool(flags & 8), packet_id)

    def _aliased(self, alias: int, topic: str) -> str:
        if alias > self._alias_maximum:
            raise _BadPacket(Reason.TOPIC_ALIAS_INVALID, f"topic alias {alias}, more than {self._alias_maximum}")
        if topic:
            self._aliases[alias] = topic
        elif alias not in self._aliases:
            raise _BadPacket(Reason.PROTOCOL_ERROR, f"topic alias {alias} was never set")
        return self._aliases[alias]

    def _other(self, first: int, fields: _Fields) -> Packet:
        if first == _CONNECT:
            return self._connect(fields)
        if first == _PUBACK:
            return self._puback(fields)
        if first == _SUBSCRIBE:
            return self._subscribe(fields)
        if first == _UNSUBSCRIBE:
            return self._unsubscribe(fields)
        if first == _PINGREQ:
            return PingReq()
        if first == _DISCONNECT:
            return self._disconnect(fields)
        if first == _AUTH and self.level == 5:
            raise _BadPacket(Reason.PROTOCOL_ERROR, "AUTH, and no authentication method was agreed on")
        raise _BadPacket(Reason.PROTOCOL_ERROR, f"a packet that starts with 0x{first:02x}")

    def _connect(self, fields: _Fields) -> Connect:
        name, level = fields.binary(), fields.u8()
        if name not in {b"MQTT", b"MQIsdp"}:
            raise _BadPacket(Reason.PROTOCOL_ERROR, "the protocol is not MQTT")
        self.level = 5 if level >= 5 else 4
        if level != self.level or name != b"MQTT":
            raise _BadPacket(
                Reason.UNSUPPORTED_VERSION, f"MQTT protocol level {level}; 4 (3.1.1) and 5 are spoken here"
            )
        flags, keep_alive_s = fields.u8(), fields.u16()
        with_will, will_qos, will_retain = bool(flags & 4), flags >> 3 & 3, bool(flags & 0x20)
        with_username, with_password = bool(flags & 0x80), bool(flags & 0x40)
        if flags & 1 or will_qos == 3 or (not with_will and (will_qos or will_retain)):
            raise _BadPacket(Reason.MALFORMED, "CONNECT with impossible flags")
        if level == 4 and with_password and not with_username:
            raise _BadPacket(Reason.MALFORMED, "a password without a user name")
        properties = fields.properties(_OF_CONNECT) if level == 5 else {}
        client_id = fields.text()
        will = self._will(fields, will_qos, will_retain) if with_will else None
        method, packet_bytes = properties.get(_AUTHENTICATION_METHOD), properties.get(_MAXIMUM_PACKET)
        clean = bool(flags & 2)
        return Connect(
            level=level,
            client_id=client_id,
            clean=clean,
            keep_alive_s=keep_alive_s,
            will=will,
            username=fields.text() if with_username else None,
            password=fields.binary() if with_password else None,
            # A session of 3.1.1 ends with its connection, or never.
            session_expiry_s=_number(properties, _SESSION_EXPIRY, 0 if level == 5 or clean else 0xFFFFFFFF),
            receive_maximum=_number(properties, _RECEIVE_MAXIMUM, 65_535),
            maximum_packet_bytes=packet_bytes if isinstance(packet_bytes, int) else None,
            authentication_method=method if isinstance(method, str) else None,
        )

    def _will(self, fields: _Fields, qos: int, retain: bool) -> Will:
        if self.level == 5:
            fields.properties(_OF_WILL)
        topic = fields.topic()
        if not topic:
            raise _BadPacket(Reason.PROTOCOL_ERROR, "a will without a topic")
        return Will(topic, fields.binary(), qos, retain)

    def _puback(self, fields: _Fields) -> PubAck:
        packet_id = fields.packet_id()
        reason = fields.u8() if self.level == 5 and fields.more else Reason.SUCCESS
        if self.level == 5 and fields.more:
            fields.properties(_OF_ACK)
        return PubAck(packet_id, reason)

    def _subscribe(self, fields: _Fields) -> Subscribe:
        packet_id = fields.packet_id()
        if self.level == 5 and _SUBSCRIPTION_ID in fields.properties(_OF_SUBSCRIBE):
            raise _BadPacket(Reason.SUBSCRIPTION_IDS_NOT_SUPPORTED, "a subscription identifier")
        filters: list[tuple[str, int]] = []
        reserved = 0xC0 if self.level == 5 else 0xFC
        while fields.more or not filters:
            topic_filter, options = fields.text(), fields.u8()
            if not topic_filter or options & 3 == 3 or options & reserved or options & 0x30 == 0x30:
                raise _BadPacket(Reason.MALFORMED, "SUBSCRIBE with an empty filter or impossible options")
            filters.append((topic_filter, options & 3))
        return Subscribe(packet_id, tuple(filters))

    def _unsubscribe(self, fields: _Fields) -> Unsubscribe:
        packet_id = fields.packet_id()
        if self.level == 5:
            fields.properties(_OF_UNSUBSCRIBE)
        filters = [fields.text()]
        while fields.more:
            filters.append(fields.text())
        return Unsubscribe(packet_id, tuple(filters))

    def _disconnect(self, fields: _Fields) -> Disconnect:
        if self.level == 4 or not fields.more:
            return Disconnect()
        reason = fields.u8()
        properties = fields.properties(_OF_DISCONNECT) if fields.more else {}
        expiry_s = properties.get(_SESSION_EXPIRY)
        return Disconnect(reason, expiry_s if isinstance(expiry_s, int) else None)


# ------------------------------------------------------------------------------------------- what the server says


def connack(level: int, reason: Reason, session_present: bool = False, announced: Announced | None = None) -> bytes:
    """The answer to a CONNECT; empty where 3.1.1 has no word for the reason and only closing is left."""
    if level == 4:
        code = _RETURN_CODES_3.get(reason)
        return b"" if code is None else bytes((_CONNACK, 2, session_present, code))
    properties = b"" if announced is None else _announcement(announced)
    return _packet(_CONNACK, bytes((session_present, reason)) + _block(properties))


def _announcement(a: Announced) -> bytes:
    properties = struct.pack("!BH", _RECEIVE_MAXIMUM, a.receive_maximum)
    properties += struct.pack("!BI", _MAXIMUM_PACKET, a.maximum_packet_bytes)
    properties += struct.pack("!BH", _ALIAS_MAXIMUM, a.alias_maximum)
    properties += bytes((_MAXIMUM_QOS, 1, _SUBSCRIPTION_IDS_AVAILABLE, 0, _SHARED_AVAILABLE, 0))
    if a.session_expiry_s is not None:
        properties += struct.pack("!BI", _SESSION_EXPIRY, a.session_expiry_s)
    if a.assigned_id is not None:
        properties += bytes((_ASSIGNED_ID,)) + _text(a.assigned_id)
    return properties


def publish(level: int, message: Publish) -> bytes:
    """A message for the client, without properties."""
    flags = message.dup << 3 | message.qos << 1 | message.retain
    packet_id = message.packet_id.to_bytes(2) if message.qos else b""
    properties = b"\0" if level == 5 else b""
    return _packet(_PUBLISH | flags, _text(message.topic) + packet_id + properties + message.payload)


def pubacks(packet_ids: Iterable[int]) -> bytes:
    """One PUBACK each, in order; the short form that both versions share and that means success."""
    return b"".join([b"\x40\x02" + packet_id.to_bytes(2) for packet_id in packet_ids])


def suback(level: int, packet_id: int, codes: Iterable[int]) -> bytes:
    """`codes`: the granted QoS or a `Reason` ≥ 0x80, one for each filter; 3.1.1 knows but one failure."""
    said = bytes(codes) if level == 5 else bytes(min(code, 0x80) for code in codes)
    return _packet(_SUBACK, packet_id.to_bytes(2) + (b"\0" if level == 5 else b"") + said)


def unsuback(level: int, packet_id: int, codes: Iterable[int]) -> bytes:
    """3.1.1 says only that it was done."""
    said = b"\0" + bytes(codes) if level == 5 else b""
    return _packet(_UNSUBACK, packet_id.to_bytes(2) + said)


def disconnect(level: int, reason: Reason, text: str = "") -> bytes:
    """Why the server closes, with words for whoever reads the device's log; 3.1.1 has no such packet: empty."""
    if level != 5:
        return b""
    properties = bytes((_REASON_STRING,)) + _text(text) if text else b""
    return _packet(_DISCONNECT, bytes((reason,)) + _block(properties))


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + _variable(len(body)) + body


def _block(properties: bytes) -> bytes:
    return _variable(len(properties)) + properties


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2) + data


def _variable(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
