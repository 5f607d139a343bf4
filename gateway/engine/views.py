"""What the API may see of the engine: copies, never the state itself."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from gateway.engine.vehicle import Vehicle
from gateway.engine.world import World
from gateway.model import Eta, Position, Stop

VehicleState: TypeAlias = Literal["at_stop", "standing", "moving", "silent", "unknown"]


class NextStop(Struct, frozen=True, kw_only=True):
    """An open stop of the vehicle's plan, with its prediction where there is an honest one."""

    stop_id: str
    sequence: int
    lat_deg: float
    lon_deg: float
    window_end_ms: int | None
    scheduled_arrival_ms: int | None
    eta: Eta | None = None


class VehicleView(Struct, frozen=True, kw_only=True):
    vehicle_id: str
    device_id: str | None
    state: VehicleState
    position: Position | None
    received_ms: int
    since_ms: int | None = None
    """Since when it stands, or is silent."""
    plan_id: str | None = None
    plan_version: int | None = None
    at_stop_id: str | None = None
    next_stops: tuple[NextStop, ...] = ()
    progress_m: float | None = None
    """How far along the plan's path."""
    fences: tuple[str, ...] = ()
    """The zones it is in."""


def view_of(vehicle: Vehicle, world: World, etas: dict[str, Eta]) -> VehicleView:
    seen = vehicle.history.observed
    record = world.record(seen.plan_id) if seen.plan_id is not None else None
    stand = seen.stand if seen.stand is not None and seen.stand.until_ms is None else None
    at_stop = next((i for i, s in seen.stops.items() if s.state == "at"), None)
    state: VehicleState = "moving"
    since_ms = None
    if vehicle.rhythm.silent_since_ms is not None:
        state, since_ms = "silent", vehicle.rhythm.silent_since_ms
    elif vehicle.position is None:
        state = "unknown"
    elif at_stop is not None:
        state, since_ms = "at_stop", None if stand is None else stand.since_ms
    elif stand is not None:
        state, since_ms = "standing", stand.since_ms
    stops: tuple[NextStop, ...] = ()
    if record is not None and seen.plan_open:
        open_ids = [i for i in record.order if i not in seen.stops or seen.stops[i].state == "open"]
        stops = tuple(_next_stop(record.stops[i], etas.get(i)) for i in open_ids)
    return VehicleView(
        vehicle_id=vehicle.vehicle_id,
        device_id=vehicle.device_id,
        state=state,
        position=vehicle.position,
        received_ms=vehicle.received_ms,
        since_ms=since_ms,
        plan_id=seen.plan_id if record is not None else None,
        plan_version=record.plan.version if record is not None else None,
        at_stop_id=at_stop,
        next_stops=stops,
        progress_m=vehicle.live.progress.along_m,
        fences=tuple(sorted(i for i, f in seen.fences.items() if f.inside)),
    )


def _next_stop(stop: Stop, eta: Eta | None) -> NextStop:
    return NextStop(
        stop_id=stop.stop_id,
        sequence=stop.sequence,
        lat_deg=stop.lat_deg,
        lon_deg=stop.lon_deg,
        window_end_ms=stop.window_end_ms,
        scheduled_arrival_ms=stop.scheduled_arrival_ms,
        eta=eta,
    )
