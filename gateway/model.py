"""The words every part of the gateway shares, and nothing else.

Time is `time_ms`: integer UTC milliseconds since 1970. Speeds are m/s, distances m, angles degrees true clockwise from
north, latitude and longitude degrees WGS84, altitude m above mean sea level. `None` means "not known", never zero.

The structs are frozen. Those that the journal writes by the million are `array_like`: their fields are stored by position,
so new fields go at the END and carry a default, and no field is ever removed. `gateway.documents` has the outward JSON.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

FixKind: TypeAlias = Literal["none", "2d", "3d", "gnss", "estimated", "manual", "simulated", "network"]
"""What stands behind a position: no fix; a 2D or 3D GNSS fix; a GNSS fix of unstated dimension (`gnss`); dead reckoning
(`estimated`); set by hand; a simulator; cell towers or Wi-Fi (`network`, hundreds of metres wide)."""

Scalar: TypeAlias = str | int | float | bool


# ------------------------------------------------------------------------------------------- what a device says


class Position(Struct, frozen=True, kw_only=True, array_like=True, tag="position"):
    """One fix of one device.

    `time_ms` is when the receiver fixed it; `device_time_ms` when the device composed its message, where it says so;
    the receive time belongs to the frame. `accuracy_m` is the radius that holds the truth with 68 %; codecs convert to it.
    `marks` names what was done to the fix, sorted: "time_corrected", "time_from_receipt", "speed_derived" ….
    """

    device_id: str
    time_ms: int | None
    lat_deg: float | None
    lon_deg: float | None
    altitude_m: float | None = None
    speed_mps: float | None = None
    course_deg: float | None = None
    fix: FixKind | None = None
    valid: bool = True
    satellites: int | None = None
    hdop: float | None = None
    accuracy_m: float | None = None
    attributes: dict[str, Scalar] = msgspec.field(default_factory=dict)
    device_time_ms: int | None = None
    marks: tuple[str, ...] = ()


class Login(Struct, frozen=True, kw_only=True, array_like=True, tag="login"):
    """A device said who it is. Frames that follow on the same connection belong to it."""

    device_id: str
    attributes: dict[str, Scalar] = msgspec.field(default_factory=dict)


class Status(Struct, frozen=True, kw_only=True, array_like=True, tag="status"):
    """A message that carries state and no fix: a heartbeat, a last will, a transition that a phone computed.

    `kind` is a short word of the field: "heartbeat", "link_lost", "transition", "text", "configuration" ….
    """

    device_id: str
    kind: str
    time_ms: int | None = None
    attributes: dict[str, Scalar] = msgspec.field(default_factory=dict)


class Reply(Struct, frozen=True, kw_only=True, array_like=True, tag="reply"):
    """Bytes the device waits for. `after_commit`: only once what it sent is on disk (else it forgets what we lost)."""

    data: bytes
    after_commit: bool = True


class Malformed(Struct, frozen=True, kw_only=True, array_like=True, tag="malformed"):
    """Bytes that could not be read; goes to quarantine with its frame's raw bytes. `reason` is plain words."""

    reason: str
    device_id: str | None = None


Message: TypeAlias = Position | Login | Status | Reply | Malformed


class Frame(Struct, frozen=True, kw_only=True):
    """What a device sent as one unit (a packet, a datagram, an NMEA epoch), and what it says.

    `raw` is exactly what was on the wire. An empty `messages` is legal: recognised, and of no interest (counted).
    """

    raw: bytes
    messages: tuple[Message, ...]


# ------------------------------------------------------------------------------------------- what the journal keeps


class Received(Struct, frozen=True, kw_only=True):
    """A frame on its way into the journal: who brought it, when, and what the transport knew.

    `device_id` is what the transport binds (credential, topic, port); messages of the frame carry their own.
    `retained`: the broker replayed an old message, so everything in it is state and none of it is a new fix.
    """

    source: str
    protocol: str
    received_ms: int
    frame: Frame
    device_id: str | None = None
    retained: bool = False
    topic: str | None = None


class FrameItem(Struct, frozen=True, kw_only=True, array_like=True, tag="frame"):
    """A journaled frame. `messages` holds Positions, Logins and Statuses that were accepted, duplicates removed.

    `ordinals[i]` belongs to `messages[i]`: it tells apart two different fixes of one device and one instant (0 for the
    first); -1 for a message that is state only (a retained position, a status). `duplicates` counts what was removed:
    the device is alive, and said nothing new.
    """

    source: str
    protocol: str
    received_ms: int
    device_id: str | None
    raw: bytes
    messages: tuple[Position | Login | Status, ...]
    ordinals: tuple[int, ...]
    duplicates: int = 0
    retained: bool = False
    topic: str | None = None


class Tick(Struct, frozen=True, array_like=True, tag="tick"):
    """Time passed and nothing else came: lets deadlines fire. Replays need no clock."""

    received_ms: int


class PlanPut(Struct, frozen=True, array_like=True, tag="plan_put"):
    received_ms: int
    plan: Plan


class PlanRemove(Struct, frozen=True, array_like=True, tag="plan_remove"):
    received_ms: int
    plan_id: str


class FencesPut(Struct, frozen=True, array_like=True, tag="fences_put"):
    """Adds or replaces fences by id; the others stay."""

    received_ms: int
    fences: tuple[Fence, ...]


class FenceRemove(Struct, frozen=True, array_like=True, tag="fence_remove"):
    received_ms: int
    fence_id: str


class DevicePut(Struct, frozen=True, array_like=True, tag="device_put"):
    received_ms: int
    assignment: Assignment


Command: TypeAlias = PlanPut | PlanRemove | FencesPut | FenceRemove | DevicePut
Item: TypeAlias = FrameItem | Tick | Command


class Entry(Struct, frozen=True, array_like=True):
    """One commit of the journal: its id (1, 2, 3 …, without holes that matter) and what it holds, in order."""

    id: int
    items: tuple[Item, ...]


class Verdict(Struct, frozen=True, array_like=True):
    """What the engine made of one journaled fix: `entry.items[item].messages[message]` was taken for that vehicle.

    `marks` is empty for a fix that drove the vehicle's state; else why it did not, sorted: "late" (older than the
    newest), "future" (beyond receive time + 60 s), "stale" (a device clock or week number that cannot be right),
    "invalid", "secondary" (not the vehicle's primary device).
    """

    item: int
    message: int
    vehicle_id: str
    marks: tuple[str, ...] = ()


SEQ_BITS = 18
"""`seq` of the n-th thing said because of entry e is `(e << SEQ_BITS) + n`: one strictly rising number that the same
journal always yields, and a cursor for every reader. 2**18 things an entry; exact in a JSON number until entry 2**35."""


def seq_of(entry_id: int, index: int) -> int:
    """The sequence number of thing `index` (positions first, then events) of an entry."""
    if index >> SEQ_BITS:
        raise OverflowError(f"entry {entry_id} says more than {1 << SEQ_BITS} things")
    return (entry_id << SEQ_BITS) + index


def entry_of(seq: int) -> int:
    return seq >> SEQ_BITS


# ------------------------------------------------------------------------------------------- what dispatch knows


class Assignment(Struct, frozen=True, kw_only=True):
    """Device `device_id` reports for vehicle `vehicle_id` from `valid_from_ms` on, until `valid_to_ms` (None: open)."""

    device_id: str
    vehicle_id: str
    valid_from_ms: int = 0
    valid_to_ms: int | None = None
    primary: bool = True
    external_ids: dict[str, str] = msgspec.field(default_factory=dict)


class Stop(Struct, frozen=True, kw_only=True):
    """A stop of a plan: where, when it may happen, and how long it is meant to take.

    The zone is the circle of `radius_m` round the point, or `zone` (rings of [lon, lat], the first one the shell).
    """

    stop_id: str
    sequence: int
    lat_deg: float
    lon_deg: float
    radius_m: float = 50.0
    kind: str = "delivery"
    site_id: str | None = None
    window_start_ms: int | None = None
    window_end_ms: int | None = None
    scheduled_arrival_ms: int | None = None
    service_s: float = 0.0
    tz: str | None = None
    zone: tuple[tuple[tuple[float, float], ...], ...] | None = None
    external_ids: dict[str, str] = msgspec.field(default_factory=dict)


class Plan(Struct, frozen=True, kw_only=True):
    """One vehicle's tour. `path` is the way it is to take: [(lon_deg, lat_deg), …], or None where nobody knows."""

    plan_id: str
    vehicle_id: str
    stops: tuple[Stop, ...]
    version: int = 1
    start_ms: int | None = None
    path: tuple[tuple[float, float], ...] | None = None
    external_ids: dict[str, str] = msgspec.field(default_factory=dict)


class Fence(Struct, frozen=True, kw_only=True):
    """A generic zone. `shape` and `coordinates` are GeoJSON's (lon, lat), already checked.

    Polygon: rings. MultiPolygon: polygons. Circle: [lon, lat] and `radius_m`. Corridor: line and full `width_m`.
    """

    fence_id: str
    shape: Literal["polygon", "multipolygon", "circle", "corridor"]
    coordinates: tuple[tuple[tuple[tuple[float, float], ...], ...], ...]
    """Always four deep, so that one reader serves all: polygons → rings → points. A circle is (((point,),),),
    a corridor (((points …),),)."""
    radius_m: float | None = None
    width_m: float | None = None
    name: str | None = None
    version: int = 1
    properties: dict[str, Scalar] = msgspec.field(default_factory=dict)


# ------------------------------------------------------------------------------------------- what dispatch is told

EventStatus: TypeAlias = Literal["provisional", "confirmed", "revised", "withdrawn"]


class Evidence(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why: fix times (ms) that decided, the rule, and the reasons in plain words."""

    fixes_ms: tuple[int, ...] = ()
    rule: str = ""
    rule_version: int = 1
    zone: str | None = None
    zone_version: int | None = None
    reasons: tuple[str, ...] = ()


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was concluded, and said. `type` is without prefix and version: "stop.arrived".

    `key` names the occurrence; `id` follows from key, revision and content (`gateway.documents.event_id`), so a replay
    says the same again under the same id. `measures` holds the type's own figures under names with units, as in the
    catalogue: numbers, strings, or times as integers under names that end in `_ms` (rendered RFC 3339, suffix dropped).
    """

    type: str
    key: str
    time_ms: int
    detected_ms: int
    vehicle_id: str
    seq: int = 0
    revision: int = 1
    status: EventStatus = "confirmed"
    cause: str | None = None
    supersedes: str | None = None
    occurred_min_ms: int | None = None
    occurred_max_ms: int | None = None
    stationary_ms: int | None = None
    complete_to_ms: int | None = None
    late: bool = False
    confidence: float | None = None
    source_of_claim: str | None = None
    device_id: str | None = None
    plan_id: str | None = None
    plan_version: int | None = None
    plan_external_ids: dict[str, str] = msgspec.field(default_factory=dict)
    stop: Stop | None = None
    fence_id: str | None = None
    fence_version: int | None = None
    position: Position | None = None
    lateness_s: float | None = None
    early_late: Literal["early", "on_time", "late"] | None = None
    distance_to_stop_m: float | None = None
    method: str | None = None
    evidence: Evidence | None = None
    previous_ms: int | None = None
    measures: dict[str, Scalar | None] = msgspec.field(default_factory=dict)


class Eta(Struct, frozen=True, kw_only=True):
    """When a vehicle will stand at a stop, said at `at_ms`: the 10th, 50th and 90th percentile of that moment."""

    vehicle_id: str
    plan_id: str
    stop_id: str
    at_ms: int
    p10_ms: int
    p50_ms: int
    p90_ms: int
    remaining_m: float | None = None
    age_s: float = 0.0
    method: str = ""


class Step(Struct, frozen=True, kw_only=True):
    """What the engine says of one entry. Sequence numbers: verdict i is `seq_of(entry_id, i)`, events follow."""

    entry_id: int
    verdicts: tuple[Verdict, ...]
    events: tuple[Event, ...]
