"""From what a device says to a fix that may drive a vehicle: judged by its clock, ordered, its accuracy made honest."""

from __future__ import annotations

import math
from typing import TypeAlias

from msgspec import Struct

from gateway import geo
from gateway.engine.options import FixRule
from gateway.model import Position

FIRST_CREDIBLE_MS = 1_420_070_400_000
"""2015-01-01: a receiver that tells an earlier year lost its clock (1980, 1999, 2000 and 1024 weeks ago are common)."""
WEEKS_1024_MS = 1_024 * 7 * 86_400_000
WEEKS_TOLERANCE_MS = 2 * 86_400_000
USER_RANGE_ERROR_M = 5.0
"""Accuracy (68 %) of a fix with HDOP 1 under open sky; the error grows with HDOP."""

Near: TypeAlias = tuple[tuple[str, float], ...]


class Fix(Struct, frozen=True, array_like=True, gc=False):
    """One located fix. `stops` (of the vehicle's plan) and `fences` are the zones in reach by id, each with the signed
    distance to its boundary (negative inside): located once, when the fix came, and kept with it.
    """

    time_ms: int
    lat_deg: float
    lon_deg: float
    accuracy_m: float
    speed_mps: float | None = None
    course_deg: float | None = None
    ignition: bool | None = None
    stops: Near = ()
    fences: Near = ()


def marks_of(position: Position, received_ms: int, rule: FixRule) -> tuple[str, ...]:
    """Why this position may not drive anything, or nothing."""
    lat, lon, time_ms = position.lat_deg, position.lon_deg, position.time_ms
    if not position.valid or position.fix == "none" or lat is None or lon is None or time_ms is None:
        return ("invalid",)
    if not (math.isfinite(lat) and math.isfinite(lon)) or abs(lat) > 90 or abs(lon) > 180 or lat == 0 == lon:
        return ("invalid",)
    if time_ms > received_ms + rule.future_s * 1000:
        return ("future",)
    age_ms = received_ms - time_ms
    weeks_off = abs((age_ms + WEEKS_1024_MS / 2) % WEEKS_1024_MS - WEEKS_1024_MS / 2)
    rolled_over = age_ms > WEEKS_1024_MS / 2 and weeks_off < WEEKS_TOLERANCE_MS
    if time_ms < FIRST_CREDIBLE_MS or rolled_over or age_ms > rule.stale_days * 86_400_000:
        return ("stale",)
    return ()


def accuracy_m(position: Position, rule: FixRule) -> float:
    """The 68 % radius. Zero and absent mean unknown: derived from HDOP and satellites, else pessimistic."""
    if position.accuracy_m is not None and position.accuracy_m > 0:
        return position.accuracy_m
    if position.fix == "network":
        return rule.network_accuracy_m
    if position.hdop is not None and position.hdop > 0:
        return USER_RANGE_ERROR_M * max(1.0, position.hdop)
    if position.satellites is not None and position.satellites > 0:
        return 10.0 if position.satellites >= 7 else 20.0 if position.satellites >= 5 else 60.0
    return rule.default_accuracy_m


def fix_of(position: Position, rule: FixRule, stops: Near = (), fences: Near = ()) -> Fix:
    """The fix of a position that `marks_of` let pass."""
    if position.time_ms is None or position.lat_deg is None or position.lon_deg is None:
        raise ValueError("a fix needs time and place")
    ignition = position.attributes.get("ignition")
    speed = position.speed_mps
    return Fix(
        time_ms=position.time_ms,
        lat_deg=position.lat_deg,
        lon_deg=position.lon_deg,
        accuracy_m=accuracy_m(position, rule),
        speed_mps=speed if speed is not None and 0 <= speed < rule.top_speed_mps else None,
        course_deg=position.course_deg,
        ignition=bool(ignition) if isinstance(ignition, bool | int) else None,
        stops=stops,
        fences=fences,
    )


def worth(fix: Fix) -> tuple[float, ...]:
    """Of two fixes of one instant the more accurate counts, then the content: never the order of arrival."""
    speed, course = fix.speed_mps, fix.course_deg
    content = (fix.lat_deg, fix.lon_deg, -1.0 if speed is None else speed, -1.0 if course is None else course)
    return (-fix.accuracy_m, *content)


def better(one: Fix, other: Fix) -> bool:
    return worth(one) > worth(other)


def metres_between(one: Fix, other: Fix) -> float:
    """Plane distance of two fixes, good for the few kilometres between neighbours."""
    dy = (other.lat_deg - one.lat_deg) * geo.M_PER_DEG_LAT
    dx = geo.wrap_lon_deg(other.lon_deg - one.lon_deg) * geo.m_per_deg_lon(one.lat_deg)
    return math.hypot(dx, dy)
