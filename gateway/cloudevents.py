"""Events as CloudEvents 1.0: the envelope that every sink delivers, and the identity that survives a replay."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
from msgspec import Struct

from gateway.model import Event, FrameItem, Position, Scalar, Verdict
from gateway.times import rfc3339

TYPE_PREFIX = "fleet."
TYPE_VERSION = ".v1"
NAMESPACE = uuid.UUID("6f2d1c0a-7b0e-5d7e-9c55-0f6b4a4c1d11")
"""Ours alone, fixed for ever: an id is UUIDv5 of this and the event's key, revision and content."""

_stored = msgspec.msgpack.Decoder(Event)


class Named(Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    version: int | None = None
    external_ids: dict[str, str] = msgspec.field(default_factory=dict)


class StopData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    sequence: int
    kind: str
    site_id: str | None = None
    window_start: str | None = None
    window_end: str | None = None
    tz: str | None = None
    scheduled_arrival: str | None = None
    external_ids: dict[str, str] = msgspec.field(default_factory=dict)


class PositionData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    lat_deg: float | None
    lon_deg: float | None
    time: str | None = None
    accuracy_m: float | None = None
    speed_mps: float | None = None
    course_deg: float | None = None
    altitude_m: float | None = None
    kind: str | None = None
    valid: bool
    satellites: int | None = None
    hdop: float | None = None
    attributes: dict[str, Scalar] = msgspec.field(default_factory=dict)
    marks: tuple[str, ...] = ()


class EvidenceData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    fixes: tuple[str, ...] = ()
    rule: str = ""
    rule_version: int = 1
    zone: str | None = None
    zone_version: int | None = None
    reasons: tuple[str, ...] = ()


class Previous(Struct, frozen=True):
    occurred_at: str


class EventData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an event says; absent means not known or not applicable. The figures of a type stand in `measures`."""

    key: str
    revision: int
    status: str
    occurred_at: str
    detected_at: str
    seq: int
    cursor: str
    emitted_at: str | None = None
    supersedes: str | None = None
    cause: str | None = None
    occurred_at_min: str | None = None
    occurred_at_max: str | None = None
    stationary_at: str | None = None
    complete_to: str | None = None
    late: bool = False
    replay: bool = False
    confidence: float | None = None
    source_of_claim: str | None = None
    vehicle: Named | None = None
    device: Named | None = None
    plan: Named | None = None
    stop: StopData | None = None
    fence: Named | None = None
    position: PositionData | None = None
    lateness_s: float | None = None
    early_late: str | None = None
    distance_to_stop_m: float | None = None
    method: str | None = None
    evidence: EvidenceData | None = None
    previous: Previous | None = None
    measures: dict[str, Scalar | None] = msgspec.field(default_factory=dict)


class CloudEvent(Struct, frozen=True, kw_only=True):
    """CloudEvents 1.0, structured JSON. `sequence` and `partitionkey` are registered extensions."""

    id: str
    type: str
    source: str
    subject: str
    time: str
    partitionkey: str
    sequence: str
    data: EventData
    specversion: str = "1.0"
    datacontenttype: str = "application/json"


def event_id(event: Event) -> str:
    """UUIDv5 over key, revision and what is said; not over seq, detection or emission."""
    meaning = msgspec.structs.replace(event, seq=0, detected_ms=0, complete_to_ms=None)
    # Through the journal's encoding and back: a float field that holds an int is a float there, and so in the id.
    kept = _stored.decode(msgspec.msgpack.encode(meaning))
    return str(uuid.uuid5(NAMESPACE, msgspec.json.encode(kept, order="deterministic").hex()))


def cloud_event(event: Event, source: str, emitted_ms: int | None = None) -> CloudEvent:
    """The event as subscribers get it. `source` is the gateway's URI reference, such as "/gateway/eu-1"."""
    return CloudEvent(
        id=event_id(event),
        type=f"{TYPE_PREFIX}{event.type}{TYPE_VERSION}",
        source=source,
        subject=f"vehicle/{event.vehicle_id}",
        time=rfc3339(event.time_ms),
        partitionkey=event.vehicle_id,
        sequence=f"{event.seq:019d}",
        data=_data(event, emitted_ms),
    )


def encode(event: Event, source: str, emitted_ms: int | None = None) -> bytes:
    """The CloudEvent's JSON, keys in a fixed order: the same event is the same bytes."""
    return msgspec.json.encode(cloud_event(event, source, emitted_ms))


def _data(e: Event, emitted_ms: int | None) -> EventData:
    plan = None
    if e.plan_id is not None:
        plan = Named(id=e.plan_id, version=e.plan_version, external_ids=e.plan_external_ids)
    return EventData(
        key=e.key,
        revision=e.revision,
        status=e.status,
        occurred_at=rfc3339(e.time_ms),
        detected_at=rfc3339(e.detected_ms),
        seq=e.seq,
        cursor=str(e.seq),
        emitted_at=_time(emitted_ms),
        supersedes=e.supersedes,
        cause=e.cause,
        occurred_at_min=_time(e.occurred_min_ms),
        occurred_at_max=_time(e.occurred_max_ms),
        stationary_at=_time(e.stationary_ms),
        complete_to=_time(e.complete_to_ms),
        late=e.late,
        confidence=e.confidence,
        source_of_claim=e.source_of_claim,
        vehicle=Named(id=e.vehicle_id),
        device=Named(id=e.device_id) if e.device_id else None,
        plan=plan,
        stop=_stop(e),
        fence=Named(id=e.fence_id, version=e.fence_version) if e.fence_id else None,
        position=position_data(e.position) if e.position else None,
        lateness_s=e.lateness_s,
        early_late=e.early_late,
        distance_to_stop_m=e.distance_to_stop_m,
        method=e.method,
        evidence=_evidence(e),
        previous=Previous(rfc3339(e.previous_ms)) if e.previous_ms is not None else None,
        measures=_measures(e.measures),
    )


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else rfc3339(time_ms)


def _stop(e: Event) -> StopData | None:
    s = e.stop
    if s is None:
        return None
    return StopData(
        id=s.stop_id,
        sequence=s.sequence,
        kind=s.kind,
        site_id=s.site_id,
        window_start=_time(s.window_start_ms),
        window_end=_time(s.window_end_ms),
        tz=s.tz,
        scheduled_arrival=_time(s.scheduled_arrival_ms),
        external_ids=s.external_ids,
    )


def _evidence(e: Event) -> EvidenceData | None:
    v = e.evidence
    if v is None:
        return None
    return EvidenceData(
        fixes=tuple(rfc3339(t) for t in v.fixes_ms),
        rule=v.rule,
        rule_version=v.rule_version,
        zone=v.zone,
        zone_version=v.zone_version,
        reasons=v.reasons,
    )


def position_data(p: Position) -> PositionData:
    return PositionData(
        lat_deg=p.lat_deg,
        lon_deg=p.lon_deg,
        time=_time(p.time_ms),
        accuracy_m=p.accuracy_m,
        speed_mps=p.speed_mps,
        course_deg=p.course_deg,
        altitude_m=p.altitude_m,
        kind=p.fix,
        valid=p.valid,
        satellites=p.satellites,
        hdop=p.hdop,
        attributes=p.attributes,
        marks=p.marks,
    )


def _measures(measures: dict[str, Any]) -> dict[str, Any]:
    """Times are integers under `_ms` inside and RFC 3339 under the bare name outside."""
    return {
        (k.removesuffix("_ms")): (rfc3339(v) if k.endswith("_ms") and v is not None else v) for k, v in measures.items()
    }


def position_updated(item: FrameItem, verdict: Verdict, seq: int) -> Event:
    """The `position.updated` of one journaled fix; marked where it drove nothing. It is derived, never stored."""
    position, ordinal = item.messages[verdict.message], item.ordinals[verdict.message]
    if not isinstance(position, Position) or position.time_ms is None:
        raise TypeError("a verdict points at a position with a fix time")
    return Event(
        type="position.updated",
        key=f"vehicle/{verdict.vehicle_id}/position.updated/{position.device_id}/{position.time_ms}/{ordinal}",
        time_ms=position.time_ms,
        detected_ms=item.received_ms,
        vehicle_id=verdict.vehicle_id,
        seq=seq,
        late="late" in verdict.marks,
        device_id=position.device_id,
        position=position,
        measures={"standing": ",".join(verdict.marks) or "live"},
    )
