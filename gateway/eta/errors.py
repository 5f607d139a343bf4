"""The spread of a prediction, from the engine's own past errors.

Each prediction's error is told in units of a scale that grows with the time ahead; histograms of it, by horizon and by how
many visits lie between, give the median (a bias, taken out) and the 10th and 90th percentile.
"""

from __future__ import annotations

import bisect
import itertools
import math
from typing import NamedTuple

import msgspec

HORIZONS_S = (90, 180, 360, 600, 900, 1_500, 2_400, 3_600)
BETWEEN = 5
"""0, 1, 2, 3, 4 or more visits before the stop."""
STEP = 0.1
HALF_SLOTS = 40
SLOTS = 2 * HALF_SLOTS
FULL = 6_000.0
PRIOR = 60.0
PRIOR_SPREAD = 0.7


class Spread(NamedTuple):
    p10_s: float
    p50_s: float
    p90_s: float


def scale_s(ahead_s: float, between: int) -> float:
    """What one unit of error is, so far ahead."""
    return 15.0 + 0.15 * ahead_s + 30.0 * math.sqrt(min(between, 4))


def _usual() -> list[float]:
    weights = [math.exp(-((((i + 0.5 - HALF_SLOTS) * STEP) / PRIOR_SPREAD) ** 2) / 2) for i in range(SLOTS)]
    return [PRIOR * w / sum(weights) for w in weights]


class Errors:
    def __init__(self) -> None:
        self._tables = [_usual() for _ in range((len(HORIZONS_S) + 1) * BETWEEN)]
        self._quantiles: dict[int, Spread] = {}
        """Of the tables that were asked for since they last changed, in units of the scale."""

    def learn(self, ahead_s: float, between: int, error_s: float) -> None:
        """`error_s`: actual minus predicted, of a prediction so far ahead (before any correction of its bias)."""
        which = _which(ahead_s, between)
        table = self._tables[which]
        slot = HALF_SLOTS + math.floor(error_s / scale_s(ahead_s, between) / STEP)
        table[min(max(slot, 0), SLOTS - 1)] += 1
        if sum(table) > FULL:
            table[:] = [w / 2 for w in table]
        self._quantiles.pop(which, None)

    def spread(self, ahead_s: float, between: int) -> Spread:
        """What to add to a prediction for its percentiles."""
        which = _which(ahead_s, between)
        found = self._quantiles.get(which)
        if found is None:
            found = self._quantiles[which] = _quantiles(self._tables[which])
        scale = scale_s(ahead_s, between)
        return Spread(scale * found.p10_s, scale * found.p50_s, scale * found.p90_s)

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self._tables)

    @classmethod
    def restored(cls, data: bytes) -> Errors:
        found = cls()
        found._tables = msgspec.msgpack.decode(data, type=list[list[float]])
        return found


def _which(ahead_s: float, between: int) -> int:
    return bisect.bisect_left(HORIZONS_S, ahead_s) * BETWEEN + min(between, BETWEEN - 1)


def _quantiles(table: list[float]) -> Spread:
    """The 10th, 50th and 90th percentile of a histogram, evenly filled within each slot."""
    reached = list(itertools.accumulate(table))
    found = []
    for share in (0.1, 0.5, 0.9):
        mass = share * reached[-1]
        slot = min(bisect.bisect_left(reached, mass), SLOTS - 1)
        found.append((slot + 1 - (reached[slot] - mass) / table[slot] - HALF_SLOTS) * STEP)
    return Spread(*found)
