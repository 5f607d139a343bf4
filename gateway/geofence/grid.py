"""Which zones may be near: a hash grid of several cell sizes over longitude and latitude.

A zone lies in the few cells that its box touches, at the finest size not smaller than the box. A query looks its own
cells up at each size in use; so its cost does not depend on how many zones there are, and a change costs as much as
the one zone. A dict of cells is as fast from numpy as a sorted array, and far faster for one position.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import repeat
from math import floor
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

LEVELS = (16, 14, 12, 10, 8, 6, 4, 2)
"""Cells at level n are 360 / 2**n degrees: 611 m of latitude at the finest, a quarter of the globe at the coarsest."""
MANY_CELLS = 64
"""A box over more cells than this is looked up by itself: a batch of such would fill the memory."""
_NONE: array[int] = array("i")


class Box(NamedTuple):
    """Degrees. Longitudes may run beyond ±180; west ≤ east, at most a turn apart."""

    south: float
    west: float
    north: float
    east: float


class _Level:
    def __init__(self, level: int) -> None:
        self.key = level << 48
        self.columns = 1 << level
        self.rows = self.columns >> 1
        self.size_deg = 360.0 / self.columns
        self.members: set[int] = set()

    def span(self, box: Box) -> tuple[int, int, int, int]:
        """First and last row, first column and number of columns of the cells that a box touches."""
        size = self.size_deg
        first_row = min(max(floor((box.south + 90.0) / size), 0), self.rows - 1)
        last_row = min(max(floor((box.north + 90.0) / size), 0), self.rows - 1)
        first_column = floor(box.west / size)
        columns = min(floor(box.east / size) - first_column + 1, self.columns)
        return first_row, last_row, first_column, columns

    def cells(self, box: Box) -> Iterator[int]:
        first_row, last_row, first_column, columns = self.span(box)
        for row in range(first_row, last_row + 1):
            base = self.key | row << 24
            for column in range(first_column, first_column + columns):
                yield base | column % self.columns


class Grid:
    """Handles by box. A handle that is put must be removed with the same box."""

    def __init__(self) -> None:
        self._levels = [_Level(level) for level in LEVELS]
        self._use_levels()
        self._cells: dict[int, array[int]] = {}

    def put(self, handle: int, box: Box) -> None:
        level = self._level_of(box)
        level.members.add(handle)
        for key in level.cells(box):
            self._cells.setdefault(key, array("i")).append(handle)
        if len(level.members) == 1:
            self._use_levels()

    def remove(self, handle: int, box: Box) -> None:
        level = self._level_of(box)
        level.members.remove(handle)
        for key in level.cells(box):
            cell = self._cells[key]
            cell.remove(handle)
            if not cell:
                del self._cells[key]
        if not level.members:
            self._use_levels()

    def _use_levels(self) -> None:
        """The levels that hold anything, and for numpy a column of each of their figures."""
        self._used = [level for level in self._levels if level.members]
        self._size = np.array([[level.size_deg] for level in self._used])
        self._rows = np.array([[level.rows] for level in self._used])
        self._columns = np.array([[level.columns] for level in self._used])
        self._keys = np.array([level.key for level in self._used])

    def _level_of(self, box: Box) -> _Level:
        extent = max(box.north - box.south, box.east - box.west)
        return next((level for level in self._levels if level.size_deg >= extent), self._levels[-1])

    def meeting(self, box: Box) -> set[int]:
        """Handles of the zones whose cells the box touches, and perhaps others: the caller compares the boxes."""
        found: set[int] = set()
        for level in self._used:
            first_row, last_row, _, columns = level.span(box)
            if (last_row - first_row + 1) * columns > len(level.members) + MANY_CELLS:
                found |= level.members
                continue
            for key in level.cells(box):
                cell = self._cells.get(key)
                if cell is not None:
                    found.update(cell)
        return found

    def meeting_many(self, south: Floats, west: Floats, north: Floats, east: Floats) -> tuple[Ints, Ints]:
        """The same for many boxes: pairs (index of the box, handle), unsorted, some of them more than once."""
        if not self._used:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        size, last = self._size, self._rows - 1
        first_row = np.minimum(np.maximum(((south + 90.0) / size).astype(np.int64), 0), last)
        last_row = np.minimum(np.maximum(((north + 90.0) / size).astype(np.int64), 0), last)
        first_column = np.floor(west / size).astype(np.int64)
        width = np.minimum(np.floor(east / size).astype(np.int64) - first_column + 1, self._columns)
        count = (last_row - first_row + 1) * width
        wide = np.flatnonzero(count.sum(axis=0) > MANY_CELLS)
        count[:, wide] = 0
        slot, step = spread(np.zeros(count.size, np.int64), count.ravel())
        across = width.ravel()[slot]
        level = slot // len(south)
        row = first_row.ravel()[slot] + step // across
        col = (first_column.ravel()[slot] + step % across) & (self._columns.ravel() - 1)[level]
        keys = self._keys[level] | row << 24 | col
        cells = list(map(self._cells.get, keys.tolist(), repeat(_NONE)))
        owner = (slot % len(south)).repeat(np.fromiter(map(len, cells), np.int64, len(cells)))
        handle = np.frombuffer(b"".join(cells), np.intc).astype(np.int64)
        for i in wide.tolist():
            more = self.meeting(Box(float(south[i]), float(west[i]), float(north[i]), float(east[i])))
            owner = np.append(owner, np.full(len(more), i))
            handle = np.append(handle, np.fromiter(more, np.int64, len(more)))
        return owner, handle


def spread(first: Ints, count: Ints) -> tuple[Ints, Ints]:
    """The ranges first[i] … first[i] + count[i] - 1, one after another: whose each number is, and the numbers."""
    owner = np.arange(len(count)).repeat(count)
    return owner, np.arange(len(owner)) + (first - count.cumsum() + count)[owner]
