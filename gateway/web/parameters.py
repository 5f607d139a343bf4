"""What clients send: cursors, times, types, ids and documents, checked before anything is done with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, Reference, RequestBody, Schema
from litestar.params import FromPath, QueryParameter
from msgspec import Struct

from gateway.cloudevents import TYPE_PREFIX, TYPE_VERSION
from gateway.journal import Journal
from gateway.model import Assignment, entry_of
from gateway.problems import BadInput, Problem
from gateway.times import parse_rfc3339, rfc3339

T = TypeVar("T")

LIMIT_MAX = 5_000
TYPES_MAX = 100
ROW_ID_MAX = 2**63 - 1

Cursor = Annotated[
    str | None, QueryParameter(description="Go on after this cursor, one that an answer gave; 0 is the oldest kept.")
]
Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)]
Types = Annotated[
    str,
    QueryParameter(name="type", description="Only these types, with commas: stop.arrived,eta.late", max_length=4_000),
]
OneVehicle = Annotated[str | None, QueryParameter(description="Only what is about this vehicle.")]
Id = FromPath[str]
After = Annotated[int, QueryParameter(ge=0, le=ROW_ID_MAX, description="Go on after the frame of this id.")]
Instant = Annotated[str | None, QueryParameter(description="RFC 3339, with its zone")]


class DeviceDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device reports for a vehicle, from a moment on, until another; without them always. A vehicle that has several
    devices is driven by the `primary` one.
    """

    device_id: str
    vehicle_id: str
    valid_from: str | None = None
    valid_to: str | None = None
    primary: bool = True


def cursor_of(text: str | None, journal: Journal, otherwise: int) -> int:
    """The sequence number that a cursor stands for. One of another journal is refused: nothing would ever follow it."""
    if not text:
        return otherwise
    fix = "send one that an answer gave you, or 0 for the oldest that is kept"
    if not (text.isascii() and text.isdecimal()):
        raise BadInput([Problem("cursor", f"{text[:40]!r} is none of ours", fix)])
    if len(text) > 19 or entry_of(int(text)) > journal.last_entry_id:
        raise BadInput([Problem("cursor", f"{text[:40]!r} lies in the future of this journal", fix)])
    return int(text)


def types_of(text: str) -> frozenset[str]:
    """The types that are wanted, as the journal names them; those of the envelope ("fleet.stop.arrived.v1") do, too."""
    names = frozenset(t.removeprefix(TYPE_PREFIX).removesuffix(TYPE_VERSION) for t in text.split(",") if t)
    if len(names) > TYPES_MAX:
        raise BadInput([Problem("type", f"names {len(names)} types", f"name {TYPES_MAX} at most, or none for all")])
    return names


def instant(text: str | None, name: str, otherwise_ms: int) -> int:
    if text is None:
        return otherwise_ms
    try:
        return parse_rfc3339(text.replace(" ", "+"))  # a plus sign that was not escaped arrives as a blank
    except ValueError as e:
        raise BadInput([Problem(name, str(e), "write RFC 3339, for example 2026-03-02T08:30:00Z")]) from e


def decoded(body: bytes, kind: type[T], where: str) -> T:
    """A document from JSON. Raises BadInput that names the key."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as e:
        what, _, path = str(e).partition(" - at `$")
        raise BadInput([Problem(f"{where}{path.rstrip('`')}", what, "see /schema/openapi.json")]) from e
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadInput([Problem(where, f"is not JSON: {e}", "send a JSON object")]) from e


def assignment_of(document: DeviceDocument) -> Assignment:
    """Raises BadInput."""
    problems = [
        Problem(f"device.{name}", "is empty", "write the id")
        for name in ("device_id", "vehicle_id")
        if not getattr(document, name)
    ]
    from_ms = instant(document.valid_from, "device.valid_from", 0)
    to_ms = None if document.valid_to is None else instant(document.valid_to, "device.valid_to", 0)
    if to_ms is not None and to_ms <= from_ms:
        problems.append(Problem("device.valid_to", "does not lie after valid_from", "exchange them, or mend the date"))
    if problems:
        raise BadInput(problems)
    return Assignment(
        device_id=document.device_id,
        vehicle_id=document.vehicle_id,
        valid_from_ms=from_ms,
        valid_to_ms=to_ms,
        primary=document.primary,
    )


def device_document(a: Assignment) -> DeviceDocument:
    return DeviceDocument(
        device_id=a.device_id,
        vehicle_id=a.vehicle_id,
        valid_from=rfc3339(a.valid_from_ms) if a.valid_from_ms else None,
        valid_to=None if a.valid_to_ms is None else rfc3339(a.valid_to_ms),
        primary=a.primary,
    )


def must_equal(where: str, found: str, address: str) -> None:
    if found != address:
        raise BadInput([Problem(where, f"is {found!r}, the address says {address!r}", "make them equal")])


# Documents are decoded by us, in a thread and strictly, not by the framework: the OpenAPI document is told what they are.


def _body(schema: Schema | Reference, media_type: str = "application/json") -> RequestBody:
    return RequestBody(content={media_type: OpenAPIMediaType(schema=schema)}, required=True)


@dataclass
class TakesPlan(Operation):
    def __post_init__(self) -> None:
        self.request_body = _body(Reference(ref="#/components/schemas/PlanDocument"))


@dataclass
class TakesDevice(Operation):
    def __post_init__(self) -> None:
        self.request_body = _body(Reference(ref="#/components/schemas/DeviceDocument"))


@dataclass
class TakesGeoJson(Operation):
    def __post_init__(self) -> None:
        what = "A GeoJSON Feature or FeatureCollection: Polygon, MultiPolygon, Point with radius_m, LineString with width_m"
        self.request_body = _body(Schema(type=OpenAPIType.OBJECT, description=what), "application/geo+json")
