"""A set of fences that knows, for thousands of positions at once, which of them they are in or near."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator
from math import cos, radians, sin
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.geo import M_PER_DEG_LAT
from gateway.geofence import crossings
from gateway.geofence.boundaries import Boundaries, Lines, Seen, SeenMany
from gateway.geofence.crossings import MIN_COS, Crossing
from gateway.geofence.grid import Box, Floats, Grid, Ints
from gateway.geofence.outline import beside, outline_of
from gateway.model import Fence, Stop

FEW = 4
"""Points; so few are faster in plain Python than in numpy."""
SHORT = 64
"""Edges; a longer boundary is faster in numpy even for one point."""
MAX_EDGES_AT_ONCE = 1 << 19
"""Edges looked at in one go, about 200 bytes each."""
SLACK = 1.000001
"""What a box is too large by, so that rounding never leaves out what the exact distance lets in."""
RADIANS = radians(1.0)


class Located(NamedTuple):
    """Pairs of a point (its index) and a zone (its handle), by rising point, then zone; metres, negative inside."""

    point: Ints
    zone: Ints
    distance_m: Floats


class _Fix(NamedTuple):
    lat_deg: float
    lon_deg: float
    cos_lat: float
    sin_lat: float
    reach_m: float


class _Fixes(NamedTuple):
    lat_deg: Floats
    lon_deg: Floats
    cos_lat: Floats
    sin_lat: Floats
    reach_m: Floats


class Zones:
    """Fences by id, each under a small int, its handle, that stays the same while the fence is in the set, also when it
    is replaced. The handle of a removed fence goes to a later one.

    A zone is measured on the earth: a circle exactly, any other to better than 0.1 % near its boundary.
    """

    def __init__(self, fences: Iterable[Fence] = ()) -> None:
        self._fences: list[Fence | None] = []
        self._handles: dict[str, int] = {}
        self._free: list[int] = []
        self._grid = Grid()
        self._boundaries = Boundaries()
        self._removed = 0  # vertices of boundaries no longer in use
        # Columns by handle, read in place by numpy. A zone's box is its middle meridian and half its width.
        self._south, self._north, self._middle, self._half = array("d"), array("d"), array("d"), array("d")
        self._offset_m = array("d")
        self._filled = array("b")
        self._first_run, self._runs, self._edges = array("q"), array("q"), array("q")
        for fence in fences:
            self.put(fence)

    def __len__(self) -> int:
        return len(self._handles)

    def __iter__(self) -> Iterator[Fence]:
        return (self.fence(handle) for handle in self._handles.values())

    def __contains__(self, fence_id: str) -> bool:
        return fence_id in self._handles

    def handle(self, fence_id: str) -> int:
        """KeyError if there is no such fence."""
        return self._handles[fence_id]

    def fence(self, handle: int) -> Fence:
        """KeyError if the handle is nobody's."""
        fence = self._fences[handle] if 0 <= handle < len(self._fences) else None
        if fence is None:
            raise KeyError(handle)
        return fence

    def put(self, fence: Fence) -> int:
        """Adds the fence, or replaces the one of its id."""
        outline = outline_of(fence)
        handle = self._handles.get(fence.fence_id)
        if handle is None:
            handle = self._new_handle(fence.fence_id)
        else:
            self._drop(handle)
        self._fences[handle] = fence
        lines = self._boundaries.add(outline.lines)
        box = _widened(self._boundaries.box(lines), outline.offset_m)
        self._south[handle], self._north[handle] = box.south, box.north
        self._middle[handle], self._half[handle] = (box.west + box.east) / 2, (box.east - box.west) / 2
        self._offset_m[handle], self._filled[handle] = outline.offset_m, outline.filled
        self._first_run[handle], self._runs[handle], self._edges[handle] = lines
        self._grid.put(handle, self._box(handle))
        return handle

    def remove(self, fence_id: str) -> None:
        """KeyError if there is no such fence."""
        handle = self._handles.pop(fence_id)
        self._drop(handle)
        self._fences[handle] = None
        self._free.append(handle)
        if self._removed > 10_000 and 2 * self._removed > len(self._boundaries):
            self._rewrite()

    def _new_handle(self, fence_id: str) -> int:
        if self._free:
            handle = self._free.pop()
        else:
            handle = len(self._fences)
            self._fences.append(None)
            for column in (self._south, self._north, self._middle, self._half, self._offset_m):
                column.append(0.0)
            for whole in (self._filled, self._first_run, self._runs, self._edges):
                whole.append(0)
        self._handles[fence_id] = handle
        return handle

    def _drop(self, handle: int) -> None:
        self._grid.remove(handle, self._box(handle))
        self._removed += self._edges[handle]

    def _rewrite(self) -> None:
        """Leaves out what removed fences left behind."""
        self._boundaries = Boundaries()
        self._removed = 0
        for handle in self._handles.values():
            lines = self._boundaries.add(outline_of(self.fence(handle)).lines)
            self._first_run[handle], self._runs[handle], self._edges[handle] = lines

    def _box(self, handle: int) -> Box:
        middle, half = self._middle[handle], self._half[handle]
        return Box(self._south[handle], middle - half, self._north[handle], middle + half)

    def _lines(self, handle: int) -> Lines:
        return Lines(self._first_run[handle], self._runs[handle], self._edges[handle])

    # ------------------------------------------------------------------------------------------------- locating

    def locate(self, lat_deg: npt.ArrayLike, lon_deg: npt.ArrayLike, reach_m: npt.ArrayLike) -> Located:
        """Every pair of a point and a zone where the point is inside, or within `reach_m` (each point's or all) of it.

        Coordinates are finite degrees. The distance is that to the boundary; deeper than `reach_m` inside a polygon it
        is -reach_m. A point gets the same answer, to the bit, alone and in any batch.
        """
        lat_deg = np.ascontiguousarray(lat_deg, np.float64)
        lon_deg = np.ascontiguousarray(lon_deg, np.float64)
        reach = np.asarray(reach_m, np.float64)
        if not reach.ndim:
            reach = np.full(len(lat_deg), reach)
        if len(lat_deg) > FEW:
            return self._locate_many(lat_deg, lon_deg, reach)
        found = [
            (i, handle, distance)
            for i, place in enumerate(zip(lat_deg.tolist(), lon_deg.tolist(), reach.tolist(), strict=True))
            for handle, distance in self._locate_one(*place)
        ]
        point, zone, distance_m = zip(*found, strict=True) if found else ((), (), ())
        return Located(np.array(point, np.int64), np.array(zone, np.int64), np.array(distance_m, np.float64))

    def _locate_one(self, lat_deg: float, lon_deg: float, reach_m: float) -> list[tuple[int, float]]:
        fix = _Fix(lat_deg, lon_deg, max(cos(radians(lat_deg)), MIN_COS), sin(radians(lat_deg)), reach_m)
        pad_lat = reach_m * SLACK / M_PER_DEG_LAT
        pad_lon = _lon_width(pad_lat, fix.cos_lat)
        found = []
        for handle in self._grid.meeting(
            Box(lat_deg - pad_lat, lon_deg - pad_lon, lat_deg + pad_lat, lon_deg + pad_lon)
        ):
            if self._south[handle] - pad_lat <= lat_deg <= self._north[handle] + pad_lat:
                middle = self._middle[handle]
                at_lon = beside(lon_deg, middle)
                if abs(at_lon - middle) <= self._half[handle] + pad_lon:
                    distance_m = self._distance_m(handle, fix, at_lon)
                    if distance_m <= reach_m:
                        found.append((handle, distance_m))
        return sorted(found)

    def _distance_m(self, handle: int, fix: _Fix, lon_deg: float) -> float:
        """Signed; larger than the reach if it is out of it."""
        lat_deg, _, cos_lat, sin_lat, reach_m = fix
        near_lat = (reach_m + self._offset_m[handle]) / M_PER_DEG_LAT
        seen = Seen(lat_deg, lon_deg, cos_lat, sin_lat / cos_lat, near_lat, _lon_width(near_lat, cos_lat))
        lines = self._lines(handle)
        if lines.edges <= SHORT:
            distance_m, inside = self._boundaries.nearest(lines, seen)
        else:
            many = SeenMany(*(np.array([each]) for each in seen))
            distances, insides = self._boundaries.nearest_many(np.array([lines.first]), np.array([lines.runs]), many)
            distance_m, inside = float(distances[0]), bool(insides[0])
        if not self._filled[handle]:
            return distance_m - self._offset_m[handle]
        return -min(distance_m, reach_m) if inside else distance_m

    def _locate_many(self, lat_deg: Floats, lon_deg: Floats, reach_m: Floats) -> Located:
        radians_lat = list(map(radians, lat_deg.tolist()))
        cos_lat = np.maximum(np.array(list(map(cos, radians_lat))), MIN_COS)
        fixes = _Fixes(lat_deg, lon_deg, cos_lat, np.array(list(map(sin, radians_lat))), reach_m)
        pad_lat = reach_m * SLACK / M_PER_DEG_LAT
        pad_lon = _lon_width_many(pad_lat, cos_lat)
        point, zone = self._meeting(lat_deg - pad_lat, lon_deg - pad_lon, lat_deg + pad_lat, lon_deg + pad_lon)
        parts = [self._measured(point[part], zone[part], fixes) for part in self._portions(zone)]
        if not parts:
            return Located(point, zone, np.empty(0))
        return Located(*map(np.concatenate, zip(*parts, strict=True)))

    def _meeting(self, south: Floats, west: Floats, north: Floats, east: Floats) -> tuple[Ints, Ints]:
        """Pairs of a box and a zone whose boxes meet, by rising box, then zone."""
        box, zone = self._grid.meeting_many(south, west, north, east)
        middle = np.frombuffer(self._middle)[zone]
        half = (east - west) / 2
        centre = (east + west) / 2
        met = np.abs(_beside_many(centre[box], middle) - middle) <= np.frombuffer(self._half)[zone] + half[box]
        met &= south[box] <= np.frombuffer(self._north)[zone]
        met &= np.frombuffer(self._south)[zone] <= north[box]
        pairs = np.unique(box[met] << 32 | zone[met])
        return pairs >> 32, pairs & 0xFFFFFFFF

    def _portions(self, zone: Ints) -> list[slice]:
        """Cuts the pairs so that the edges looked at together stay within MAX_EDGES_AT_ONCE, or are one zone's."""
        edges = np.cumsum(np.frombuffer(self._edges, np.int64)[zone])
        cuts = [0]
        while cuts[-1] < len(zone):
            before = int(edges[cuts[-1] - 1]) if cuts[-1] else 0
            cuts.append(max(int(np.searchsorted(edges, before + MAX_EDGES_AT_ONCE, "right")), cuts[-1] + 1))
        return [slice(*ends) for ends in itertools.pairwise(cuts)]

    def _measured(self, point: Ints, zone: Ints, fixes: _Fixes) -> Located:
        middle, offset_m = np.frombuffer(self._middle)[zone], np.frombuffer(self._offset_m)[zone]
        filled = np.frombuffer(self._filled, np.int8)[zone] != 0
        lat_deg, lon_deg, cos_lat, sin_lat, reach_m = (each[point] for each in fixes)
        near_lat = (reach_m + offset_m) / M_PER_DEG_LAT
        near_lon = _lon_width_many(near_lat, cos_lat)
        seen = SeenMany(lat_deg, _beside_many(lon_deg, middle), cos_lat, sin_lat / cos_lat, near_lat, near_lon)
        first_run, runs = np.frombuffer(self._first_run, np.int64)[zone], np.frombuffer(self._runs, np.int64)[zone]
        distance_m, inside = self._boundaries.nearest_many(first_run, runs, seen)
        within = np.where(inside, -np.minimum(distance_m, reach_m), distance_m)
        signed_m = np.where(filled, within, distance_m - offset_m)
        kept = signed_m <= reach_m
        return Located(point[kept], zone[kept], signed_m[kept])

    # ------------------------------------------------------------------------------------------------- crossing

    def passing(
        self, lat1_deg: npt.ArrayLike, lon1_deg: npt.ArrayLike, lat2_deg: npt.ArrayLike, lon2_deg: npt.ArrayLike
    ) -> tuple[Ints, Ints]:
        """Pairs (index of the way from 1 to 2, handle) of which `crossings` may find something: the way meets the box."""
        lat1, lon1, lat2, lon2 = (
            np.atleast_1d(np.asarray(c, np.float64)) for c in (lat1_deg, lon1_deg, lat2_deg, lon2_deg)
        )
        lon2 = _beside_many(lon2, lon1)
        south, north = np.minimum(lat1, lat2), np.maximum(lat1, lat2)
        way, zone = self._meeting(south, np.minimum(lon1, lon2), north, np.maximum(lon1, lon2))
        # Both boxes meet. A corner of the zone's lies on either side of the way, or all do.
        dx, dy = (lon2 - lon1)[way], (lat2 - lat1)[way]
        zone_south, zone_north = np.frombuffer(self._south)[zone], np.frombuffer(self._north)[zone]
        middle = np.frombuffer(self._middle)[zone]
        off_x = middle - _beside_many(lon1[way], middle)
        off_y = (zone_south + zone_north) / 2 - lat1[way]
        half_x, half_y = np.frombuffer(self._half)[zone], (zone_north - zone_south) / 2
        met = np.abs(dx * off_y - dy * off_x) <= (np.abs(dx) * half_y + np.abs(dy) * half_x) * SLACK
        return way[met], zone[met]

    def crossings(
        self, handle: int, lat1_deg: float, lon1_deg: float, lat2_deg: float, lon2_deg: float
    ) -> list[Crossing]:
        """Where the straight way from fix 1 to fix 2 cuts the zone's boundary, by rising fraction of the way.

        Fractions are in (0, 1], so ways one after another share no crossing. A mere touch is none.
        """
        self.fence(handle)
        lon1 = beside(lon1_deg, self._middle[handle])
        lon2 = beside(lon2_deg, lon1)
        way = (lon1, lat1_deg, lon2, lat2_deg)
        south, north = min(lat1_deg, lat2_deg), max(lat1_deg, lat2_deg)
        offset_m = self._offset_m[handle]
        box = _widened(Box(south, min(lon1, lon2), north, max(lon1, lon2)), offset_m)
        edges = self._boundaries.edges_meeting(self._lines(handle), box)
        if self._filled[handle]:
            return crossings.of_rings(way, edges)
        return crossings.of_band(way, edges, offset_m)


def stop_zone(stop: Stop) -> Fence:
    """A stop's zone as a fence of the id "stop/" + its own: its polygon, or the circle round it."""
    fence_id = f"stop/{stop.stop_id}"
    if stop.zone:
        return Fence(fence_id=fence_id, shape="polygon", coordinates=(stop.zone,))
    centre = (((stop.lon_deg, stop.lat_deg),),)
    return Fence(fence_id=fence_id, shape="circle", coordinates=(centre,), radius_m=stop.radius_m)


def _lon_width(lat_width_deg: float, cos_lat: float) -> float:
    """Half the width of a box, in degrees of longitude, round a place that reaches so many degrees of latitude."""
    narrowest = cos_lat - lat_width_deg * RADIANS
    return min(lat_width_deg / narrowest, 180.0) if narrowest > MIN_COS else 180.0


def _lon_width_many(lat_width_deg: Floats, cos_lat: Floats) -> Floats:
    narrowest = cos_lat - lat_width_deg * RADIANS
    there = narrowest > MIN_COS
    return np.where(there, np.minimum(lat_width_deg / np.where(there, narrowest, 1.0), 180.0), 180.0)


def _widened(box: Box, by_m: float) -> Box:
    """A box with everything within so many metres of it; at a pole all longitudes."""
    by_lat = by_m * SLACK / M_PER_DEG_LAT
    by_lon = _lon_width(by_lat, cos(radians(max(abs(box.south), abs(box.north)))))
    middle, half = (box.west + box.east) / 2, min((box.east - box.west) / 2 + by_lon, 180.0)
    return Box(max(box.south - by_lat, -90.0), middle - half, min(box.north + by_lat, 90.0), middle + half)


def _beside_many(lon_deg: Floats, reference: Floats) -> Floats:
    return lon_deg - 360.0 * np.rint((lon_deg - reference) / 360.0)
