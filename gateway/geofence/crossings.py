"""Where the straight way between two fixes cuts a zone's boundary. "Straight" is straight in longitude and latitude.

A way is (lon, lat) of its start and end, written near the zone; a place on it is a fraction: 0 the start, 1 the end.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, radians
from typing import NamedTuple, TypeAlias

import numpy as np

from gateway.geo import M_PER_DEG_LAT, distance_m
from gateway.geofence.grid import Bools, Floats

Way: TypeAlias = tuple[float, float, float, float]

SAME = 1e-12
"""Fractions closer than this are one place: the way only touches the boundary there."""
PLANE_ERROR = 0.05
"""How far, as a share of its extent, a large circle's edge found in the plane may lie from the one on the earth."""
CLOSE_M = 1e-4
ROUNDS = 60
MIN_COS = 1e-3
"""Of a latitude, within 6 km of a pole: longitudes are worth nothing there."""


class Crossing(NamedTuple):
    fraction: float
    entering: bool


def of_rings(way: Way, edges: Floats) -> list[Crossing]:
    """`edges` are rows of (lon, lat, lon, lat), the inside on their left."""
    lon, lat, lon2, lat2 = way
    dx, dy = lon2 - lon, lat2 - lat
    ax, ay, bx, by = edges.T - np.array([[lon], [lat], [lon], [lat]])
    left_a, left_b = dx * ay > dy * ax, dx * by > dy * bx
    # The side of a corner is judged once for both its edges, so a way through a corner crosses one of them or both.
    across = left_a != left_b
    ax, ay, ex, ey = ax[across], ay[across], (bx - ax)[across], (by - ay)[across]
    turn = dx * ey - dy * ex
    fraction = (ax * ey - ay * ex) / turn
    on_way = (fraction > 0.0) & (fraction <= 1.0)
    found = sorted(zip(fraction[on_way].tolist(), (turn < 0.0)[on_way].tolist(), strict=True))
    return _without_touches([Crossing(*each) for each in found])


def _without_touches(crossings: list[Crossing]) -> list[Crossing]:
    kept: list[Crossing] = []
    for each in crossings:
        if kept and each.fraction - kept[-1].fraction < SAME and each.entering != kept[-1].entering:
            kept.pop()
        else:
            kept.append(each)
    return kept


def of_band(way: Way, edges: Floats, reach_m: float) -> list[Crossing]:
    """The zone is all that lies within `reach_m` of the edges (a circle: of one edge without length)."""
    lon, lat, lon2, lat2 = way
    if (lon, lat) == (lon2, lat2):
        return []
    inside: list[tuple[float, float]] = []
    starts, ends = _bands(way, edges, reach_m)
    for edge, start, end in zip(edges.tolist(), starts.tolist(), ends.tolist(), strict=True):
        if start < end:
            span = _on_earth(start, end, _distance_along(way, edge, reach_m))
            if span[0] <= 1.0 and span[1] > 0.0:
                inside.append(span)
    merged: list[list[float]] = []
    for start, end in sorted(inside):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    found = [Crossing(at, entering) for span in merged for at, entering in zip(span, (True, False), strict=True)]
    return [each for each in found if 0.0 < each.fraction <= 1.0]


def _bands(way: Way, edges: Floats, reach_m: float) -> tuple[Floats, Floats]:
    """From where to where the way, prolonged both ways, is within reach of each edge, in the plane at that edge.

    An edge with what is within its reach is two discs and the rectangle between them, all three convex, and so is the
    whole; so the least of their starts and the greatest of their ends count. No start is inf.
    """
    lon, lat, lon2, lat2 = way
    north = M_PER_DEG_LAT
    east = north * np.maximum(np.cos(np.radians((edges[:, 1] + edges[:, 3]) / 2)), MIN_COS)
    dx, dy = (lon2 - lon) * east, np.full(len(edges), (lat2 - lat) * north)
    ax, ay = (edges[:, 0] - lon) * east, (edges[:, 1] - lat) * north
    bx, by = (edges[:, 2] - lon) * east, (edges[:, 3] - lat) * north
    spans = [_disc(ax, ay, dx, dy, reach_m), _disc(bx, by, dx, dy, reach_m)]

    ex, ey = bx - ax, by - ay
    length = np.hypot(ex, ey)
    whole = length > 0.0
    unit_x, unit_y = ex / np.where(whole, length, 1.0), ey / np.where(whole, length, 1.0)
    side = _between(ay * unit_x - ax * unit_y, dx * unit_y - dy * unit_x, -reach_m, reach_m)
    along = _between(-(ax * unit_x + ay * unit_y), dx * unit_x + dy * unit_y, 0.0, length)
    start, end = np.maximum(side[0], along[0]), np.minimum(side[1], along[1])
    spans.append(_where(whole & (start < end), start, end))
    return np.min([s for s, _ in spans], axis=0), np.max([e for _, e in spans], axis=0)


def _disc(ax: Floats, ay: Floats, dx: Floats, dy: Floats, radius_m: float) -> tuple[Floats, Floats]:
    """Where the way is within the radius of a point."""
    square = dx * dx + dy * dy
    cross = ax * dy - ay * dx
    chord = square * radius_m**2 - cross * cross
    middle, half = ax * dx + ay * dy, np.sqrt(np.maximum(chord, 0.0))
    return _where(chord > 0.0, (middle - half) / square, (middle + half) / square)


def _between(offset: Floats, slope: Floats, low: float, high: Floats | float) -> tuple[Floats, Floats]:
    """Where offset + slope · t lies between low and high."""
    flat = slope == 0.0
    slope = np.where(flat, 1.0, slope)
    one, other = (low - offset) / slope, (high - offset) / slope
    never = np.where((low <= offset) & (offset <= high), -np.inf, np.inf)
    return np.where(flat, never, np.minimum(one, other)), np.where(flat, -never, np.maximum(one, other))


def _where(there: Bools, start: Floats, end: Floats) -> tuple[Floats, Floats]:
    """The spans that are there; the others begin at inf and end at -inf."""
    return np.where(there, start, np.inf), np.where(there, end, -np.inf)


def _distance_along(way: Way, edge: list[float], reach_m: float) -> Callable[[float], float]:
    """Signed metres from a place on the way to the band's boundary, as `Boundaries.nearest` has them."""
    lon, lat, lon2, lat2 = way
    lon_a, lat_a, lon_b, lat_b = edge

    def signed_m(at: float) -> float:
        y, x = lat + at * (lat2 - lat), lon + at * (lon2 - lon)
        scale = max(cos(radians(y)), MIN_COS)
        ay, ax, by, bx = lat_a - y, (lon_a - x) * scale, lat_b - y, (lon_b - x) * scale
        dy, dx = by - ay, bx - ax
        square = dx * dx + dy * dy
        along = min(max(-(ax * dx + ay * dy) / square, 0.0), 1.0) if square > 0.0 else 0.0
        return distance_m(y, x, y + ay + along * dy, x + (ax + along * dx) / scale) - reach_m

    return signed_m


def _on_earth(start: float, end: float, signed_m: Callable[[float], float]) -> tuple[float, float]:
    """The span found in the plane, with those of its ends that may lie on the way moved to where they are on the earth."""
    middle, slack = (start + end) / 2, (end - start) * PLANE_ERROR
    ends = []
    for each, outward in ((start, start - slack), (end, end + slack)):
        on_way = -slack <= each <= 1.0 + slack
        ends.append(_root(signed_m, middle, outward) if on_way else each)
    return ends[0], ends[1]


def _root(signed_m: Callable[[float], float], inside: float, outside: float) -> float:
    """Where the distance is nought, between a place inside and one outside (regula falsi, the Illinois way)."""
    f_in, f_out = signed_m(inside), signed_m(outside)
    if f_in >= 0.0:
        return inside
    if f_out <= 0.0:
        return outside
    last = 0.0
    for _ in range(ROUNDS):
        at = (inside * f_out - outside * f_in) / (f_out - f_in)
        f = signed_m(at)
        if abs(f) < CLOSE_M:
            return at
        if f < 0.0:
            inside, f_in = at, f
            f_out = f_out / 2 if last < 0.0 else f_out
        else:
            outside, f_out = at, f
            f_in = f_in / 2 if last > 0.0 else f_in
        last = f
    return (inside + outside) / 2
