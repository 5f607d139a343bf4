"""A small straight world for the engine's tests: a road to the east, stops on it, a van, and a seeded receiver."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

from gateway import geo
from gateway.engine import Engine, EngineOptions
from gateway.model import Command, Entry, Event, Fence, FrameItem, Item, Plan, PlanPut, Position, Stop

LAT, LON = 41.2, -8.5
T0 = 1_780_300_800_000  # 2026-06-01T08:00Z


def place(east_m: float, north_m: float = 0.0) -> tuple[float, float]:
    """(lat_deg, lon_deg) of a point in the straight world."""
    return LAT + north_m / geo.M_PER_DEG_LAT, LON + east_m / geo.m_per_deg_lon(LAT)


def fix(
    s: float,
    east_m: float,
    north_m: float = 0.0,
    speed: float | None = None,
    accuracy: float | None = 5.0,
    device: str = "van",
) -> Position:
    lat, lon = place(east_m, north_m)
    return Position(
        device_id=device,
        time_ms=T0 + round(s * 1000),
        lat_deg=lat,
        lon_deg=lon,
        speed_mps=speed,
        accuracy_m=accuracy,
        course_deg=90.0,
    )


def frame(*positions: Position, delay_s: float = 0.5, received_ms: int | None = None) -> FrameItem:
    newest = max(p.time_ms or 0 for p in positions)
    return FrameItem(
        source="test",
        protocol="test",
        received_ms=newest + round(delay_s * 1000) if received_ms is None else received_ms,
        device_id=positions[0].device_id,
        raw=b"",
        messages=positions,
        ordinals=(0,) * len(positions),
    )


def plan(
    *stops_m: float, radius_m: float = 50.0, service_s: float = 180.0, plan_id: str = "p1", start_s: float = 0
) -> Plan:
    """A plan along the road, scheduled at 10 m/s."""
    stops = []
    for i, east_m in enumerate(stops_m):
        lat, lon = place(east_m)
        due_ms = T0 + round(1000 * (start_s + east_m / 10 + i * service_s))
        stop = Stop(
            stop_id=str(i + 1),
            sequence=i + 1,
            lat_deg=lat,
            lon_deg=lon,
            radius_m=radius_m,
            service_s=service_s,
            scheduled_arrival_ms=due_ms,
            window_start_ms=due_ms - 600_000,
            window_end_ms=due_ms + 300_000,
        )
        stops.append(stop)
    path = tuple((place(x)[1], place(x)[0]) for x in range(0, int(max(stops_m)) + 1001, 50))
    start_ms = T0 + round(start_s * 1000) - 60_000
    return Plan(plan_id=plan_id, vehicle_id="van", stops=tuple(stops), path=path, start_ms=start_ms)


def trip(
    *legs: tuple[float, float], every_s: float = 10.0, noise_m: float = 3.0, seed: int = 1, speed: float = 10.0
) -> list[Position]:
    """Fixes of a van that drives from 0 to each leg's place (metres east) and stands there for the leg's seconds."""
    dice = random.Random(seed)
    fixes: list[Position] = []
    t, x, north, east = 0.0, 0.0, 0.0, 0.0
    due = 0.0
    for goal, stay_s in legs:
        end = t + abs(goal - x) / speed
        stop = end + stay_s
        while due < stop:
            here = x + (goal - x) * min(1.0, (due - t) / max(end - t, 1e-9))
            keep = math.exp(-every_s / 60)
            north = keep * north + math.sqrt(1 - keep**2) * dice.gauss(0, noise_m)
            east = keep * east + math.sqrt(1 - keep**2) * dice.gauss(0, noise_m)
            moving = due < end
            doppler = max(0.0, (speed if moving else 0.0) + dice.gauss(0, 0.1))
            fixes.append(fix(due, here + east, north, doppler, accuracy=max(3.0, 1.5 * noise_m)))
            due += every_s
        t, x = stop, goal
    return fixes


def items(positions: Iterable[Position]) -> list[Item]:
    return [frame(p) for p in positions]


def run(things: Sequence[Item], engine: Engine | None = None, size: int = 7) -> list[Event]:
    """Everything an engine says of these items, cut into entries of `size`."""
    engine = engine or Engine(EngineOptions())
    said: list[Event] = []
    for n, i in enumerate(range(0, len(things), size), start=1):
        said += engine.step(Entry(n, tuple(things[i : i + size]))).events
    return said


def observed(events: Iterable[Event], *prefixes: str) -> list[str]:
    """Types of the events that start with one of the prefixes."""
    return [e.type for e in events if e.type.startswith(prefixes or ("stop.", "geofence.", "route."))]


def circle(fence_id: str, east_m: float, radius_m: float = 100.0, north_m: float = 0.0) -> Fence:
    lat, lon = place(east_m, north_m)
    return Fence(fence_id=fence_id, shape="circle", coordinates=((((lon, lat),),),), radius_m=radius_m)


def put(*plans: Plan) -> list[Command]:
    return [PlanPut(T0 - 120_000, p) for p in plans]
