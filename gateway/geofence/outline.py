"""A fence's boundary as plain lines, ready for the index: unwrapped over the antimeridian, seams fused, rings oriented.

Edges are straight in longitude and latitude, as RFC 7946 (section 3.1.1) has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from gateway.geo import M_PER_DEG_LAT, m_per_deg_lon
from gateway.model import Fence

Point: TypeAlias = tuple[float, float]
Line: TypeAlias = list[Point]


class Outline(NamedTuple):
    """`lines` of (lon, lat), longitudes running on beyond ±180 where need be.

    `filled`: the lines are closed rings with the inside on their left. Otherwise the zone is all that lies within
    `offset_m` of the lines: a circle has one line of no length, a corridor its centre line.
    """

    lines: list[Line]
    filled: bool
    offset_m: float


def outline_of(fence: Fence) -> Outline:
    if fence.shape == "circle":
        centre = fence.coordinates[0][0][0]
        return Outline([[centre, centre]], False, _metres(fence.radius_m))
    if fence.shape == "corridor":
        return Outline([unwrapped(fence.coordinates[0][0])], False, _metres(fence.width_m) / 2)
    polygons = unwrapped_polygons(fence.coordinates)
    if len(polygons) > 1:
        # A polygon cut at the antimeridian comes in two: the cut is no boundary of the zone.
        fused = shapely.unary_union([Polygon(rings[0], rings[1:]) for rings in polygons])
        polygons = [[list(r.coords) for r in (p.exterior, *p.interiors)] for p in shapely.get_parts(fused)]
    return Outline([_turned(ring, i == 0) for rings in polygons for i, ring in enumerate(rings)], True, 0.0)


def _turned(ring: Line, left: bool) -> Line:
    """The ring with what it encloses on its left, or on its right; closed if it was not."""
    if ring[0] != ring[-1]:
        ring = [*ring, ring[0]]
    base = ring[0][0]
    doubled = sum((x1 - base) * y2 - (x2 - base) * y1 for (x1, y1), (x2, y2) in pairwise(ring))
    return ring if (doubled > 0.0) == left else ring[::-1]


def _metres(value: float | None) -> float:
    if value is None:
        raise ValueError("a circle needs radius_m, and a corridor width_m")
    return value


def unwrapped(points: Iterable[Sequence[float]]) -> Line:
    """The points with longitudes shifted by whole turns so that no step is wider than 180 degrees."""
    line: Line = []
    previous = None
    for lon, lat in points:
        if previous is not None:
            lon = beside(lon, previous)
        line.append((lon, lat))
        previous = lon
    return line


def unwrapped_polygons(polygons: Iterable[Sequence[Sequence[Point]]]) -> list[list[Line]]:
    """Each ring unwrapped, and every ring next to the first one, whichever side of the antimeridian it was written on."""
    found: list[list[Line]] = []
    reference: float | None = None
    for rings in polygons:
        lines = [unwrapped(ring) for ring in rings]
        for i, line in enumerate(lines):
            middle = _middle(line)
            turns = 0.0 if reference is None else beside(middle, reference) - middle
            lines[i] = [(lon + turns, lat) for lon, lat in line]
            reference = middle if reference is None else reference
        found.append(lines)
    return found


def _middle(line: Line) -> float:
    lons = [lon for lon, _ in line]
    return (min(lons) + max(lons)) / 2


def beside(lon_deg: float, reference_deg: float) -> float:
    """The same meridian, written within 180 degrees of the reference; untouched (to the bit) if it is there already."""
    return lon_deg - 360.0 * round((lon_deg - reference_deg) / 360.0)


def area_m2(shape: BaseGeometry) -> float:
    """Of an area in degrees: good to a percent for a city, and to tell a zone from a slip of the pen."""
    if shape.area == 0.0:
        return 0.0
    _, south, _, north = shape.bounds
    return float(shape.area) * M_PER_DEG_LAT * m_per_deg_lon((south + north) / 2)
