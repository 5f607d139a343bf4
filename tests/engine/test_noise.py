"""What must fire nothing: noise of a parked vehicle, wrong clocks, impossible jumps, repeated fixes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from msgspec import structs

from gateway.engine import Engine
from gateway.model import Command, Entry, FencesPut, Item, Position
from tests.engine.drive import T0, circle, fix, frame, items, observed, plan, put, run, trip

WEEKS_1024_S = 1024 * 7 * 86_400


def parked(
    hours: float, sigma_m: float, *, speed: bool, accuracy: float | None, seed: int, every_s: int = 30
) -> list[Position]:
    """A parked van at (1000, 0) whose receiver wanders: Gauss–Markov, correlated over two minutes."""
    dice = random.Random(seed)
    keep = math.exp(-every_s / 120)
    east, north = dice.gauss(0, sigma_m), dice.gauss(0, sigma_m)
    found = []
    for s in range(0, int(hours * 3600), every_s):
        east = keep * east + math.sqrt(1 - keep**2) * dice.gauss(0, sigma_m)
        north = keep * north + math.sqrt(1 - keep**2) * dice.gauss(0, sigma_m)
        told = abs(dice.gauss(0, 0.15)) if speed else None
        found.append(fix(s, 1000 + east, north, told, accuracy))
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("speed", "accuracy"), [(True, 45.0), (True, None), (False, 45.0), (False, 0.0), (True, 8.0)])
def test_a_parked_day_with_30_m_noise_says_nothing(seed: int, speed: bool, accuracy: float | None) -> None:
    world: list[Command] = [
        *put(plan(1150, 3000)),
        FencesPut(T0 - 1, (circle("near", 1130, 60), circle("far", 1400, 100))),
    ]
    day = items(parked(24, 30.0, speed=speed, accuracy=accuracy, seed=seed))
    assert observed(run([*world, *day], size=200), "stop.", "geofence.", "route.", "vehicle.") == []


@pytest.mark.parametrize("seed", range(4))
def test_a_van_parked_inside_a_zone_is_told_once_as_its_initial_state(seed: int) -> None:
    world = [FencesPut(T0 - 1, (circle("yard", 1000, 150),))]
    said = run([*world, *items(parked(24, 30.0, speed=True, accuracy=45.0, seed=seed))], size=200)
    assert observed(said) == ["geofence.entered"]
    assert said[0].measures["initial"] is True


def test_a_van_parked_at_its_stop_arrives_once_and_stays() -> None:
    fixes = parked(6, 15.0, speed=True, accuracy=22.0, seed=3)
    said = run([*put(plan(1000, 3000)), *items(fixes)], size=100)
    assert observed(said) == ["stop.arrived"]


def test_a_wrong_clock_is_marked_and_drives_nothing() -> None:
    good = trip((1000, 60), (2000, 0))
    wrong = []
    for p in good[:20]:
        here = p.time_ms or 0
        received = here + 500
        for off_s in (3_600, -WEEKS_1024_S, -30 * 86_400, -30 * 365 * 86_400):
            wrong.append(frame(structs.replace(p, time_ms=here + off_s * 1000), received_ms=received))
    engine = Engine()
    engine.step(Entry(1, (*put(plan(1000, 3000)),)))
    step = engine.step(Entry(2, tuple(wrong)))
    assert [v.marks for v in step.verdicts] == [("future",), ("stale",), ("stale",), ("stale",)] * 20
    assert step.events == ()
    assert all(v.position is None for v in engine.vehicles())


def mixed(things: Sequence[Item], extra: Sequence[Item]) -> list[Item]:
    return sorted([*things, *extra], key=lambda i: i.received_ms)


def test_fixes_from_the_future_do_not_make_the_rest_late() -> None:
    fixes = trip((1000, 200), (3000, 0))
    ahead = [
        frame(structs.replace(fixes[3], time_ms=(fixes[3].time_ms or 0) + 7_200_000), received_ms=fixes[3].time_ms)
    ]
    clean = run([*put(plan(1000, 3000)), *items(fixes)])
    dirty = run([*put(plan(1000, 3000)), *mixed(items(fixes), ahead)])
    assert [e.key for e in dirty] == [e.key for e in clean]


def test_a_leap_across_the_country_is_held_until_a_second_fix_agrees() -> None:
    fixes = trip((1000, 200), (3000, 0))
    leap = fix(205, 400_000, speed=0.0)
    said = run([*put(plan(1000, 3000)), *mixed(items(fixes), [frame(leap)])])
    assert observed(said) == ["stop.arrived", "stop.departed"]
    engine = Engine()
    there = [fix(s, 400_000 + s, speed=1.0) for s in range(700, 800, 10)]
    run([*put(plan(1000, 3000)), *items(fixes), *items(there)], engine)
    assert observed(run([*put(plan(1000, 3000)), *items(fixes), *items(there)])) == ["stop.arrived", "stop.departed"]


def test_no_position_no_zero_island_no_invalid_fix_drives_anything() -> None:
    bad = [
        structs.replace(fix(0, 0), valid=False),
        structs.replace(fix(1, 0), lat_deg=None),
        structs.replace(fix(2, 0), lat_deg=0.0, lon_deg=0.0),
        structs.replace(fix(3, 0), lat_deg=float("nan")),
        structs.replace(fix(4, 0), lat_deg=91.0),
        structs.replace(fix(5, 0), fix="none"),
    ]
    engine = Engine()
    step = engine.step(Entry(1, tuple(frame(p) for p in bad)))
    assert [v.marks for v in step.verdicts] == [("invalid",)] * len(bad)
    assert step.events == ()


@pytest.mark.parametrize("every_s", [1, 5])
def test_multipath_of_a_van_at_its_stop_is_no_departure(every_s: int) -> None:
    """The fixes jump 55 m, out of the zone, for 50 s, with an accuracy that does not notice; then they come back."""
    fixes = []
    for p in trip((1000, 300), (1600, 0), every_s=every_s, noise_m=1):
        s = ((p.time_ms or 0) - T0) / 1000
        jumped = 180 <= s < 230
        fixes.append(fix(s, 1000, 55, 0.1) if jumped else p)
    said = run([*put(plan(1000, 3000, radius_m=30)), *items(fixes)])
    assert observed(said) == ["stop.arrived", "stop.departed"]
    assert next(e for e in said if e.type == "stop.departed").time_ms == pytest.approx(T0 + 403_000, abs=3_000)
