"""Where the straight way between two fixes cuts a zone's boundary. "Straight" is straight in longitude and latitude.

A way is (lon, lat) of its start and end, written near the zone; a place on it is a fraction: 0 the start, 1 the end.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, hypot, inf, radians, sqrt
from typing import NamedTuple, TypeAlias

import numpy as np

from gateway.geo import M_PER_DEG_LAT, distance_m
from gateway.geofence.grid import Floats

Way: TypeAlias = tuple[float, float, float, float]
Span: TypeAlias = tuple[float, float]

SAME = 1e-12
"""Fractions closer than this are one place: the way only touches the boundary there."""
PLANE_ERROR = 0.05
"""How far, as a share of its extent, a large circle's edge found in the plane may lie from the one on the earth."""
NOWHERE: Span = (inf, -inf)
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
    side_a, side_b = dx * ay - dy * ax, dx * by - dy * bx
    # The side of a corner is judged once for both its edges, so a way through a corner crosses one of them or both.
    across = (side_a > 0.0) != (side_b > 0.0)
    turn = (side_b - side_a)[across]
    fraction = (ax * (by - ay) - ay * (bx - ax))[across] / turn
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
    inside: list[Span] = []
    for edge in edges.tolist():
        span = _span(way, edge, reach_m)
        if span is not None:
            start, end = _on_earth(*span, _distance_along(way, edge, reach_m))
            if start <= 1.0 and end > 0.0:
                inside.append((start, end))
    merged: list[list[float]] = []
    for start, end in sorted(inside):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    found = [Crossing(at, entering) for span in merged for at, entering in zip(span, (True, False), strict=True)]
    return [each for each in found if 0.0 < each.fraction <= 1.0]


def _span(way: Way, edge: list[float], reach_m: float) -> Span | None:
    """From where to where the way, prolonged both ways, is within reach of an edge, in the plane at that edge.

    What is within reach of an edge is two discs and the rectangle between them, all three convex, and so is the whole;
    so the least of their starts and the greatest of their ends count.
    """
    lon, lat, lon2, lat2 = way
    lon_a, lat_a, lon_b, lat_b = edge
    east = M_PER_DEG_LAT * max(cos(radians((lat_a + lat_b) / 2)), MIN_COS)
    dx, dy = (lon2 - lon) * east, (lat2 - lat) * M_PER_DEG_LAT
    ax, ay = (lon_a - lon) * east, (lat_a - lat) * M_PER_DEG_LAT
    bx, by = (lon_b - lon) * east, (lat_b - lat) * M_PER_DEG_LAT
    spans = [_disc(ax, ay, dx, dy, reach_m), _disc(bx, by, dx, dy, reach_m)]
    length = hypot(bx - ax, by - ay)
    if length > 0.0:
        ux, uy = (bx - ax) / length, (by - ay) / length
        across = _between(ay * ux - ax * uy, dx * uy - dy * ux, -reach_m, reach_m)
        along = _between(-(ax * ux + ay * uy), dx * ux + dy * uy, 0.0, length)
        spans.append((max(across[0], along[0]), min(across[1], along[1])))
    spans = [span for span in spans if span[0] < span[1]]
    return (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None


def _disc(ax: float, ay: float, dx: float, dy: float, radius_m: float) -> Span:
    """Where the way is within the radius of a point."""
    square, cross = dx * dx + dy * dy, ax * dy - ay * dx
    chord = square * radius_m**2 - cross * cross
    if chord <= 0.0:
        return NOWHERE
    middle, half = ax * dx + ay * dy, sqrt(chord)
    return (middle - half) / square, (middle + half) / square


def _between(offset: float, slope: float, low: float, high: float) -> Span:
    """Where offset + slope · t lies between low and high."""
    if slope == 0.0:
        return (-inf, inf) if low <= offset <= high else NOWHERE
    one, other = (low - offset) / slope, (high - offset) / slope
    return min(one, other), max(one, other)


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


def _on_earth(start: float, end: float, signed_m: Callable[[float], float]) -> Span:
    """The span found in the plane, with those of its ends that may lie on the way moved to where they are on the earth."""
    middle, slack = (start + end) / 2, (end - start) * PLANE_ERROR
    ends = []
    for each, outward in ((start, -slack), (end, slack)):
        on_way = -slack <= each <= 1.0 + slack
        ends.append(_root(signed_m, each, outward, middle) if on_way else each)
    return ends[0], ends[1]


def _root(signed_m: Callable[[float], float], near: float, outward: float, middle: float) -> float:
    """Where the distance is nought, near a place: by regula falsi, the Illinois way."""
    inside, outside = near - outward, near + outward
    f_in, f_out = signed_m(inside), signed_m(outside)
    if f_in >= 0.0:
        inside, f_in = middle, signed_m(middle)
    if f_in >= 0.0:
        return middle  # on the earth the way only grazes the zone
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
