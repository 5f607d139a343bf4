"""The packets of MQTT 3.1.1 and 5 that an ingest endpoint reads, and the reasons it gives.

Source: OASIS MQTT Version 5.0 (7 March 2019); what 3.1.1 cannot say has the value that means the same.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

from msgspec import Struct


class Reason(IntEnum):
    """Reason codes of version 5 (section 2.4) that this server says or reads."""

    SUCCESS = 0x00
    DISCONNECT_WITH_WILL = 0x04
    NO_SUBSCRIPTION_EXISTED = 0x11
    UNSPECIFIED = 0x80
    MALFORMED = 0x81
    PROTOCOL_ERROR = 0x82
    UNSUPPORTED_VERSION = 0x84
    CLIENT_ID_INVALID = 0x85
    BAD_CREDENTIALS = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_BUSY = 0x89
    SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    TAKEN_OVER = 0x8E
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    QOS_NOT_SUPPORTED = 0x9B
    SUBSCRIPTION_IDS_NOT_SUPPORTED = 0xA1


class Fault(Struct, frozen=True):
    """Why the stream cannot go on: the code for the peer, and plain words for the log."""

    reason: Reason
    text: str


class Will(Struct, frozen=True):
    topic: str
    payload: bytes
    qos: int
    retain: bool


class Connect(Struct, frozen=True, kw_only=True):
    """`level` 4 is MQTT 3.1.1, 5 is MQTT 5. What version 3.1.1 cannot say has the value that means the same."""

    level: int
    client_id: str
    clean: bool
    keep_alive_s: int
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None
    session_expiry_s: int = 0
    receive_maximum: int = 65_535
    maximum_packet_bytes: int | None = None
    authentication_method: str | None = None


class Publish(Struct, frozen=True, gc=False):
    """`topic` is whole: aliases are resolved. `packet_id` is 0 at QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0


class PubAck(Struct, frozen=True):
    packet_id: int
    reason: int = Reason.SUCCESS


class Subscribe(Struct, frozen=True):
    """`filters`: (topic filter, maximum QoS) in the order asked."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


class Unsubscribe(Struct, frozen=True):
    packet_id: int
    filters: tuple[str, ...]


class PingReq(Struct, frozen=True):
    pass


class Disconnect(Struct, frozen=True):
    """`session_expiry_s`: a new expiry interval, None where the client keeps the one of its CONNECT."""

    reason: int = Reason.SUCCESS
    session_expiry_s: int | None = None


Packet: TypeAlias = Connect | Publish | PubAck | Subscribe | Unsubscribe | PingReq | Disconnect


class Announced(Struct, frozen=True, kw_only=True):
    """What a CONNACK of version 5 tells the client. `session_expiry_s`, `assigned_id`: None where it was as asked."""

    receive_maximum: int
    maximum_packet_bytes: int
    alias_maximum: int
    session_expiry_s: int | None = None
    assigned_id: str | None = None
