"""A plan's path in metres, with its stops on it, cut into the stretches that travel times are learnt for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway import geo

PIECE_M = 20.0
"""Length of a stretch: short enough to tell a crossing from the road before it."""
CELLS_PER_DEG = 5_000.0
HEADINGS = 8
CANDIDATES = 12
SCHEDULE_WEIGHT = 0.05
"""What a metre off the place that the schedule suggests counts, against a metre off the path: it decides between two
passes over one street, and nothing else."""

Floats = NDArray[np.float64]


class Match(NamedTuple):
    """A place on the path: how far along it, and how far off it."""

    along_m: float
    offset_m: float


class Waypoint(NamedTuple):
    """A stop as a path sees it. `due_s`: its time in the schedule, from any origin, service times taken out."""

    lat_deg: float
    lon_deg: float
    due_s: float | None


class Path:
    """A line of at least two points in a plane of its own, its stops in order on it, and the cells of its stretches."""

    def __init__(self, lon_lat: Floats, stops: Sequence[Waypoint]) -> None:
        self._lat0, self._lon0 = float(lon_lat[0, 1]), float(lon_lat[0, 0])
        self._m_per_lon = geo.m_per_deg_lon(float(np.mean(lon_lat[:, 1])))
        x = ((lon_lat[:, 0] - self._lon0 + 180.0) % 360.0 - 180.0) * self._m_per_lon
        y = (lon_lat[:, 1] - self._lat0) * geo.M_PER_DEG_LAT
        steps = np.hypot(np.diff(x), np.diff(y))
        keep = np.concatenate(([True], steps > 0.01))
        x, y = x[keep], y[keep]
        if len(x) < 2:
            x, y = np.array([x[0], x[0] + 0.1]), np.array([y[0], y[0]])
        self._dx, self._dy = np.diff(x), np.diff(y)
        self._steps = np.hypot(self._dx, self._dy)
        along = np.concatenate(([0.0], np.cumsum(self._steps)))
        self.length_m = float(along[-1])
        self._x, self._y, self._along = x, y, along
        self.xs, self.ys, self.alongs = x.tolist(), y.tolist(), along.tolist()
        self.stop_m = self._place(stops)
        self.cells = self._cells()

    def plane(self, lat_deg: float, lon_deg: float) -> tuple[float, float]:
        x = geo.wrap_lon_deg(lon_deg - self._lon0) * self._m_per_lon
        return x, (lat_deg - self._lat0) * geo.M_PER_DEG_LAT

    def at(self, along_m: float) -> tuple[float, float]:
        """The point (x, y) that far along."""
        along = min(max(along_m, 0.0), self.length_m)
        return float(np.interp(along, self._along, self._x)), float(np.interp(along, self._along, self._y))

    # -------------------------------------------------------------------------------------------------------- stops

    def _place(self, stops: Sequence[Waypoint]) -> list[float]:
        """Where each stop lies along the path: near it, in the order of the stops, and best by the schedule."""
        suggested = self._suggested(stops)
        reached: list[tuple[float, float, tuple[float, ...]]] = [(0.0, 0.0, ())]  # cost, along, places
        for stop, due_m in zip(stops, suggested, strict=True):
            following = []
            for match in self._candidates(stop):
                before = [r for r in reached if r[1] <= match.along_m + 1.0]
                if before:
                    cost, _, places = min(before)
                    cost += match.offset_m + SCHEDULE_WEIGHT * abs(match.along_m - due_m if due_m is not None else 0.0)
                    following.append((cost, match.along_m, (*places, match.along_m)))
            if not following:  # behind its predecessor whatever we choose: the plan contradicts its path
                cost, along, places = min(reached)
                following = [(cost, along, (*places, along))]
            reached = following
        return list(min(reached)[2])

    def _suggested(self, stops: Sequence[Waypoint]) -> list[float | None]:
        due = [s.due_s for s in stops]
        known = [d for d in due if d is not None]
        if len(known) < 2 or known[-1] <= known[0] or len(known) < len(due):
            return [None] * len(stops)
        ends = [min(self._candidates(s), key=lambda m: m.offset_m).along_m for s in (stops[0], stops[-1])]
        if ends[1] <= ends[0]:
            ends = [0.0, self.length_m]
        share = [(d - known[0]) / (known[-1] - known[0]) for d in known]
        return [ends[0] + s * (ends[1] - ends[0]) for s in share]

    def _candidates(self, stop: Waypoint) -> list[Match]:
        """The places where the path comes near the stop, the nearest dozen."""
        x, y = self.plane(stop.lat_deg, stop.lon_deg)
        along, offset = self._nearest_of_each(x, y)
        padded = np.concatenate(([np.inf], offset, [np.inf]))
        local = (padded[1:-1] <= padded[:-2]) & (padded[1:-1] < padded[2:])
        close = local & (offset <= float(offset.min()) + 60.0)
        found = [Match(float(along[i]), float(offset[i])) for i in np.flatnonzero(close)]
        return sorted(found, key=lambda m: m.offset_m)[:CANDIDATES]

    def _nearest_of_each(self, x: float, y: float) -> tuple[Floats, Floats]:
        """For every segment its point nearest to (x, y): how far along, and how far off."""
        ax, ay = x - self._x[:-1], y - self._y[:-1]
        share = np.clip((ax * self._dx + ay * self._dy) / (self._steps**2), 0.0, 1.0)
        offset = np.hypot(ax - share * self._dx, ay - share * self._dy)
        return self._along[:-1] + share * self._steps, offset

    # ------------------------------------------------------------------------------------------------------- pieces

    def _cells(self) -> list[int]:
        """The cell of each piece's middle: place (a grid of about 22 m) and heading, the same for every path."""
        middles = np.arange(PIECE_M / 2, max(self.length_m, PIECE_M), PIECE_M)
        x, y = np.interp(middles, self._along, self._x), np.interp(middles, self._along, self._y)
        segment = np.clip(np.searchsorted(self._along, middles, side="right") - 1, 0, len(self._dx) - 1)
        heading = np.arctan2(self._dx[segment], self._dy[segment]) / (2 * math.pi) * HEADINGS
        lat = self._lat0 + y / geo.M_PER_DEG_LAT
        lon = self._lon0 + x / self._m_per_lon
        shrink = np.cos(np.radians(np.round(lat)))
        row = np.floor((lat + 90.0) * CELLS_PER_DEG).astype(np.int64)
        column = np.floor((lon + 180.0) * CELLS_PER_DEG * shrink).astype(np.int64)
        cells = (row * 2_000_003 + column) * HEADINGS + np.round(heading).astype(np.int64) % HEADINGS
        return [int(c) for c in cells]

    def piece_at(self, along_m: float) -> int:
        return min(max(int(along_m / PIECE_M), 0), len(self.cells) - 1)
