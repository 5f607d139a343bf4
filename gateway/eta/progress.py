"""How far a vehicle has come along its path.

The nearest point of the whole line is wrong wherever a path passes a street twice. So a fix is looked for near the last
progress only, as far ahead as the vehicle can have driven, and the way it drove, its distance and its course decide
between the passes in that window.
"""

from __future__ import annotations

import bisect
import math

from msgspec import Struct

from gateway.eta.path import Match, Path

BACK_M = 60.0
GATE_M = 45.0
"""Off the path is what is further from it than this and twice the accuracy."""
TOP_MPS = 42.0
LOST_AFTER = 3
"""So many fixes in a row off the path are believed."""
COURSE_MIN_MPS = 2.5
SLOW_MPS = 1.0
RESTS_M = 10.0
BACKWARD_M = 20.0
"""Going back along the path is noise up to about this; further back it has to be the only explanation."""
UNKNOWN_WAY_M = 1_000.0
"""Where nobody knows how far the vehicle drove, the earlier of two passes is the likelier."""


class Seen(Struct, frozen=True, array_like=True, gc=False):
    """A fix as progress needs it, in the path's plane."""

    time_ms: int
    x: float
    y: float
    accuracy_m: float
    speed_mps: float | None
    course_deg: float | None


class Progress(Struct):
    along_m: float | None = None
    """None: not yet found on the path."""
    time_ms: int = 0
    last: Seen | None = None
    off: int = 0
    """Fixes in a row that did not lie on the path."""

    @property
    def on_path(self) -> bool:
        return self.along_m is not None and self.off < LOST_AFTER


def follow(progress: Progress, path: Path, seen: Seen, limit_m: float) -> None:
    """Take a fix. `limit_m`: no further than this without having served the stop there (else another pass wins)."""
    last = progress.last
    if last is not None and progress.off == 0 and _rests(last, seen):
        progress.time_ms = seen.time_ms
        return
    progress.last = seen
    gate_m = GATE_M + 2 * seen.accuracy_m
    if progress.along_m is None or last is None:
        match = _best(path, seen, 0.0, limit_m, None, gate_m) or _best(path, seen, 0.0, path.length_m, None, gate_m)
    else:
        duration_s = (seen.time_ms - progress.time_ms) / 1000
        drove_m = math.hypot(seen.x - last.x, seen.y - last.y)
        from_m = progress.along_m
        expected_m = from_m + drove_m if progress.off == 0 else None
        ahead_m = 2 * drove_m + 60 + 2 * seen.accuracy_m if progress.off == 0 else TOP_MPS * duration_s
        match = _best(path, seen, from_m - BACK_M, from_m + ahead_m, expected_m, gate_m)
        if match is None and progress.off == 0:
            match = _best(path, seen, from_m - BACK_M, from_m + min(TOP_MPS * duration_s + 100, 3_000), None, gate_m)
    if match is None:
        progress.off += 1
        return
    progress.off = 0
    progress.time_ms = seen.time_ms
    if progress.along_m is None or not _is_drift(match.along_m - progress.along_m, seen):
        progress.along_m = match.along_m


def _rests(last: Seen, seen: Seen) -> bool:
    """Stands where it was: nothing to look for."""
    if seen.speed_mps is None or seen.speed_mps >= SLOW_MPS:
        return False
    return abs(seen.x - last.x) + abs(seen.y - last.y) < RESTS_M


def _is_drift(change_m: float, seen: Seen) -> bool:
    """A small step back, or one of a vehicle that stands, is the receiver's."""
    slow = seen.speed_mps is not None and seen.speed_mps < SLOW_MPS
    return -BACK_M / 2 < change_m < (seen.accuracy_m if slow else 0.0)


def _best(path: Path, seen: Seen, low_m: float, high_m: float, expected_m: float | None, gate_m: float) -> Match | None:
    """The most likely place in the window: near the fix, along its course, about as far as it drove."""
    xs, ys, alongs = path.xs, path.ys, path.alongs
    first = max(0, bisect.bisect_right(alongs, low_m) - 1)
    last = min(len(xs) - 2, bisect.bisect_left(alongs, high_m))
    x, y = seen.x, seen.y
    heading = None
    if seen.course_deg is not None and seen.speed_mps is not None and seen.speed_mps > COURSE_MIN_MPS:
        heading = math.radians(seen.course_deg)
    spread_m = 10.0 + seen.accuracy_m
    slack_m = 30.0 + (0.3 * (expected_m - low_m) if expected_m is not None else 0.0)
    best: Match | None = None
    best_cost = math.inf
    for i in range(first, last + 1):
        ax, ay = x - xs[i], y - ys[i]
        dx, dy = xs[i + 1] - xs[i], ys[i + 1] - ys[i]
        length_m = alongs[i + 1] - alongs[i]
        share = (ax * dx + ay * dy) / (length_m * length_m)
        share = 0.0 if share < 0 else 1.0 if share > 1 else share
        offset_m = math.hypot(ax - share * dx, ay - share * dy)
        if offset_m > gate_m:
            continue
        along_m = alongs[i] + share * length_m
        cost = (offset_m / spread_m) ** 2
        if expected_m is None:
            cost += (along_m - low_m) / UNKNOWN_WAY_M
        else:
            cost += ((along_m - expected_m) / slack_m) ** 2
            cost += (max(0.0, low_m + BACK_M - along_m) / BACKWARD_M) ** 2
        if cost >= best_cost:
            continue
        if heading is not None:
            cost += 2.0 * (1.0 - math.cos(math.atan2(dx, dy) - heading))
        if cost < best_cost:
            best, best_cost = Match(along_m, offset_m), cost
    return best
