"""Generic zones of the bundled city, as GeoJSON for the gateway and as shapes in metres for the truth."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import shapely
from msgspec import Struct
from shapely import LineString, MultiPolygon, Point, Polygon

from firmware_sim.city import City, Place, to_geo, to_place

ARC_STEPS = 64
"""A circle's quarter is drawn with this many edges: 4 mm off at a radius of 50 m."""


class Zone(Struct, frozen=True, kw_only=True):
    """A fence: what the gateway is told, and its shape in metres."""

    fence_id: str
    feature: dict[str, Any]
    shape: shapely.Geometry


def circle(x_m: float, y_m: float, radius_m: float) -> Polygon:
    return Point(x_m, y_m).buffer(radius_m, quad_segs=ARC_STEPS)


def city_zones(city: City, depots: Sequence[tuple[str, Place]]) -> list[Zone]:
    """A port, a low-emission zone with a hole, a corridor, a circle, a campus in two parts, and the depots."""
    old_town = [to_place(lat, lon) for lon, lat in city.district("Old Town")]
    hole = circle(-10, 300, 90).simplify(4)
    zones = [
        _polygon("port", "Port of Doggerhaven", Polygon([to_place(b, a) for a, b in city.district("Harbour")])),
        _polygon("low-emission-zone", "Low-emission zone", Polygon(old_town).buffer(140).simplify(8).difference(hole)),
        _corridor("north-avenue", "North Avenue", _named(city, "North Avenue", 2_300.0), 60.0),
        _circle("market-square", "Market Square", 330.0, 430.0, 160.0),
        _polygon(
            "university",
            "University, both campuses",
            MultiPolygon(
                [Polygon([(1060, 620), (1500, 640), (1470, 1060), (1020, 1030)]), circle(2350, 820, 190).simplify(3)]
            ),
        ),
    ]
    zones += [_circle(f"depot-{name.lower()}", f"{name} depot", x_m, y_m, 90.0) for name, (x_m, y_m) in depots]
    return zones


def fences_document(zones: Sequence[Zone]) -> bytes:
    return msgspec.json.encode({"type": "FeatureCollection", "features": [z.feature for z in zones]})


def _named(city: City, name: str, within_m: float) -> LineString:
    """The line of a street, as far as it lies within a distance of the city's middle."""
    merged = shapely.line_merge(
        shapely.MultiLineString(
            [a.points for a in city.arcs if a.name == name and (a.twin is None or a.twin > a.index)]
        )
    )
    line: LineString = max(getattr(merged, "geoms", [merged]), key=lambda g: g.length)
    inside = line.intersection(Point(0, 0).buffer(within_m))
    longest: LineString = max(getattr(inside, "geoms", [inside]), key=lambda g: g.length)
    return longest.simplify(2.0)


def _lon_lat(x_m: float, y_m: float) -> list[float]:
    lat_deg, lon_deg = to_geo(x_m, y_m)
    return [lon_deg, lat_deg]


def _zone(fence_id: str, name: str, geometry: dict[str, Any], shape: shapely.Geometry, **more: float) -> Zone:
    properties = {"name": name, **more}
    feature = {"type": "Feature", "id": fence_id, "properties": properties, "geometry": geometry}
    return Zone(fence_id=fence_id, feature=feature, shape=shape)


def _polygon(fence_id: str, name: str, shape: Polygon | MultiPolygon) -> Zone:
    polygons = [
        [[_lon_lat(*c) for c in ring.coords] for ring in (p.exterior, *p.interiors)]
        for p in getattr(shape, "geoms", [shape])
    ]
    if isinstance(shape, Polygon):
        return _zone(fence_id, name, {"type": "Polygon", "coordinates": polygons[0]}, shape)
    return _zone(fence_id, name, {"type": "MultiPolygon", "coordinates": polygons}, shape)


def _circle(fence_id: str, name: str, x_m: float, y_m: float, radius_m: float) -> Zone:
    geometry = {"type": "Point", "coordinates": _lon_lat(x_m, y_m)}
    return _zone(fence_id, name, geometry, circle(x_m, y_m, radius_m), radius_m=radius_m)


def _corridor(fence_id: str, name: str, line: LineString, width_m: float) -> Zone:
    geometry = {"type": "LineString", "coordinates": [_lon_lat(*c) for c in line.coords]}
    return _zone(fence_id, name, geometry, line.buffer(width_m / 2, quad_segs=ARC_STEPS), width_m=width_m)


def crossings(points: Sequence[Place], at_m: Sequence[float], shape: shapely.Geometry) -> list[tuple[float, bool]]:
    """Where a route cuts a zone's boundary: (metres along, whether it goes in), in order. Exact for each pass."""
    line = np.asarray(points)
    segments = shapely.linestrings(np.stack([line[:-1], line[1:]], axis=1))
    shapely.prepare(shape)
    cuts: list[float] = [0.0]
    for i in np.flatnonzero(shapely.intersects(segments, shape.boundary)).tolist():
        for x, y in shapely.get_coordinates(shapely.intersection(segments[i], shape.boundary)):
            cuts.append(at_m[i] + float(np.hypot(x - line[i, 0], y - line[i, 1])))
    cuts = [*sorted(cuts), at_m[-1]]
    middles = np.array([(a + b) / 2 for a, b in itertools.pairwise(cuts)])
    inside = shapely.contains_xy(shape, np.interp(middles, at_m, line[:, 0]), np.interp(middles, at_m, line[:, 1]))
    was = bool(shapely.contains_xy(shape, line[0, 0], line[0, 1]))
    found: list[tuple[float, bool]] = []
    for cut_m, now in zip(cuts, inside, strict=False):
        if bool(now) != was:
            was = bool(now)
            found.append((cut_m, was))
    return found
