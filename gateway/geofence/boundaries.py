"""How far is a point from a zone's lines, and are they round it: for one pair in Python, for thousands in numpy.

Each line is cut into runs of about √n edges with a box each, so that a border of 10,000 points costs about 200 tests and
not 10,000. Both ways of computing give the same bits, alone or in any batch (sums, products, quotients, roots and the
same `math` functions only): events, and their ids, follow from these numbers.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import inf, isqrt, radians, sqrt
from typing import NamedTuple

import numpy as np

from gateway.geo import M_PER_DEG_LAT, distance_m
from gateway.geofence.grid import Bools, Box, Floats, Ints, spread
from gateway.geofence.outline import Line

PLANE = (2_000.0 / M_PER_DEG_LAT) ** 2
"""Square degrees at the equator. So near, and nearer by the cosine of latitude, the earth is a plane with the scale of the
latitude halfway: 2e-8 of the distance wrong at most. Farther off the great circle is measured."""
HALF_RADIAN = radians(0.5)
SHORT_RUN = 16
"""Edges; a shorter run costs more to look at than its edges."""


class Lines(NamedTuple):
    """A zone's lines: its runs `first … first + runs - 1`, and how many edges they have."""

    first: int
    runs: int
    edges: int


class Seen(NamedTuple):
    """From where the lines are looked at: a point, its latitude's cosine and tangent, and how far (degrees) is near."""

    lat_deg: float
    lon_deg: float
    cos_lat: float
    tan_lat: float
    near_lat_deg: float
    near_lon_deg: float


class SeenMany(NamedTuple):
    """The same for many pairs of a point and a zone."""

    lat_deg: Floats
    lon_deg: Floats
    cos_lat: Floats
    tan_lat: Floats
    near_lat_deg: Floats
    near_lon_deg: Floats


class Boundaries:
    """Lines of many zones, one after another in flat columns that numpy reads in place."""

    def __init__(self) -> None:
        self._lat, self._lon = array("d"), array("d")
        self._south, self._west, self._north, self._east = array("d"), array("d"), array("d"), array("d")
        self._first, self._edges = array("q"), array("q")  # of each run: its first vertex, its number of edges

    def __len__(self) -> int:
        return len(self._lat)

    def add(self, lines: Sequence[Line]) -> Lines:
        first = len(self._first)
        for line in lines:
            start = len(self._lat)
            self._lon.extend(lon_deg for lon_deg, _ in line)
            self._lat.extend(lat_deg for _, lat_deg in line)
            edges = len(line) - 1
            length = max(SHORT_RUN, isqrt(edges))
            for begin in range(start, start + edges, length):
                self._add_run(begin, min(length, start + edges - begin))
        return Lines(first, len(self._first) - first, sum(len(line) - 1 for line in lines))

    def _add_run(self, first: int, edges: int) -> None:
        lat_deg, lon_deg = self._lat[first : first + edges + 1], self._lon[first : first + edges + 1]
        self._south.append(min(lat_deg))
        self._north.append(max(lat_deg))
        self._west.append(min(lon_deg))
        self._east.append(max(lon_deg))
        self._first.append(first)
        self._edges.append(edges)

    def box(self, lines: Lines) -> Box:
        runs = slice(lines.first, lines.first + lines.runs)
        return Box(min(self._south[runs]), min(self._west[runs]), max(self._north[runs]), max(self._east[runs]))

    def nearest(self, lines: Lines, seen: Seen) -> tuple[float, bool]:
        """Metres to the nearest edge (inf if none is near), and whether rings among the lines hold the point inside.

        "Near" is a box: the distance is right wherever it is not larger than what the box was made for.
        """
        lat_deg, lon_deg, near_lat, near_lon = seen.lat_deg, seen.lon_deg, seen.near_lat_deg, seen.near_lon_deg
        best = (inf, 0.0, 0.0)
        inside = False
        for run in range(lines.first, lines.first + lines.runs):
            first = self._first[run]
            last = first + self._edges[run]
            if (
                self._south[run] - near_lat <= lat_deg <= self._north[run] + near_lat
                and self._west[run] - near_lon <= lon_deg <= self._east[run] + near_lon
            ):
                best, crossed = self._nearest_edge(first, last, seen, best)
                inside ^= crossed
            elif lon_deg < self._west[run]:
                # All of it lies east: a ray to the east crosses it oddly often if its ends are on either side.
                inside ^= (self._lat[first] > lat_deg) != (self._lat[last] > lat_deg)
        return self._metres(best, seen), inside

    def _metres(self, best: tuple[float, float, float], seen: Seen) -> float:
        square, north, east = best
        if square <= PLANE * seen.cos_lat * seen.cos_lat:
            east *= 1.0 - north * HALF_RADIAN * seen.tan_lat
            return sqrt(north * north + east * east) * M_PER_DEG_LAT
        if square == inf:
            return inf
        return distance_m(seen.lat_deg, seen.lon_deg, seen.lat_deg + north, seen.lon_deg + east / seen.cos_lat)

    def _nearest_edge(
        self, first: int, last: int, seen: Seen, best: tuple[float, float, float]
    ) -> tuple[tuple[float, float, float], bool]:
        """Goes on from `best`: (square, north, east) of the nearest point so far, in degrees of latitude."""
        lat_deg, lon_deg, scale = seen.lat_deg, seen.lon_deg, seen.cos_lat
        crossed = False
        by, bx = self._lat[first] - lat_deg, (self._lon[first] - lon_deg) * scale
        for y, x in zip(self._lat[first + 1 : last + 1], self._lon[first + 1 : last + 1], strict=True):
            ay, ax = by, bx
            by, bx = y - lat_deg, (x - lon_deg) * scale
            dy, dx = by - ay, bx - ax
            square = dx * dx + dy * dy
            along = min(max(-(ax * dx + ay * dy) / square, 0.0), 1.0) if square > 0.0 else 0.0
            cy, cx = ay + along * dy, ax + along * dx
            square = cx * cx + cy * cy
            if square <= best[0]:
                best = (square, cy, cx)
            if (ay > 0.0) != (by > 0.0) and (ax * dy > ay * dx) == (dy > 0.0):
                crossed = not crossed
        return best, crossed

    def nearest_many(self, first_run: Ints, runs: Ints, seen: SeenMany) -> tuple[Floats, Bools]:
        """`nearest` for many pairs: arrays of the distances and of the insides."""
        pair, run = spread(first_run, runs)
        lat_deg, lon_deg, near_lat, near_lon = (
            seen.lat_deg[pair],
            seen.lon_deg[pair],
            seen.near_lat_deg[pair],
            seen.near_lon_deg[pair],
        )
        west = np.frombuffer(self._west)[run]
        near = (np.frombuffer(self._south)[run] - near_lat <= lat_deg) & (
            lat_deg <= np.frombuffer(self._north)[run] + near_lat
        )
        near &= (west - near_lon <= lon_deg) & (lon_deg <= np.frombuffer(self._east)[run] + near_lon)
        first = np.frombuffer(self._first, np.int64)[run]
        edges = np.frombuffer(self._edges, np.int64)[run]
        all_lat = np.frombuffer(self._lat)
        crossed = ~near & (lon_deg < west) & ((all_lat[first] > lat_deg) != (all_lat[first + edges] > lat_deg))
        crossings = np.bincount(pair[crossed], minlength=len(runs))
        distance = np.full(len(runs), inf)
        owner, vertex = spread(first[near], edges[near])
        if len(vertex):
            self._nearest_edges(pair[near][owner], vertex, seen, distance, crossings)
        return distance, crossings % 2 == 1

    def _nearest_edges(self, pair: Ints, vertex: Ints, seen: SeenMany, distance: Floats, crossings: Ints) -> None:
        """Fills in, for the pairs that have edges near (sorted by pair), their distances and counts of crossings."""
        lat_deg, lon_deg, scale = seen.lat_deg[pair], seen.lon_deg[pair], seen.cos_lat[pair]
        all_lat, all_lon = np.frombuffer(self._lat), np.frombuffer(self._lon)
        ay, ax = all_lat[vertex] - lat_deg, (all_lon[vertex] - lon_deg) * scale
        by, bx = all_lat[vertex + 1] - lat_deg, (all_lon[vertex + 1] - lon_deg) * scale
        dy, dx = by - ay, bx - ax
        square = dx * dx + dy * dy
        along = -(ax * dx + ay * dy) / np.where(square > 0.0, square, 1.0)
        along = np.minimum(np.maximum(along, 0.0), 1.0)
        cy, cx = ay + along * dy, ax + along * dx
        square = cx * cx + cy * cy
        crossed = ((ay > 0.0) != (by > 0.0)) & ((ax * dy > ay * dx) == (dy > 0.0))
        crossings += np.bincount(pair[crossed], minlength=len(crossings))

        new = np.empty(len(pair), np.bool_)
        new[0] = True
        np.not_equal(pair[1:], pair[:-1], out=new[1:])
        starts = new.nonzero()[0]
        least = np.minimum.reduceat(square, starts)
        ties = (square == least[new.cumsum() - 1]).nonzero()[0]
        best = np.empty(len(distance), np.int64)
        best[pair[ties]] = ties  # of several the last, as in `nearest`
        owner = pair[starts]
        best = best[owner]
        distance[owner] = self._metres_many(least, cy[best], cx[best], SeenMany(*(each[owner] for each in seen)))

    def _metres_many(self, square: Floats, north: Floats, east: Floats, seen: SeenMany) -> Floats:
        in_plane = east * (1.0 - north * HALF_RADIAN * seen.tan_lat)
        distance = np.sqrt(north * north + in_plane * in_plane) * M_PER_DEG_LAT
        far = (square > PLANE * seen.cos_lat * seen.cos_lat).nonzero()[0]
        lat_deg, lon_deg = seen.lat_deg[far], seen.lon_deg[far]
        ends = (lat_deg, lon_deg, lat_deg + north[far], lon_deg + east[far] / seen.cos_lat[far])
        distance[far] = list(map(distance_m, *(each.tolist() for each in ends)))
        return distance

    def edges_meeting(self, lines: Lines, box: Box) -> Floats:
        """The edges whose boxes meet a box: rows of (lon_deg, lat_deg) of the start and (lon_deg, lat_deg) of the end."""
        runs = slice(lines.first, lines.first + lines.runs)
        south, north = np.frombuffer(self._south)[runs], np.frombuffer(self._north)[runs]
        west, east = np.frombuffer(self._west)[runs], np.frombuffer(self._east)[runs]
        met = (south <= box.north) & (box.south <= north) & (west <= box.east) & (box.west <= east)
        first = np.frombuffer(self._first, np.int64)[runs][met]
        _, vertex = spread(first, np.frombuffer(self._edges, np.int64)[runs][met])
        lat_deg, lon_deg = np.frombuffer(self._lat), np.frombuffer(self._lon)
        edges = np.column_stack((lon_deg[vertex], lat_deg[vertex], lon_deg[vertex + 1], lat_deg[vertex + 1]))
        low, high = np.minimum(edges[:, :2], edges[:, 2:]), np.maximum(edges[:, :2], edges[:, 2:])
        return edges[((low <= (box.east, box.north)) & (high >= (box.west, box.south))).all(axis=1)]
