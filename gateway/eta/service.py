"""How long a stop takes, and whether it is served at all: learnt per site, shrunk towards the whole fleet's habit."""

from __future__ import annotations

import math

import msgspec
from msgspec import Struct, field

SITE_PRIOR = 3.0
"""A site's own record counts fully only against so many visits of the fleet's."""
FULL_VISITS = 200.0
MAX_SITES = 100_000
STEP = 0.1
LOWEST, HIGHEST = -3.0, 3.0
SLOTS = round((HIGHEST - LOWEST) / STEP)
DEFAULT_SPREAD = 0.5
"""Standard deviation of the logarithm of actual against expected, before anything is learnt."""


class Record(Struct, array_like=True):
    """Visits: how many, how many were left out, and the sum of actual against planned."""

    visits: float = 0.0
    skipped: float = 0.0
    ratio_sum: float = 0.0

    def fade(self) -> None:
        if self.visits > FULL_VISITS:
            self.visits, self.skipped, self.ratio_sum = self.visits / 2, self.skipped / 2, self.ratio_sum / 2


def _usual() -> list[float]:
    """A log-normal of the default spread, worth 20 visits."""
    weights = [math.exp(-(((LOWEST + (i + 0.5) * STEP) / DEFAULT_SPREAD) ** 2) / 2) for i in range(SLOTS)]
    return [20 * w / sum(weights) for w in weights]


class ServiceTimes(Struct):
    fleet: Record = field(default_factory=Record)
    sites: dict[str, Record] = field(default_factory=dict)
    spread: list[float] = field(default_factory=_usual)
    """Histogram of log(actual / expected) over all visits."""

    def expected_s(self, site: str, planned_s: float) -> float:
        """Mean time of a visit that takes place."""
        fleet = (self.fleet.ratio_sum + SITE_PRIOR) / (self.fleet.visits + SITE_PRIOR)
        record = self.sites.get(site)
        if record is None:
            return planned_s * fleet
        return planned_s * (record.ratio_sum + SITE_PRIOR * fleet) / (record.visits + SITE_PRIOR)

    def chance(self, site: str) -> float:
        """Probability that the stop is served at all."""
        fleet = (self.fleet.visits + 19.0) / (self.fleet.visits + self.fleet.skipped + 20.0)
        record = self.sites.get(site) or Record()
        return (record.visits + 20 * fleet) / (record.visits + record.skipped + 20)

    def remaining_s(self, site: str, planned_s: float, elapsed_s: float) -> float:
        """Median of what is left of a visit that has lasted `elapsed_s`."""
        expected_s = self.expected_s(site, planned_s)
        if expected_s <= 0:
            return 0.0
        at = math.log(max(elapsed_s, 1e-3) / expected_s)
        slot = min(max(int((at - LOWEST) / STEP), 0), SLOTS - 1)
        left = self.spread[slot:]
        half = sum(left) / 2
        if half <= 0:
            return 0.2 * elapsed_s
        running = 0.0
        for i, weight in enumerate(left):
            running += weight
            if running >= half:
                middle = LOWEST + (slot + i + 1 - (running - half) / weight) * STEP
                return max(0.0, expected_s * math.exp(middle) - elapsed_s)
        return 0.2 * elapsed_s

    def learn_visit(self, site: str, planned_s: float, actual_s: float) -> None:
        if planned_s <= 0 or actual_s <= 0:
            return
        log = math.log(actual_s / self.expected_s(site, planned_s))
        self.spread[min(max(int((log - LOWEST) / STEP), 0), SLOTS - 1)] += 1
        if sum(self.spread) > 20 * FULL_VISITS:
            self.spread = [w / 2 for w in self.spread]
        for record in self._records(site):
            record.visits += 1
            record.ratio_sum += min(4.0, actual_s / planned_s)
            record.fade()

    def learn_skip(self, site: str) -> None:
        for record in self._records(site):
            record.skipped += 1

    def _records(self, site: str) -> list[Record]:
        if site not in self.sites and len(self.sites) < MAX_SITES:
            self.sites[site] = Record()
        return [self.fleet, self.sites[site]] if site in self.sites else [self.fleet]

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def restored(cls, data: bytes) -> ServiceTimes:
        return msgspec.msgpack.decode(data, type=cls)
