"""Random zones, and slow oracles that say what is true of them: one point, one zone, scalar shapely, a plane at the point."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import shapely
from hypothesis import strategies as st
from shapely.geometry import LineString, MultiPolygon, Point

from gateway.geo import M_PER_DEG_LAT, distance_m, m_per_deg_lon, wrap_lon_deg
from gateway.model import Fence

CENTRES = ((0.3, 0.2), (-8.6, 41.1), (24.9, 60.2), (179.998, -17.0), (-179.999, 51.5), (-70.9, -53.1), (13.0, 78.0))
"""(lon, lat) of places where something could go wrong: the equator, a city, far north and south, the antimeridian."""
HERE = Point(0, 0)


def star(
    lon: float, lat: float, radii_m: Sequence[float], hole: float = 0.0
) -> tuple[tuple[tuple[float, float], ...], ...]:
    """A polygon seen round from its middle at these distances, with a hole of the same shape."""

    def ring(scale: float) -> tuple[tuple[float, float], ...]:
        points = []
        for i, radius_m in enumerate(radii_m):
            angle = 2 * math.pi * i / len(radii_m)
            x, y = scale * radius_m * math.cos(angle), scale * radius_m * math.sin(angle)
            points.append((wrap_lon_deg(lon + x / m_per_deg_lon(lat)), lat + y / M_PER_DEG_LAT))
        return (*points, points[0])

    return (ring(1.0), ring(hole)) if hole else (ring(1.0),)


@st.composite
def zones_at(draw: st.DrawFn, lon: float, lat: float, spread_m: float, fence_id: str = "zone") -> Fence:
    """Any kind of fence within the spread of a place."""

    def place() -> tuple[float, float]:
        x, y = draw(st.floats(-spread_m, spread_m)), draw(st.floats(-spread_m, spread_m))
        return wrap_lon_deg(lon + x / m_per_deg_lon(lat)), lat + y / M_PER_DEG_LAT

    size_m = draw(st.sampled_from((20.0, 200.0, 2_000.0)))
    kind = draw(st.sampled_from(("circle", "corridor", "polygon", "multipolygon")))
    if kind == "circle":
        return Fence(fence_id=fence_id, shape="circle", coordinates=(((place(),),),), radius_m=size_m)
    if kind == "corridor":
        line = tuple(place() for _ in range(draw(st.integers(2, 40))))
        return Fence(fence_id=fence_id, shape="corridor", coordinates=((line,),), width_m=size_m / 2)
    radii = st.lists(st.floats(0.3 * size_m, size_m), min_size=3, max_size=draw(st.sampled_from((4, 12, 60))))
    hole = draw(st.sampled_from((0.0, 0.5)))
    polygon = star(*place(), draw(radii), hole)
    if kind == "polygon":
        return Fence(fence_id=fence_id, shape="polygon", coordinates=(polygon,))
    x, y = polygon[0][0]
    apart = star(wrap_lon_deg(x + 3 * size_m / m_per_deg_lon(y)), y, draw(radii))
    return Fence(fence_id=fence_id, shape="multipolygon", coordinates=(polygon, apart))


def true_distance_m(fence: Fence, lat: float, lon: float) -> float:
    """Signed metres to the boundary, negative inside."""
    if fence.shape == "circle":
        x, y = fence.coordinates[0][0][0]
        return distance_m(lat, lon, y, x) - (fence.radius_m or 0.0)
    if fence.shape == "corridor":
        line = in_metres(LineString(fence.coordinates[0][0]), lat, lon)
        return float(line.distance(HERE)) - (fence.width_m or 0.0) / 2
    area = in_metres(MultiPolygon([(rings[0], rings[1:]) for rings in fence.coordinates]), lat, lon)
    away = float(area.boundary.distance(HERE))
    return -away if area.contains(HERE) else away


def in_metres(shape: shapely.Geometry, lat: float, lon: float) -> shapely.Geometry:
    """The shape in a plane that touches the earth at a place: x metres east of it, y north."""

    def to_plane(points: np.ndarray) -> np.ndarray:
        east, north = (points - (lon, lat)).T
        return np.column_stack((wrap_lon_deg(east) * m_per_deg_lon(lat), north * M_PER_DEG_LAT))

    return shapely.transform(shape, to_plane)
