"""Two ways of doing the same, measured in turns: machines drift and neighbours make noise, so only ratios of one round count.

The work of a way is done by this process, its threads included; brokers, databases and publishers are processes of their
own, and their CPU is not counted.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple, TypeAlias

from msgspec import Struct


class LeftOut(Exception):
    """What a stage needs is not on this machine."""


class Cost(NamedTuple):
    positions: int
    wall_s: float
    cpu_s: float


Way: TypeAlias = Callable[[], Cost]
"""Prepares what it needs, does the work once, and says what the work alone cost."""


class Pace(Struct, frozen=True, kw_only=True):
    """How thorough a run is. `at_least_s`: how long a way's turn takes where the work can be repeated; by the wall clock,
    so that a busy machine gets fewer repetitions and not a longer run.

    `folder` is where journals are written: what an fsync costs there decides much. `scale` shrinks what cannot be
    cut short by time.
    """

    folder: Path
    rounds: int = 5
    at_least_s: float = 0.4
    scale: float = 1.0
    quick: bool = False

    def scaled(self, count: int) -> int:
        return max(1, round(count * self.scale))


class Contest(Struct, frozen=True, kw_only=True):
    """One row of the table. `case`: what is measured; `against`: the other way of doing it. Both in plain words."""

    stage: str
    case: str
    against: str
    ours: Way
    naive: Way


class Side(Struct, frozen=True):
    """Medians over the rounds: positions a second of wall clock, and microseconds of CPU for each."""

    positions_per_s: float
    cpu_us: float


class Row(Struct, frozen=True, kw_only=True):
    """`times_faster`: by wall clock; `times_less_cpu`: by CPU, with the least and the most of all rounds. Below 1: the
    naive way is better.
    """

    stage: str
    case: str
    against: str
    rounds: int
    ours: Side
    naive: Side
    times_faster: float
    times_less_cpu: float
    least: float
    most: float


class Clock:
    """Runs from its making to `stop`."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = perf_counter(), process_time()

    def stop(self, positions: int) -> Cost:
        return Cost(positions, perf_counter() - self._wall_s, process_time() - self._cpu_s)


def repeated(work: Callable[[], int], at_least_s: float) -> Way:
    """A way that does `work`, which returns how many positions it did, over and over for a while."""

    def way() -> Cost:
        work()  # caches are filled and code is warm, as in a gateway that runs
        clock, positions, end_s = Clock(), 0, perf_counter() + at_least_s
        while perf_counter() < end_s:
            positions += work()
        return clock.stop(positions)

    return way


def held(contest: Contest, rounds: int) -> Row:
    """Both ways in turns, each beginning as often as the other."""
    pairs: list[tuple[Cost, Cost]] = []
    for number in range(rounds):
        if number % 2:
            naive = _turn(contest.naive)
            pairs.append((_turn(contest.ours), naive))
        else:
            ours = _turn(contest.ours)
            pairs.append((ours, _turn(contest.naive)))
    faster = [(o.positions / o.wall_s) / (n.positions / n.wall_s) for o, n in pairs]
    less_cpu = [(n.cpu_s / n.positions) / (o.cpu_s / o.positions) for o, n in pairs]
    return Row(
        stage=contest.stage,
        case=contest.case,
        against=contest.against,
        rounds=rounds,
        ours=_side([ours for ours, _ in pairs]),
        naive=_side([naive for _, naive in pairs]),
        times_faster=statistics.median(faster),
        times_less_cpu=statistics.median(less_cpu),
        least=min(less_cpu),
        most=max(less_cpu),
    )


def _turn(way: Way) -> Cost:
    with _undisturbed():
        return way()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """The garbage collector runs, as in life, but does not walk through the benchmark's own material."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _side(costs: list[Cost]) -> Side:
    return Side(
        statistics.median(c.positions / c.wall_s for c in costs),
        statistics.median(c.cpu_s / c.positions * 1e6 for c in costs),
    )
