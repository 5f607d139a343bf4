"""The spread of a prediction, from the engine's own past errors.

Each prediction's error is told in units of a scale that grows with the time ahead; histograms of it, by horizon and by how
many visits lie between, give the median (a bias, taken out) and the 10th and 90th percentile.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec
from msgspec import Struct, field

HORIZONS_S = (90, 180, 360, 600, 900, 1_500, 2_400, 3_600)
BETWEEN = 3
"""0, 1, 2 or more visits before the stop."""
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


class Errors(Struct):
    tables: list[list[float]] = field(
        default_factory=lambda: [_usual() for _ in range((len(HORIZONS_S) + 1) * BETWEEN)]
    )

    def learn(self, ahead_s: float, between: int, error_s: float) -> None:
        """`error_s`: actual minus predicted, of a prediction so far ahead (before any correction of its bias)."""
        table = self.tables[_which(ahead_s, between)]
        slot = HALF_SLOTS + math.floor(error_s / scale_s(ahead_s, between) / STEP)
        table[min(max(slot, 0), SLOTS - 1)] += 1
        if sum(table) > FULL:
            table[:] = [w / 2 for w in table]

    def spread(self, ahead_s: float, between: int) -> Spread:
        """What to add to a prediction for its percentiles."""
        table = self.tables[_which(ahead_s, between)]
        scale, total = scale_s(ahead_s, between), sum(table)
        return Spread(*(scale * _quantile(table, q * total) for q in (0.1, 0.5, 0.9)))

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def restored(cls, data: bytes) -> Errors:
        return msgspec.msgpack.decode(data, type=cls)


def _which(ahead_s: float, between: int) -> int:
    horizon = sum(ahead_s > h for h in HORIZONS_S)
    return horizon * BETWEEN + min(between, BETWEEN - 1)


def _quantile(table: list[float], mass: float) -> float:
    running = 0.0
    for i, weight in enumerate(table):
        if running + weight >= mass:
            return (i + (mass - running) / weight - HALF_SLOTS) * STEP
        running += weight
    return HALF_SLOTS * STEP
