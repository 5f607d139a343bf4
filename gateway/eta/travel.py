"""Travel times learnt from the fleet's own passes.

For each cell (a grid square and a heading) the seconds and metres of the passes through it, by half-hour of the day: sums, so
that the tables of several gateways can be added. Thin cells borrow, by shrinkage, from their own whole day, from how the
half-hour differs fleet-wide, and from the pace that the plan's schedule implies. On top of history stand two live
corrections: how the last passes of the whole fleet compare with it (rain), and those near the cell (an incident).
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from gateway.eta.path import PIECE_M, Floats

BINS = 48
BIN_MS = 1_800_000
DEFAULT_S_PER_M = 1 / 8.0
FASTEST_S_PER_M, SLOWEST_S_PER_M = 1 / 40.0, 1 / 1.5
MAX_CELLS = 400_000
"""Cells beyond are not learnt: their time follows from the schedule and the fleet."""
FULL_M = 60 * PIECE_M
"""A cell's half-hour keeps about so many metres of passes; older ones fade."""
DAY_M, BIN_M = 2 * PIECE_M, 3 * PIECE_M
"""Weight of what a thin cell borrows, as metres of passes."""
FLEET_PRIOR_S, FLEET_MEMORY_S = 3_600.0, 1_800.0
CELL_PRIOR_S, CELL_MEMORY_S = 150.0, 600.0
CELL_SMOOTH = 5
"""A cell's live correction is pooled with those of so many pieces before and after it on the path."""
BINS_AHEAD = 4
"""Beyond two hours ahead the last half-hour looked up stands for those after it."""
WORST = 3.0
"""A road is not believed to be slower than this many times the usual: a queue is seldom all of the lanes, nor for long."""
LIVE_FADES_S = 1_800.0
"""What is true of the roads now is worth 1/e after so long."""
OUTLIER = 8.0
"""A pass so many times slower than expected (and than `CLEAR_S`) was no pass but a break or an accident's queue: history
takes it for this slow."""
CLEAR_S, LONGEST_S = 15.0, 600.0

Rows = NDArray[np.int64]


class Ratio(Struct, array_like=True):
    """Seconds driven against seconds expected, both fading; a ratio that stays near 1 while little is known."""

    driven_s: float = 0.0
    expected_s: float = 0.0
    time_ms: int = 0

    def add(self, driven_s: float, expected_s: float, now_ms: int, memory_s: float) -> None:
        fade = math.exp(-max(0, now_ms - self.time_ms) / 1000 / memory_s)
        self.driven_s = self.driven_s * fade + driven_s
        self.expected_s = self.expected_s * fade + expected_s
        self.time_ms = max(now_ms, self.time_ms)

    def at(self, now_ms: int, memory_s: float, prior_s: float) -> float:
        fade = math.exp(-max(0, now_ms - self.time_ms) / 1000 / memory_s)
        return (self.driven_s * fade + prior_s) / (self.expected_s * fade + prior_s)


class Table(Struct):
    """Sums over passes by row: seconds and metres."""

    seconds: Floats
    metres: Floats

    def grown(self, rows: int) -> Table:
        more = np.zeros(max(0, rows - len(self.seconds)))
        return Table(np.concatenate((self.seconds, more)), np.concatenate((self.metres, more)))


def half_hour(time_ms: int) -> int:
    return time_ms // BIN_MS % BINS


class TravelTimes:
    """The table; row 0 belongs to no cell and learns nothing."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}
        self._capacity = 1_024
        self._day = Table(np.zeros(self._capacity), np.zeros(self._capacity))
        self._bins: dict[int, Table] = {}
        self._live = Table(np.zeros(self._capacity), np.zeros(self._capacity))
        """Recent seconds, driven (`seconds`) and expected (`metres`), as of `_live_s`."""
        self._live_s = np.zeros(self._capacity)
        self._bin_ratios = [Ratio() for _ in range(BINS)]
        self._fleet = Ratio()
        self._schedule = Ratio()

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, cells: list[int]) -> Rows:
        """The table's rows of cells; a new cell gets one while there is room."""
        known = self._rows
        found = []
        for cell in cells:
            row = known.get(cell)
            if row is None:
                row = 0
                if len(known) < MAX_CELLS:
                    row = known[cell] = len(known) + 1
            found.append(row)
        if len(known) >= self._capacity:
            self._capacity = max(2 * self._capacity, len(known) + 1)
            self._day, self._live = self._day.grown(self._capacity), self._live.grown(self._capacity)
            self._bins = {b: t.grown(self._capacity) for b, t in self._bins.items()}
            self._live_s = np.concatenate((self._live_s, np.zeros(self._capacity - len(self._live_s))))
        return np.array(found, dtype=np.int64)

    # ------------------------------------------------------------------------------------------------------- asking

    def pace(self, rows: Rows, day: Floats, bin_: int) -> Floats:
        """Seconds a metre through each row at that half-hour, from history; `day` is its pace over the whole day."""
        day = day * self._bin_ratios[bin_].at(0, 1.0, FLEET_PRIOR_S)
        table = self._bins.get(bin_)
        if table is None:
            return day
        return np.asarray((table.seconds[rows] + BIN_M * day) / (table.metres[rows] + BIN_M))

    def day_pace(self, rows: Rows, scheduled: Floats) -> Floats:
        """Seconds a metre over the whole day. `scheduled`: what the schedule implies, for rows hardly driven yet."""
        base = scheduled * self._schedule.at(0, 1.0, FLEET_PRIOR_S)
        return np.asarray((self._day.seconds[rows] + DAY_M * base) / (self._day.metres[rows] + DAY_M))

    def seconds(self, rows: Rows, scheduled: Floats, now_ms: int) -> Floats:
        """Seconds through each piece of a path driven from `now_ms` on, each at the time of day it will be reached."""
        position = now_ms / BIN_MS - 0.5
        first = math.floor(position)
        day = self.day_pace(rows, scheduled)
        here, there = (self.pace(rows, day, (first + step) % BINS) for step in (0, 1))
        share = position - first
        reached_s = np.cumsum(here + (there - here) * share) * PIECE_M
        ahead = share + reached_s / (BIN_MS / 1000)
        pace = here + (there - here) * np.minimum(ahead, 1.0)
        for step in range(1, min(int(ahead[-1]), BINS_AHEAD) + 1):
            here, there = there, self.pace(rows, day, (first + step + 1) % BINS)
            later = ahead > step
            pace[later] = (here + (there - here) * np.minimum(ahead - step, 1.0))[later]
        return np.asarray(pace * PIECE_M * self._live_ratio(rows, now_ms, reached_s))

    def _live_ratio(self, rows: Rows, now_ms: int, reached_s: Floats) -> Floats:
        fleet = self._fleet.at(now_ms, FLEET_MEMORY_S, FLEET_PRIOR_S)
        fade = np.exp((self._live_s[rows] - now_ms / 1000) / CELL_MEMORY_S)
        driven = _pooled(self._live.seconds[rows] * fade)
        expected = _pooled(self._live.metres[rows] * fade)
        near = np.minimum((driven + CELL_PRIOR_S * fleet) / (expected + CELL_PRIOR_S), WORST * fleet)
        return np.asarray(fleet + (near - fleet) * np.exp(reached_s / -LIVE_FADES_S))

    # ----------------------------------------------------------------------------------------------------- learning

    def learn(self, rows: Rows, metres: Floats, scheduled: Floats, driven_s: float, now_ms: int) -> None:
        """A pass: the metres driven of each row, and the seconds for them together, ending now."""
        known = rows > 0
        if not known.any():
            return
        bin_ = half_hour(now_ms)
        day = self.day_pace(rows, scheduled)
        expected = self.pace(rows, day, bin_) * metres
        expected_s, day_s = float(expected.sum()), float((day * metres).sum())
        if expected_s <= 0:
            return
        live_s = min(driven_s, LONGEST_S)
        driven_s = min(max(driven_s, expected_s / OUTLIER), OUTLIER * max(expected_s, CLEAR_S))
        self._schedule.add(driven_s, float((scheduled * metres).sum()), 0, 1.0)
        self._bin_ratios[bin_].add(driven_s, day_s, 0, 1.0)
        self._fleet.add(driven_s, expected_s, now_ms, FLEET_MEMORY_S)
        seconds = expected * (driven_s / expected_s)
        table = self._bins.get(bin_)
        if table is None:
            table = self._bins[bin_] = Table(np.zeros(self._capacity), np.zeros(self._capacity))
        for each, full_m in ((table, FULL_M), (self._day, 4 * FULL_M)):
            np.add.at(each.seconds, rows, seconds)
            np.add.at(each.metres, rows, metres)
            full = rows[each.metres[rows] > full_m]
            if len(full):
                each.seconds[full] *= 0.5
                each.metres[full] *= 0.5
        self._learn_live(rows, expected * (live_s / expected_s), expected, now_ms)
        for each in (table, self._day, self._live):
            each.seconds[0] = each.metres[0] = 0.0

    def _learn_live(self, rows: Rows, seconds: Floats, expected: Floats, now_ms: int) -> None:
        now_s = now_ms / 1000
        fade = np.exp(np.minimum(0.0, self._live_s[rows] - now_s) / CELL_MEMORY_S)
        self._live.seconds[rows] *= fade
        self._live.metres[rows] *= fade
        self._live_s[rows] = np.maximum(now_s, self._live_s[rows])
        np.add.at(self._live.seconds, rows, seconds)
        np.add.at(self._live.metres, rows, expected)

    # ---------------------------------------------------------------------------------------------------- snapshots

    def snapshot(self) -> bytes:
        """Exact to the bit. Only rows in use are kept."""
        used = len(self._rows) + 1
        arrays = [self._day.seconds, self._day.metres, self._live.seconds, self._live.metres, self._live_s]
        bins = {b: [t.seconds[:used].tobytes(), t.metres[:used].tobytes()] for b, t in sorted(self._bins.items())}
        kept = _Kept(
            cells=np.array(list(self._rows), dtype=np.int64).tobytes(),
            arrays=[a[:used].tobytes() for a in arrays],
            bins=bins,
            bin_ratios=self._bin_ratios,
            fleet=self._fleet,
            schedule=self._schedule,
        )
        return msgspec.msgpack.encode(kept)

    @classmethod
    def restored(cls, data: bytes) -> TravelTimes:
        kept = msgspec.msgpack.decode(data, type=_Kept)
        found = cls()
        found._rows = {int(c): i for i, c in enumerate(np.frombuffer(kept.cells, dtype=np.int64), start=1)}
        found._capacity = max(found._capacity, len(found._rows) + 1)
        whole = [_padded(a, found._capacity) for a in kept.arrays]
        found._day, found._live, found._live_s = Table(whole[0], whole[1]), Table(whole[2], whole[3]), whole[4]
        found._bins = {
            b: Table(_padded(s, found._capacity), _padded(m, found._capacity)) for b, (s, m) in kept.bins.items()
        }
        found._bin_ratios, found._fleet, found._schedule = kept.bin_ratios, kept.fleet, kept.schedule
        return found


class _Kept(Struct):
    cells: bytes
    arrays: list[bytes]
    bins: dict[int, list[bytes]]
    bin_ratios: list[Ratio]
    fleet: Ratio
    schedule: Ratio


def _pooled(values: Floats) -> Floats:
    """Sums over each piece and its `CELL_SMOOTH` neighbours on either side."""
    sums = np.zeros(len(values) + 2 * CELL_SMOOTH + 1)
    np.cumsum(values, out=sums[CELL_SMOOTH + 1 : len(values) + CELL_SMOOTH + 1])
    sums[len(values) + CELL_SMOOTH + 1 :] = sums[len(values) + CELL_SMOOTH]
    return np.asarray(sums[2 * CELL_SMOOTH + 1 :] - sums[: len(values)])


def _padded(data: bytes, rows: int) -> Floats:
    values = np.frombuffer(data, dtype=np.float64)
    return np.concatenate((values, np.zeros(rows - len(values))))
