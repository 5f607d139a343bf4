"""The fleet as it stands, for a dispatcher's screen: positions, next stops, ETAs, and who is late."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Literal, TypeAlias

from msgspec import Struct

from gateway.cloudevents import PositionData, position_data
from gateway.engine import Engine, NextStop, VehicleView
from gateway.model import entry_of, seq_of
from gateway.times import rfc3339
from gateway.web.state import Ask

Punctuality: TypeAlias = Literal["on_time", "at_risk", "late"]
RECENT_ENTRIES = 2_000
"""How far back a page that opens reads what happened before."""
AT_ONCE = 200
"""Vehicles that one question to the engine looks at."""
AHEAD = 3
"""A vehicle is as punctual as the worst of so many next stops: what lies further ahead can still change."""


class NextStopDocument(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An open stop. Without `eta_p50` there is no honest prediction; `lateness_s` is p50 against the promise."""

    stop_id: str
    sequence: int
    window_end: str | None = None
    scheduled_arrival: str | None = None
    eta_p10: str | None = None
    eta_p50: str | None = None
    eta_p90: str | None = None
    remaining_m: float | None = None
    lateness_s: float | None = None
    punctuality: Punctuality | None = None


class VehicleDocument(Struct, frozen=True, kw_only=True, omit_defaults=True):
    vehicle_id: str
    state: str
    device_id: str | None = None
    position: PositionData | None = None
    heard: str | None = None
    age_s: float | None = None
    since: str | None = None
    plan_id: str | None = None
    at_stop: str | None = None
    punctuality: Punctuality | None = None
    stops: tuple[NextStopDocument, ...] = ()
    fences: tuple[str, ...] = ()


class FleetDocument(Struct, frozen=True, kw_only=True):
    """Everything as of `cursor`: read on in the stream from there."""

    vehicles: list[VehicleDocument]
    cursor: str
    recent_cursor: str
    now: str


async def views(ask: Ask) -> list[VehicleView]:
    """All vehicles, some at a time: between two questions the engine goes on with its work."""
    ids = await ask(lambda engine: engine.vehicle_ids())
    found: list[VehicleView] = []
    for first in range(0, len(ids), AT_ONCE):
        found += await ask(partial(_some, ids[first : first + AT_ONCE]))
    return found


def _some(ids: Sequence[str], engine: Engine) -> list[VehicleView]:
    return [view for i in ids if (view := engine.vehicle(i)) is not None]


def fleet_document(vehicles: Iterable[VehicleView], cursor: int, now_ms: int) -> FleetDocument:
    return FleetDocument(
        vehicles=[vehicle_document(v, now_ms) for v in vehicles],
        cursor=str(cursor),
        recent_cursor=str(seq_of(max(0, entry_of(cursor) - RECENT_ENTRIES), 0)),
        now=rfc3339(now_ms),
    )


def vehicle_document(v: VehicleView, now_ms: int) -> VehicleDocument:
    stops = tuple(next_stop_document(s) for s in v.next_stops)
    return VehicleDocument(
        vehicle_id=v.vehicle_id,
        state=v.state,
        device_id=v.device_id,
        position=position_data(v.position) if v.position else None,
        heard=rfc3339(v.received_ms) if v.received_ms else None,
        age_s=max(0.0, (now_ms - v.received_ms) / 1000) if v.received_ms else None,
        since=None if v.since_ms is None else rfc3339(v.since_ms),
        plan_id=v.plan_id,
        at_stop=v.at_stop_id,
        punctuality=worst(s.punctuality for s in stops[:AHEAD]),
        stops=stops,
        fences=v.fences,
    )


def worst(found: Iterable[Punctuality | None]) -> Punctuality | None:
    """The most urgent of several."""
    present = set(found)
    order: tuple[Punctuality, ...] = ("late", "at_risk", "on_time")
    return next((p for p in order if p in present), None)


def next_stop_document(s: NextStop) -> NextStopDocument:
    eta = s.eta
    promise_ms = s.window_end_ms if s.window_end_ms is not None else s.scheduled_arrival_ms
    punctuality: Punctuality | None = None
    if eta is not None and promise_ms is not None:
        probable_ms = (eta.p50_ms + eta.p90_ms) / 2  # about three in four are there by then
        punctuality = "late" if eta.p50_ms > promise_ms else "at_risk" if probable_ms > promise_ms else "on_time"
    due_ms = s.scheduled_arrival_ms if s.scheduled_arrival_ms is not None else s.window_end_ms
    return NextStopDocument(
        stop_id=s.stop_id,
        sequence=s.sequence,
        window_end=None if s.window_end_ms is None else rfc3339(s.window_end_ms),
        scheduled_arrival=None if s.scheduled_arrival_ms is None else rfc3339(s.scheduled_arrival_ms),
        eta_p10=None if eta is None else rfc3339(eta.p10_ms),
        eta_p50=None if eta is None else rfc3339(eta.p50_ms),
        eta_p90=None if eta is None else rfc3339(eta.p90_ms),
        remaining_m=None if eta is None else eta.remaining_m,
        lateness_s=None if eta is None or due_ms is None else (eta.p50_ms - due_ms) / 1000,
        punctuality=punctuality,
    )
