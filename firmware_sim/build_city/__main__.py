"""python -m firmware_sim.build_city FILE: draws the city and writes it as GeoJSON."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from shapely import Polygon, unary_union
from shapely.geometry.base import BaseGeometry

from firmware_sim.build_city.bones import Directions, Ground, Street, big_streets, ground, quays
from firmware_sim.build_city.growth import Growth, Spacing
from firmware_sim.build_city.names import Names
from firmware_sim.build_city.weave import Edge, Node, blocks, cross, cut_at_water, prune, signals, tie_loose_ends
from firmware_sim.city import CENTRE_LAT_DEG, CENTRE_LON_DEG, LIMITS_KMH
from gateway.geo import M_PER_DEG_LAT, m_per_deg_lon

SEED = 1954


def streets_of(land: Ground, dice: random.Random) -> list[Street]:
    streets = cut_at_water([*big_streets(), *quays(land)], land)
    spacing = Spacing()
    for s in streets:
        spacing.add(s.line)
    field = Directions()
    no_go = unary_union([land.water().buffer(32), *(s.line.buffer(45) for s in streets if s.kind == "motorway")])
    for park in land.parks.values():
        no_go = no_go.union(park.buffer(8))
    names = Names(dice)
    for kind, apart, tries, longest_m in (
        ("tertiary", _wide_apart_m, 2_500, 2_600.0),
        ("residential", _apart_m, 16_000, 1_300.0),
    ):
        growth = Growth(field, spacing, land.town.difference(no_go), dice)
        for line in growth.grow(apart, tries, longest_m):
            streets.append(Street(line=line, kind=kind, name=names.street(kind), oneway=_oneway(line, kind, dice)))
    return streets


def _wide_apart_m(*_place_m: float) -> float:
    return 330.0


def _apart_m(x: float, y: float) -> float:
    """Streets stand closer in the old town, wider outside."""
    r = math.hypot(x, y - 200)
    return 72.0 + 62.0 * min(1.0, max(0.0, (r - 300) / 1_300)) + (45.0 if x < -1_250 and y < -650 else 0.0)


def _oneway(line: BaseGeometry, kind: str, dice: random.Random) -> bool:
    return kind == "residential" and math.hypot(line.centroid.x, line.centroid.y - 250) < 700 and dice.random() < 0.35


def draw() -> dict[str, Any]:
    """The city as a GeoJSON FeatureCollection."""
    dice = random.Random(SEED)
    land = ground()
    streets = streets_of(land, dice)
    tie_loose_ends(streets, land)
    edges = prune(cross(streets, land))
    lights = signals(edges, dice)
    features = [
        *(_area("water", n, p) for n, p in (("North Sea", land.sea), ("Dogger", land.river))),
        *(_area("park", n, p) for n, p in land.parks.items()),
        *(_area("district", n, p) for n, p in land.districts.items()),
        *(_area("block", None, b) for b in blocks(edges, land)),
        *_streets(edges),
        *({"type": "Feature", "properties": {"kind": "signal"}, "geometry": _point(n)} for n in lights),
    ]
    return {"type": "FeatureCollection", "name": "Doggerhaven", "features": features}


def _streets(edges: list[Edge]) -> Iterable[dict[str, Any]]:
    for e in edges:
        properties: dict[str, Any] = {
            "kind": "street",
            "class": e.kind,
            "name": e.name,
            "limit_kmh": LIMITS_KMH[e.kind],
        }
        if e.oneway:
            properties["oneway"] = True
        if e.bridge:
            properties["bridge"] = True
        yield {
            "type": "Feature",
            "properties": properties,
            "geometry": {"type": "LineString", "coordinates": _ring(e.line.coords)},
        }


def _place(x: float, y: float) -> list[float]:
    lat_deg = CENTRE_LAT_DEG + y / M_PER_DEG_LAT
    return [round(CENTRE_LON_DEG + x / m_per_deg_lon(CENTRE_LAT_DEG), 6), round(lat_deg, 6)]


def _ring(coords: Iterable[tuple[float, ...]]) -> list[list[float]]:
    return [_place(c[0], c[1]) for c in coords]


def _point(node: Node) -> dict[str, Any]:
    return {"type": "Point", "coordinates": _place(*node)}


def _area(kind: str, name: str | None, shape: BaseGeometry) -> dict[str, Any]:
    shape = shape.simplify(1.5)
    polygons = [p for p in getattr(shape, "geoms", [shape]) if isinstance(p, Polygon)]
    rings = [[_ring(p.exterior.coords), *(_ring(i.coords) for i in p.interiors)] for p in polygons]
    one = len(rings) == 1
    geometry = {"type": "Polygon" if one else "MultiPolygon", "coordinates": rings[0] if one else rings}
    properties = {"kind": kind} if name is None else {"kind": kind, "name": name}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


if __name__ == "__main__":
    features = draw()
    rows = b",\n".join(msgspec.json.encode(f) for f in features.pop("features"))
    head = msgspec.json.encode(features)[:-1]
    Path(sys.argv[1]).write_bytes(head + b',"features":[\n' + rows + b"\n]}\n")
