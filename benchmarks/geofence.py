"""Positions located in and near fences, next to one shapely call for each fence and position, and next to its index."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import shapely

from benchmarks.fleet import somewhere
from benchmarks.measure import Contest, Pace, repeated
from gateway.geo import M_PER_DEG_LAT, m_per_deg_lon
from gateway.geofence import Zones
from gateway.geofence.outline import outline_of
from gateway.geofence.zones import Located
from gateway.model import Fence

REACH_M = 50.0
PLACES = 10_000
BATCHES = (1, 100, 1_000)


def city_fences(count: int, seed: int = 1) -> list[Fence]:
    """Circles, corridors and polygons of 4 to 30 corners, 50 to 500 m, spread over a city 30 km wide."""
    rng = random.Random(seed)
    return [_fence(rng, str(i), *somewhere(rng)) for i in range(count)]


def _fence(rng: random.Random, fence_id: str, lon: float, lat: float) -> Fence:
    size_m = math.exp(rng.uniform(math.log(50), math.log(500)))
    kind = rng.random()
    if kind < 0.3:
        return Fence(fence_id=fence_id, shape="circle", coordinates=((((lon, lat),),),), radius_m=size_m)
    corners = []
    for i in range(count := rng.randint(4, 30)):
        angle, radius_m = 2 * math.pi * i / count, size_m * rng.uniform(0.6, 1)
        x, y = radius_m * math.cos(angle), radius_m * math.sin(angle)
        corners.append((lon + x / m_per_deg_lon(lat), lat + y / M_PER_DEG_LAT))
    if kind < 0.4:
        return Fence(fence_id=fence_id, shape="corridor", coordinates=((tuple(corners[: count // 2]),),), width_m=60.0)
    return Fence(fence_id=fence_id, shape="polygon", coordinates=(((*corners, corners[0]),),))


def shapes(fences: Sequence[Fence]) -> list[shapely.Geometry]:
    """Prepared shapes in degrees, good enough for inside or not."""
    found = [_shape(fence) for fence in fences]
    shapely.prepare(found)
    return found


def _shape(fence: Fence) -> shapely.Geometry:
    outline = outline_of(fence)
    if outline.filled:
        return shapely.Polygon(outline.lines[0])
    return shapely.LineString(outline.lines[0]).buffer(outline.offset_m / M_PER_DEG_LAT)


def contests(pace: Pace) -> Iterator[Contest]:
    """1,000 and, unless `quick`, 10,000 and 100,000 fences in one city: the denser, the more of them a position is in or near."""
    rng = random.Random(2)
    places = np.array([somewhere(rng) for _ in range(PLACES)])
    for count in (1_000,) if pace.quick else (1_000, 10_000, 100_000):
        fences = city_fences(count)
        zones, outlines = Zones(fences), shapes(fences)
        indexed = _Indexed(outlines)
        for batch in BATCHES:
            ours = _rounds(places, batch, partial(_locate, zones))
            naive = _rounds(places, 1, partial(_one_by_one, outlines))
            case = f"{count:,} fences, inside or within {REACH_M:.0f} m, batches of {batch:,}"
            against = "shapely: contains of each fence for each position, inside only, no distance"
            yield _contest(pace, case, against, ours, naive)
        against = "not naive: shapely's STRtree (dwithin, then distance), in degrees, the same batches"
        yield _contest(pace, case, against, ours, _rounds(places, batch, indexed.locate))


def _contest(pace: Pace, case: str, against: str, ours: Callable[[], int], naive: Callable[[], int]) -> Contest:
    seconds = pace.at_least_s / 2
    return Contest(
        stage="geofence", case=case, against=against, ours=repeated(ours, seconds), naive=repeated(naive, seconds)
    )


Coordinates = npt.NDArray[np.float64]


def _rounds(places: Coordinates, batch: int, work: Callable[[Coordinates, Coordinates], object]) -> Callable[[], int]:
    """Work on the next batch of the places, round and round."""
    parts = [(places[i : i + batch, 0].copy(), places[i : i + batch, 1].copy()) for i in range(0, PLACES, batch)]
    turn = 0

    def next_batch() -> int:
        nonlocal turn
        work(*parts[turn % len(parts)])
        turn += 1
        return batch

    return next_batch


def _locate(zones: Zones, lon: Coordinates, lat: Coordinates) -> Located:
    return zones.locate(lat, lon, REACH_M)


def _one_by_one(outlines: list[shapely.Geometry], lon: Coordinates, lat: Coordinates) -> list[int]:
    point = shapely.Point(lon[0], lat[0])
    return [i for i, outline in enumerate(outlines) if outline.contains(point)]


class _Indexed:
    """What shapely itself offers for the same question, its index; metres taken as degrees of latitude."""

    def __init__(self, outlines: list[shapely.Geometry]) -> None:
        self._tree = shapely.STRtree(outlines)
        self._boundaries = shapely.boundary(outlines)

    def locate(self, lon: Coordinates, lat: Coordinates) -> npt.NDArray[np.float64]:
        points = shapely.points(lon, lat)
        point, zone = self._tree.query(points, predicate="dwithin", distance=REACH_M / M_PER_DEG_LAT)
        distance: npt.NDArray[np.float64] = shapely.distance(points[point], self._boundaries[zone])
        return distance
