"""Positions located per second of CPU against 1,000 and 10,000 fences, next to one shapely call for each fence and position."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from time import process_time
from typing import Any

import numpy as np
import shapely

from gateway.geo import M_PER_DEG_LAT, m_per_deg_lon
from gateway.geofence import Zones
from gateway.geofence.outline import outline_of
from gateway.model import Fence

CITY = (-8.6, 41.1)
CITY_M = 30_000.0
REACH_M = 50.0
SECONDS = 0.4


def city_fences(count: int, seed: int = 1) -> list[Fence]:
    """Circles, corridors and polygons of 4 to 30 corners, 50 to 500 m, spread over a city 30 km wide."""
    rng = random.Random(seed)
    return [_fence(rng, str(i), *_place(rng)) for i in range(count)]


def _place(rng: random.Random) -> tuple[float, float]:
    lon, lat = CITY
    east, north = rng.uniform(-CITY_M / 2, CITY_M / 2), rng.uniform(-CITY_M / 2, CITY_M / 2)
    return lon + east / m_per_deg_lon(lat), lat + north / M_PER_DEG_LAT


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


def measure() -> dict[str, float]:
    """Positions per second of CPU of each way, and how many times faster ours is than the naive one ("ratio …")."""
    found: dict[str, float] = {}
    rng = random.Random(2)
    places = [_place(rng) for _ in range(10_000)]
    lon, lat = np.array(places).T.copy()
    for count in (1_000, 10_000):
        fences = city_fences(count)
        naive = found[f"naive, {count} fences"] = _naive(fences, places)
        zones = Zones(fences)
        for batch in (1, 100, 1_000):
            starts = range(0, len(lat), batch)
            parts = [(lat[i : i + batch], lon[i : i + batch], REACH_M) for i in starts]
            name = f"{count} fences, batches of {batch}"
            found[name] = batch * _per_second(zones.locate, parts)
            found[f"ratio {name}"] = found[name] / naive
    return found


def _naive(fences: list[Fence], places: list[tuple[float, float]]) -> float:
    """Prepared shapes in degrees, inside or not: not even a distance."""
    shapes = [_shape(fence) for fence in fences]
    shapely.prepare(shapes)

    def locate(lon: float, lat: float) -> list[int]:
        point = shapely.Point(lon, lat)
        return [i for i, shape in enumerate(shapes) if shape.contains(point)]

    return _per_second(locate, places)


def _shape(fence: Fence) -> shapely.Geometry:
    outline = outline_of(fence)
    if outline.filled:
        return shapely.Polygon(outline.lines[0])
    return shapely.LineString(outline.lines[0]).buffer(outline.offset_m / M_PER_DEG_LAT)


def _per_second(work: Callable[..., object], arguments: Sequence[tuple[Any, ...]]) -> float:
    """Calls per second of CPU, over the arguments round and round for a while."""
    calls, start = 0, process_time()
    while (elapsed := process_time() - start) < SECONDS:
        work(*arguments[calls % len(arguments)])
        calls += 1
    return calls / elapsed


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:40} {value:14,.1f}")
