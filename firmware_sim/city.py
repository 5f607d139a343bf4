"""The ground that the fleet drives on, as a map and as a graph of streets.

Bundled: Doggerhaven, a fictional city on Dogger Bank in the North Sea, where none is (`firmware_sim.build_city` drew it).
It is GeoJSON: every street between two crossings is a LineString, and streets that share an end meet there. Properties
of a feature: `kind` (street, signal, water, park, district, block), `name`; of a street `class`, `limit_kmh`, `oneway`,
`bridge`.

Inside, places are metres east and north of the middle of the city.
"""

from __future__ import annotations

import functools
import itertools
import math
from importlib import resources
from typing import Any

import msgspec
from msgspec import Struct

from gateway.geo import M_PER_DEG_LAT, m_per_deg_lon

CENTRE_LAT_DEG = 54.72
CENTRE_LON_DEG = 2.68
LIMITS_KMH = {"motorway": 90, "primary": 60, "secondary": 50, "tertiary": 50, "residential": 30}

Place = tuple[float, float]


class Arc(Struct, frozen=True, kw_only=True):
    """A street from one crossing to the next, in one direction of travel."""

    index: int
    start: int
    end: int
    points: tuple[Place, ...]
    length_m: float
    limit_mps: float
    kind: str
    name: str
    twin: int | None
    """The same street the other way; None in a one-way street."""


class City(Struct, frozen=True, kw_only=True):
    """Streets as a directed graph: `out[junction]` lists the arcs that leave it."""

    name: str
    junctions: tuple[Place, ...]
    arcs: tuple[Arc, ...]
    out: tuple[tuple[int, ...], ...]
    signals: frozenset[int]
    geojson: bytes
    """The map as it was read: streets, water, parks, districts, blocks."""

    def district(self, name: str) -> list[list[float]]:
        """The outline of a district, as GeoJSON's ring of [lon, lat]."""
        for feature in msgspec.json.decode(self.geojson)["features"]:
            if feature["properties"].get("kind") == "district" and feature["properties"]["name"] == name:
                ring: list[list[float]] = feature["geometry"]["coordinates"][0]
                return ring
        raise KeyError(name)


def to_place(lat_deg: float, lon_deg: float) -> Place:
    """Metres east and north of the city's middle."""
    return (lon_deg - CENTRE_LON_DEG) * m_per_deg_lon(CENTRE_LAT_DEG), (lat_deg - CENTRE_LAT_DEG) * M_PER_DEG_LAT


def to_geo(x_m: float, y_m: float) -> tuple[float, float]:
    """Latitude and longitude, to a centimetre."""
    return (
        round(CENTRE_LAT_DEG + y_m / M_PER_DEG_LAT, 7),
        round(CENTRE_LON_DEG + x_m / m_per_deg_lon(CENTRE_LAT_DEG), 7),
    )


def length_m(points: tuple[Place, ...]) -> float:
    return sum(math.dist(a, b) for a, b in itertools.pairwise(points))


@functools.cache
def doggerhaven() -> City:
    """The bundled city."""
    return read_city(resources.files("firmware_sim").joinpath("doggerhaven.geojson").read_bytes())


def read_city(geojson: bytes) -> City:
    """A city from GeoJSON as described above."""
    document = msgspec.json.decode(geojson)
    junctions: dict[Place, int] = {}
    arcs: list[Arc] = []
    lights: list[Place] = []
    for feature in document["features"]:
        kind = feature["properties"].get("kind")
        if kind == "street":
            _add_street(feature, junctions, arcs)
        elif kind == "signal":
            lon_deg, lat_deg = feature["geometry"]["coordinates"]
            lights.append(_cm(to_place(lat_deg, lon_deg)))
    out: list[list[int]] = [[] for _ in junctions]
    for arc in arcs:
        out[arc.start].append(arc.index)
    return City(
        name=document.get("name", "City"),
        junctions=tuple(junctions),
        arcs=tuple(arcs),
        out=tuple(tuple(o) for o in out),
        signals=frozenset(junctions[p] for p in lights if p in junctions),
        geojson=geojson,
    )


def _add_street(feature: dict[str, Any], junctions: dict[Place, int], arcs: list[Arc]) -> None:
    properties = feature["properties"]
    points = tuple(_cm(to_place(lat, lon)) for lon, lat in feature["geometry"]["coordinates"])
    start, end = (junctions.setdefault(p, len(junctions)) for p in (points[0], points[-1]))
    both = not properties.get("oneway")
    here = len(arcs)
    for there in (False, True) if both else (False,):
        arcs.append(
            Arc(
                index=here + there,
                start=end if there else start,
                end=start if there else end,
                points=points[::-1] if there else points,
                length_m=length_m(points),
                limit_mps=properties["limit_kmh"] / 3.6,
                kind=properties["class"],
                name=properties.get("name", ""),
                twin=here + (not there) if both else None,
            )
        )


def _cm(place: Place) -> Place:
    return round(place[0], 2), round(place[1], 2)
