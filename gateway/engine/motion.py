"""Does the vehicle stand? Doppler speed where the device tells it, otherwise displacement against accuracy.

A stand survives noise: a multipath jump of a parked vehicle (displaced, yet no speed) and a blip of speed without
displacement do not end it. What ends it is speed with displacement, or a displacement that noise does not explain.
"""

from __future__ import annotations

import math

from msgspec import Struct

from gateway import geo
from gateway.engine.fixes import Fix, metres_between
from gateway.engine.kinematics import SLOW_MPS, passing_s, wheels_stopped_s

HELD_M = 40.0
"""A stand is held at least this far round its mean place."""
HELD_ACCURACIES = 3.0
HELD_DEVIATIONS = 3.5
"""… or so many of the stand's own root-mean-square deviations: devices understate their error."""
BLIP_M = 15.0
ROAD_MPS = 20.0
HALT_TO_HALT_MPS2 = 0.6
"""From standstill to standstill in t seconds a vehicle covers no more than this times t² (2.5 m/s² up, and down)."""
JUMP_HELD_MS = 120_000


class Stand(Struct):
    """One halt: from when the wheels stopped (estimated between two fixes) until they turned again."""

    since_ms: int
    first_ms: int
    last_ms: int
    lat_deg: float
    lon_deg: float
    fixes: int = 1
    square_m2: float = 0.0
    accuracy_m: float = 0.0
    away: Fix | None = None
    """A slow fix far off, not yet believed; `jumped`: no vehicle could have driven there."""
    jumped: bool = False
    until_ms: int | None = None
    served: str | None = None
    """The stop this halt was for: one halt serves one stop, also where zones overlap."""

    def lasted_s(self, now_ms: int) -> float:
        return ((now_ms if self.until_ms is None else self.until_ms) - self.since_ms) / 1000


def follow(stand: Stand | None, before: Fix | None, fix: Fix) -> Stand | None:
    """The stand after `fix`: the same one (going on, or ended now), a new one, or None."""
    if stand is None or stand.until_ms is not None:
        return _begun(before, fix) if before is not None and _slow(before, fix) else stand
    offset_m = _offset_m(stand, fix)
    held_m = max(HELD_M, HELD_ACCURACIES * fix.accuracy_m, HELD_DEVIATIONS * math.sqrt(stand.square_m2))
    if fix.speed_mps is not None and fix.speed_mps >= SLOW_MPS:
        if offset_m > max(BLIP_M, fix.accuracy_m):
            return _ended(stand, before, fix)
        return stand
    if offset_m > held_m:
        return _displaced(stand, before, fix, held_m)
    stand.away = None
    stand.fixes += 1
    stand.last_ms = fix.time_ms
    share = 1 / min(stand.fixes, 200)
    stand.lat_deg += (fix.lat_deg - stand.lat_deg) * share
    stand.lon_deg += geo.wrap_lon_deg(fix.lon_deg - stand.lon_deg) * share
    stand.square_m2 += (offset_m * offset_m - stand.square_m2) * share
    stand.accuracy_m += (fix.accuracy_m - stand.accuracy_m) * share
    return stand


def _slow(before: Fix, fix: Fix) -> bool:
    if fix.speed_mps is not None:
        return fix.speed_mps < SLOW_MPS
    moved_m, duration_s = metres_between(before, fix), (fix.time_ms - before.time_ms) / 1000
    return moved_m < max(SLOW_MPS * duration_s, 0.7 * (before.accuracy_m + fix.accuracy_m))


def _begun(before: Fix | None, fix: Fix) -> Stand:
    since_ms = fix.time_ms
    if before is not None:
        duration_s = (fix.time_ms - before.time_ms) / 1000
        if fix.speed_mps is None:
            since_ms = before.time_ms
        else:
            halted_s = wheels_stopped_s(metres_between(before, fix), duration_s, before.speed_mps)
            since_ms = before.time_ms + round(halted_s * 1000)
    return Stand(
        since_ms=since_ms,
        first_ms=fix.time_ms,
        last_ms=fix.time_ms,
        lat_deg=fix.lat_deg,
        lon_deg=fix.lon_deg,
        accuracy_m=fix.accuracy_m,
    )


def _ended(stand: Stand, before: Fix | None, fix: Fix) -> Stand:
    last_ms = stand.last_ms if before is None else before.time_ms
    left_s = passing_s(0.0, max(_offset_m(stand, fix), 1.0), (fix.time_ms - last_ms) / 1000, 0.0, fix.speed_mps)
    stand.until_ms = last_ms + round(left_s * 1000)
    return stand


def _displaced(stand: Stand, before: Fix | None, fix: Fix, held_m: float) -> Stand:
    """Far off, and yet slow: the vehicle drove between two reports, or the receiver jumps.

    A jump that no vehicle could have driven from halt to halt is held while it lasts, for two minutes; any other one is
    believed with the second fix, or at once where it is too far for multipath and slow enough for a road.
    """
    away = stand.away
    if away is None:
        moved_m, duration_s = _offset_m(stand, fix), (fix.time_ms - stand.last_ms) / 1000
        if before is not None and 3 * held_m < moved_m < ROAD_MPS * duration_s:
            return _begun(before, fix)
        stand.away = fix
        stand.jumped = fix.speed_mps is not None and moved_m - held_m / 2 > HALT_TO_HALT_MPS2 * duration_s**2
        return stand
    if metres_between(away, fix) > held_m:
        stand.until_ms = min(away.time_ms, stand.last_ms + (away.time_ms - stand.last_ms) // 2)
        return stand
    if stand.jumped and fix.time_ms - away.time_ms < JUMP_HELD_MS:
        return stand
    new = _begun(before, fix)
    new.since_ms = away.time_ms
    return new


def _offset_m(stand: Stand, fix: Fix) -> float:
    dy = (fix.lat_deg - stand.lat_deg) * geo.M_PER_DEG_LAT
    dx = geo.wrap_lon_deg(fix.lon_deg - stand.lon_deg) * geo.m_per_deg_lon(stand.lat_deg)
    return math.hypot(dx, dy)
