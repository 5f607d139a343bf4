"""The engine's step: 200 vans among 1,000 fences, without plans and on 200 of them, next to looking for the fences alone.

Ours judges each fix, says who entered and left a fence and who fell silent; on a plan it also follows the way, learns how
long it takes, predicts the arrival at every open stop once a minute, and says events. The naive way only asks `contains`
of each fence, prepared, in degrees, for each position: the fair row is the one without plans.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import shapely

from benchmarks.fleet import EVERY_S, T0_MS, Fleet
from benchmarks.geofence import city_fences, shapes
from benchmarks.lines import journaled
from benchmarks.measure import Clock, Contest, Cost, Pace
from gateway.engine import Engine
from gateway.model import Entry, FencesPut, PlanPut, Position

FENCES, VANS = 1_000, 200


def contests(pace: Pace) -> Iterator[Contest]:
    fences = city_fences(FENCES)
    outlines = shapes(fences)
    for plans, size in ((0, 200), (200, 200), (200, 20)):
        fleet, engine = Fleet(VANS), Engine()
        puts = (PlanPut(T0_MS, van.plan()) for van in fleet.vans[:plans])
        engine.step(Entry(1, (FencesPut(T0_MS, tuple(fences)), *puts)))
        drive = _Drive(engine, fleet, size)
        drive.step(10 * VANS)  # under way: windows, histories and paces are filled
        yield Contest(
            stage="engine",
            case=f"{FENCES:,} fences, {plans} plans, {EVERY_S} s apart, entries of {size}",
            against="shapely: contains of each fence for each position, fences only",
            ours=partial(drive.step, pace.scaled(4_000)),
            naive=lambda: _naive(outlines, Fleet(VANS).fixes(pace.scaled(1_000))),
        )


class _Drive:
    """Goes on where the former turn stopped, as a gateway does."""

    def __init__(self, engine: Engine, fleet: Fleet, size: int) -> None:
        self._engine, self._fleet, self._size = engine, fleet, size
        self._ids = itertools.count(2)

    def step(self, count: int) -> Cost:
        items = [journaled(fix) for fix in self._fleet.fixes(count)]
        starts = range(0, len(items), self._size)
        entries = [Entry(next(self._ids), tuple(items[i : i + self._size])) for i in starts]
        clock = Clock()
        for entry in entries:
            self._engine.step(entry)
        return clock.stop(len(items))


def _naive(outlines: list[shapely.Geometry], fixes: list[Position]) -> Cost:
    clock = Clock()
    for fix in fixes:
        point = shapely.Point(fix.lon_deg, fix.lat_deg)
        [i for i, outline in enumerate(outlines) if outline.contains(point)]
    return clock.stop(len(fixes))
