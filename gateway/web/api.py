"""The HTTP API, version 1: vehicles, plans, fences, devices, events and the live stream."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, NoReturn

import msgspec
from litestar import delete, get, post, put
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, HeaderParameter, RawBody
from msgspec import Struct

from gateway import cloudevents
from gateway.cloudevents import CloudEvent
from gateway.documents import PlanDocument, PositionDocument, plan_document, position_document
from gateway.geofence import fences_document, read_fences, read_plans
from gateway.journal import Accounting, Counts
from gateway.model import Command, DevicePut, FenceRemove, FencesPut, Plan, PlanPut, PlanRemove, seq_of
from gateway.problems import BadInput, Problem
from gateway.times import rfc3339
from gateway.web.errors import NotNow, refusals
from gateway.web.fleet import FleetDocument, VehicleDocument, fleet_document, vehicle_document, views
from gateway.web.parameters import (
    After,
    Cursor,
    DeviceDocument,
    Id,
    Instant,
    Limit,
    OneVehicle,
    TakesDevice,
    TakesGeoJson,
    TakesPlan,
    Types,
    assignment_of,
    cursor_of,
    decoded,
    device_document,
    instant,
    must_equal,
    types_of,
)
from gateway.web.state import WebState
from gateway.web.stream import EventStream, Filter, told

DAY_MS = 86_400_000
IN_FORCE_WITHIN_S = 2.0
"""How long an answer waits for the engine to have taken the command, too."""


class Accepted(Struct, frozen=True):
    """A command is on disk, as this entry of the journal."""

    entry_id: int


class EventsPage(Struct, frozen=True):
    """`cursor` is where to go on. What retention removed unread is told first, as an event `delivery.gap`."""

    events: list[CloudEvent]
    cursor: str


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


async def journaled(state: State, command: Command) -> Accepted:
    """Hands a command in; returns once it is on disk, and as a rule in force. While the disk is full none is taken."""
    intake = web(state).intake
    if intake.trouble is not None or intake.full:
        raise NotNow(f"nothing was changed: {intake.trouble or 'too much waits for the disk'}")
    try:
        msgspec.msgpack.encode(command)
    except (OverflowError, ValueError, TypeError) as e:
        raise BadInput([Problem("the document", f"cannot be kept: {e}", "write smaller numbers")]) from e
    entry_id = await intake.command(command)
    try:
        async with asyncio.timeout(IN_FORCE_WITHIN_S):
            await web(state).concluded.beyond(seq_of(entry_id, 0) - 1)
    except TimeoutError:
        pass  # the engine is catching up, and comes to it
    return Accepted(entry_id=entry_id)


async def in_force(state: State) -> list[Command]:
    """From the journal and in a thread: the engine has more urgent things to do than to copy paths."""
    return await asyncio.to_thread(web(state).journal.world)


@get("/v1/vehicles", responses=refusals())
async def vehicles(state: State) -> list[VehicleDocument]:
    """Every vehicle: where it is, since when, its plan and its next stops with their ETAs."""
    now_ms = web(state).now_ms()
    found = await views(web(state).ask)
    return await asyncio.to_thread(lambda: [vehicle_document(v, now_ms) for v in found])


@get("/v1/vehicles/{vehicle_id:str}", responses=refusals(400, 404))
async def vehicle(state: State, vehicle_id: Id) -> VehicleDocument:
    """One vehicle, as in the list of all."""
    found = await web(state).ask(lambda engine: engine.vehicle(vehicle_id))
    return vehicle_document(found, web(state).now_ms()) if found else missing("vehicle", vehicle_id)


@get("/v1/snapshot", responses=refusals())
async def snapshot(state: State) -> FleetDocument:
    """State and cursor to start from: read this, then the stream from its `cursor`, and nothing is missed."""
    cursor, now_ms = web(state).concluded.value, web(state).now_ms()
    return await asyncio.to_thread(fleet_document, await views(web(state).ask), cursor, now_ms)


@get("/v1/devices/{device_id:str}/track", responses=refusals(400))
async def track(
    state: State, device_id: Id, start: Instant = None, end: Instant = None, limit: Limit = 1_000
) -> list[PositionDocument]:
    """The fixes that are kept of a device, by fix time, oldest first; the last day unless `start` and `end` say otherwise."""
    end_ms = instant(end, "end", web(state).now_ms() + DAY_MS)
    start_ms = instant(start, "start", end_ms - 2 * DAY_MS)
    if end_ms < start_ms:
        raise BadInput([Problem("end", "lies before start", "exchange them, or mend the date")])
    fixes = await asyncio.to_thread(web(state).journal.track, device_id, start_ms, end_ms, limit)
    return [position_document(f.position, f.received_ms) for f in fixes]


@get("/v1/devices", responses=refusals())
async def devices(state: State) -> list[DeviceDocument]:
    """Which device reports for which vehicle."""
    return [device_document(c.assignment) for c in await in_force(state) if isinstance(c, DevicePut)]


@put("/v1/devices/{device_id:str}", responses=refusals(400, 413, 503), operation_class=TakesDevice)
async def put_device(state: State, device_id: Id, body: RawBody) -> Accepted:
    """Registers a device for a vehicle. What it sends from now on is admitted."""
    document = decoded(body, DeviceDocument, "device")
    must_equal("device.device_id", document.device_id, device_id)
    return await journaled(state, DevicePut(web(state).now_ms(), assignment_of(document)))


@get("/v1/plans", responses=refusals())
async def plans(state: State) -> list[PlanDocument]:
    """The plans that are in force."""
    found = await in_force(state)
    return await asyncio.to_thread(lambda: [plan_document(c.plan) for c in found if isinstance(c, PlanPut)])


@put("/v1/plans/{plan_id:str}", responses=refusals(400, 413, 503), operation_class=TakesPlan)
async def put_plan(state: State, plan_id: Id, body: RawBody) -> Accepted:
    """Adds a plan or replaces it. A plan with a mistake is refused with all its problems; the one before stays."""
    plan = await asyncio.to_thread(_plan, web(state), body)
    must_equal("plan.plan_id", plan.plan_id, plan_id)
    return await journaled(state, PlanPut(web(state).now_ms(), plan))


def _plan(state: WebState, body: bytes) -> Plan:
    """Raises BadInput. Where devices register themselves, a plan may come before its vehicle's first word."""
    decoded(body, msgspec.Raw, "plan")
    anyone = state.registry.unknown == "register"
    found = read_plans(body, "plan", lambda vehicle_id: anyone or state.registry.knows_vehicle(vehicle_id))
    if len(found) != 1:
        raise BadInput([Problem("plan", f"is an array of {len(found)} plans", "put each under its own address")])
    return found[0]


@delete("/v1/plans/{plan_id:str}", status_code=200, responses=refusals(400, 404, 503))
async def remove_plan(state: State, plan_id: Id) -> Accepted:
    """Takes a plan out of force."""
    if not any(isinstance(c, PlanPut) and c.plan.plan_id == plan_id for c in await in_force(state)):
        missing("plan", plan_id)
    return await journaled(state, PlanRemove(web(state).now_ms(), plan_id))


@get("/v1/fences", media_type="application/geo+json", responses=refusals())
async def fences(state: State) -> dict[str, Any]:
    """The fences that are in force, as GeoJSON."""
    puts = [c for c in await in_force(state) if isinstance(c, FencesPut)]
    return fences_document(fence for put in puts for fence in put.fences)


@put("/v1/fences", responses=refusals(400, 413, 503), operation_class=TakesGeoJson)
async def put_fences(state: State, body: RawBody) -> Accepted:
    """Adds the fences of a GeoJSON document, or replaces those of the same id; the others stay."""
    found = await asyncio.to_thread(read_fences, body, "fences")
    return await journaled(state, FencesPut(web(state).now_ms(), tuple(found)))


@delete("/v1/fences/{fence_id:str}", status_code=200, responses=refusals(400, 404, 503))
async def remove_fence(state: State, fence_id: Id) -> Accepted:
    """Removes a fence."""
    puts = [c for c in await in_force(state) if isinstance(c, FencesPut)]
    if not any(fence.fence_id == fence_id for put in puts for fence in put.fences):
        missing("fence", fence_id)
    return await journaled(state, FenceRemove(web(state).now_ms(), fence_id))


@get("/v1/events", responses=refusals(400))
async def events(
    state: State, cursor: Cursor = None, limit: Limit = 500, types: Types = "", vehicle: OneVehicle = None
) -> EventsPage:
    """Events after a cursor, oldest first. Ask again with the answer's cursor; an empty page means: up to date."""
    after = cursor_of(cursor, web(state).journal, 0)
    upto = web(state).concluded.value  # before the reading: what is concluded meanwhile belongs to the next page
    wanted = types_of(types) or None
    found = await asyncio.to_thread(web(state).journal.events, after, limit, types=wanted, vehicle_id=vehicle)
    seqs = [s.event.seq for s in found]
    last = seqs[-1] if len(seqs) == limit else max([after, upto, *seqs])
    said = await asyncio.to_thread(told, web(state), after, found)
    page = [cloudevents.cloud_event(s.event, web(state).source, s.emitted_ms) for s in said]
    return EventsPage(events=page, cursor=str(last))


EVENT_STREAM = ResponseSpec(
    str, generate_examples=False, media_type="text/event-stream", description="Server-sent events, each a CloudEvent."
)


@get("/v1/stream", media_type="text/event-stream", responses={**refusals(400, 503), 200: EVENT_STREAM})
async def stream(
    state: State,
    cursor: Cursor = None,
    types: Types = "",
    vehicle: OneVehicle = None,
    positions: FromQuery[bool] = False,
    last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID")] = None,
) -> EventStream:
    """Server-sent events from `Last-Event-ID` or `cursor` on, else from now; with `positions=true` every fix, too."""
    after = cursor_of(last_event_id or cursor, web(state).journal, web(state).concluded.value)
    return EventStream(web(state), after, Filter(types_of(types), vehicle, positions))


@get("/v1/accounting", responses=refusals())
async def accounting(state: State) -> Accounting:
    """What became of everything that was received: received = journaled + duplicate + quarantined + state only."""
    return await asyncio.to_thread(web(state).journal.accounting)


@get("/v1/quarantine", responses=refusals(400))
async def quarantine(state: State, after: After = 0, limit: Limit = 100) -> list[QuarantineDocument]:
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


@post("/v1/devices/{device_id:str}/readmit", status_code=200, responses=refusals(400, 404, 503))
async def readmit(state: State, device_id: Id) -> Counts:
    """Takes what lies in quarantine of a registered device in again, as it decodes with the configuration of today; the
    answer is what became of its records. What is still wrong with them goes back, with today's reason.
    """
    if not web(state).registry.knows_device(device_id):
        missing("device", device_id)
    return await web(state).readmit(device_id)


ROUTES = [
    vehicles, vehicle, snapshot, track, devices, put_device, plans, put_plan, remove_plan, fences, put_fences, remove_fence,
    events, stream, accounting, quarantine, readmit,
]  # fmt: skip
