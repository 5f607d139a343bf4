"""The HTTP API, version 1: vehicles, plans, fences, devices, events and the live stream."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, NoReturn

import msgspec
from litestar import Request, delete, get, put
from litestar.datastructures import State
from litestar.exceptions import ClientException, NotFoundException
from litestar.params import QueryParameter
from litestar.response import Stream
from msgspec import Struct

from gateway import cloudevents
from gateway.cloudevents import CloudEvent
from gateway.documents import PlanDocument, PositionDocument, plan_document, plan_of, position_document
from gateway.geofence import fences_document, read_fences
from gateway.journal import Accounting
from gateway.model import Assignment, Command, DevicePut, FenceRemove, FencesPut, PlanPut, PlanRemove
from gateway.problems import BadInput, Problem
from gateway.times import parse_rfc3339, rfc3339
from gateway.web.fleet import FleetDocument, VehicleDocument, fleet_document, vehicle_document
from gateway.web.state import WebState
from gateway.web.stream import Filter, server_sent

DAY_MS = 86_400_000
LIMIT_MAX = 5_000

Cursor = Annotated[str | None, QueryParameter(description="Go on after this cursor; 0 is the oldest that is kept.")]
Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)]
Types = Annotated[str, QueryParameter(name="type", description="Only these types, with commas: stop.arrived,eta.late")]


class Accepted(Struct, frozen=True):
    """A command is on disk, as this entry of the journal."""

    entry_id: int


class EventsPage(Struct, frozen=True):
    events: list[CloudEvent]
    cursor: str


class DeviceDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    device_id: str
    vehicle_id: str
    valid_from: str | None = None
    valid_to: str | None = None


class QuarantineDocument(Struct, frozen=True, kw_only=True):
    id: int
    received: str
    source: str
    protocol: str
    device_id: str | None
    topic: str | None
    reason: str
    raw_hex: str


def web(state: State) -> WebState:
    found: WebState = state["web"]
    return found


def missing(what: str, name: str) -> NoReturn:
    raise NotFoundException(f"there is no {what} {name!r}")


def cursor_of(text: str | None, otherwise: int) -> int:
    if text is None or text == "":
        return otherwise
    if not text.isdecimal() or len(text) > 19:
        raise ClientException(f"cursor {text!r} is none of ours: send one that an answer gave you, or 0")
    return int(text)


def instant(text: str | None, name: str, otherwise_ms: int) -> int:
    if text is None:
        return otherwise_ms
    try:
        return parse_rfc3339(text.replace(" ", "+"))  # a plus sign that a client did not escape arrives as a blank
    except (ValueError, OverflowError) as e:
        raise BadInput([Problem(name, str(e), "write RFC 3339, for example 2026-03-02T08:30:00Z")]) from e


async def journaled(state: State, command: Command) -> Accepted:
    return Accepted(entry_id=await web(state).intake.command(command))


@get("/v1/vehicles")
async def vehicles(state: State) -> list[VehicleDocument]:
    """Every vehicle: where it is, since when, its plan and its next stops with their ETAs."""
    now_ms = web(state).now_ms()
    return await web(state).ask(lambda engine: [vehicle_document(v, now_ms) for v in engine.vehicles()])


@get("/v1/vehicles/{vehicle_id:str}")
async def vehicle(state: State, vehicle_id: str) -> VehicleDocument:
    now_ms = web(state).now_ms()
    found = await web(state).ask(
        lambda engine: [vehicle_document(v, now_ms) for v in engine.vehicles() if v.vehicle_id == vehicle_id]
    )
    return found[0] if found else missing("vehicle", vehicle_id)


@get("/v1/snapshot")
async def snapshot(state: State) -> FleetDocument:
    """State and cursor to start from: read this, then the stream from its `cursor`, and nothing is missed."""
    cursor, now_ms = web(state).concluded.value, web(state).now_ms()
    return await web(state).ask(lambda engine: fleet_document(engine, cursor, now_ms))


@get("/v1/devices/{device_id:str}/track")
async def track(
    state: State, device_id: str, start: str | None = None, end: str | None = None, limit: Limit = 1_000
) -> list[PositionDocument]:
    """The fixes that are kept of a device, by fix time; the last day unless `start` and `end` say otherwise."""
    end_ms = instant(end, "end", web(state).now_ms() + DAY_MS)
    start_ms = instant(start, "start", end_ms - 2 * DAY_MS)
    fixes = await asyncio.to_thread(web(state).journal.track, device_id, start_ms, end_ms, limit)
    return [position_document(f.position, f.received_ms) for f in fixes]


@get("/v1/devices")
async def devices(state: State) -> list[DeviceDocument]:
    """Which device reports for which vehicle."""
    found = await web(state).ask(lambda engine: list(engine.assignments()))
    return [
        DeviceDocument(
            device_id=a.device_id,
            vehicle_id=a.vehicle_id,
            valid_from=rfc3339(a.valid_from_ms) if a.valid_from_ms else None,
            valid_to=None if a.valid_to_ms is None else rfc3339(a.valid_to_ms),
        )
        for a in found
    ]


@put("/v1/devices/{device_id:str}")
async def put_device(state: State, device_id: str, data: DeviceDocument) -> Accepted:
    """Registers a device for a vehicle. What it sends from now on is admitted."""
    if data.device_id != device_id:
        raise BadInput(
            [Problem("device_id", f"is {data.device_id!r}, the address says {device_id!r}", "make them equal")]
        )
    assignment = Assignment(
        device_id=device_id,
        vehicle_id=data.vehicle_id,
        valid_from_ms=instant(data.valid_from, "valid_from", 0),
        valid_to_ms=None if data.valid_to is None else instant(data.valid_to, "valid_to", 0),
    )
    return await journaled(state, DevicePut(web(state).now_ms(), assignment))


@get("/v1/plans")
async def plans(state: State) -> list[PlanDocument]:
    """The plans that are in force."""
    return await web(state).ask(lambda engine: [plan_document(p) for p in engine.plans()])


@put("/v1/plans/{plan_id:str}")
async def put_plan(state: State, plan_id: str, data: PlanDocument) -> Accepted:
    """Adds a plan or replaces it. A plan with a mistake is refused with all its problems; the one before stays."""
    plan, problems = plan_of(data, "plan")
    if data.plan_id != plan_id:
        what = f"is {data.plan_id!r}, the address says {plan_id!r}"
        problems.append(Problem("plan.plan_id", what, "make them equal"))
    if not web(state).registry.knows_vehicle(data.vehicle_id):
        what = f"no vehicle {data.vehicle_id!r} is known"
        problems.append(Problem("plan.vehicle_id", what, "register a device for it first, or correct the id"))
    if problems or plan is None:
        raise BadInput(problems)
    return await journaled(state, PlanPut(web(state).now_ms(), plan))


@delete("/v1/plans/{plan_id:str}", status_code=200)
async def remove_plan(state: State, plan_id: str) -> Accepted:
    """Takes a plan out of force."""
    known = await web(state).ask(lambda engine: any(p.plan_id == plan_id for p in engine.plans()))
    if not known:
        missing("plan", plan_id)
    return await journaled(state, PlanRemove(web(state).now_ms(), plan_id))


@get("/v1/fences", media_type="application/geo+json")
async def fences(state: State) -> dict[str, Any]:
    """The fences that are in force, as GeoJSON."""
    return fences_document(await web(state).ask(lambda engine: list(engine.fences())))


@put("/v1/fences")
async def put_fences(state: State, data: dict[str, Any]) -> Accepted:
    """Adds the fences of a GeoJSON document, or replaces those of the same id; the others stay."""
    found = await asyncio.to_thread(read_fences, msgspec.json.encode(data), "fences")
    return await journaled(state, FencesPut(web(state).now_ms(), tuple(found)))


@delete("/v1/fences/{fence_id:str}", status_code=200)
async def remove_fence(state: State, fence_id: str) -> Accepted:
    """Removes a fence."""
    known = await web(state).ask(lambda engine: any(f.fence_id == fence_id for f in engine.fences()))
    if not known:
        missing("fence", fence_id)
    return await journaled(state, FenceRemove(web(state).now_ms(), fence_id))


@get("/v1/events")
async def events(
    state: State,
    cursor: Cursor = None,
    limit: Limit = 500,
    types: Types = "",
    vehicle: str | None = None,
) -> EventsPage:
    """Events after a cursor, oldest first. Ask again with the answer's cursor; an empty page means: up to date."""
    after = cursor_of(cursor, 0)
    wanted = frozenset(t for t in types.split(",") if t)
    found = await asyncio.to_thread(
        web(state).journal.events, after, limit, types=wanted or None, vehicle_id=vehicle, before_seq=None
    )
    last = found[-1].event.seq if len(found) == limit else max(after, web(state).concluded.value)
    told = [cloudevents.cloud_event(s.event, web(state).source, s.emitted_ms) for s in found]
    return EventsPage(events=told, cursor=str(last))


@get("/v1/stream", media_type="text/event-stream")
async def stream(
    request: Request[Any, Any, State],
    state: State,
    cursor: Cursor = None,
    types: Types = "",
    vehicle: str | None = None,
    positions: bool = False,
) -> Stream:
    """Server-sent events from `Last-Event-ID` or `cursor` on, else from now; with `positions=true` every fix, too."""
    web_state = web(state)
    if web_state.streams >= web_state.options.streams_max:
        web_state.streams_refused += 1
        raise ClientException(f"{web_state.streams} streams are open, no more are served", status_code=503)
    after = cursor_of(request.headers.get("last-event-id") or cursor, web_state.concluded.value)
    wanted = Filter(frozenset(t for t in types.split(",") if t), vehicle, positions)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return Stream(server_sent(web_state, after, wanted), media_type="text/event-stream", headers=headers)


@get("/v1/accounting")
async def accounting(state: State) -> Accounting:
    """What became of everything that was received: received = journaled + duplicate + quarantined + state only."""
    return await asyncio.to_thread(web(state).journal.accounting)


@get("/v1/quarantine")
async def quarantine(state: State, after: int = 0, limit: Limit = 100) -> list[QuarantineDocument]:
    """What could not be taken, with the reason and the raw bytes."""
    rows = await asyncio.to_thread(web(state).journal.quarantined, after, limit)
    return [
        QuarantineDocument(
            id=q.id,
            received=rfc3339(q.received_ms),
            source=q.source,
            protocol=q.protocol,
            device_id=q.device_id,
            topic=q.topic,
            reason=q.reason,
            raw_hex=q.raw.hex(),
        )
        for q in rows
    ]


ROUTES = [
    vehicles, vehicle, snapshot, track, devices, put_device, plans, put_plan, remove_plan, fences, put_fences, remove_fence,
    events, stream, accounting, quarantine,
]  # fmt: skip
