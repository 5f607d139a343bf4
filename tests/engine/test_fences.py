"""Generic zones: entered, left, passed through; each once, at the crossing, exits before entries."""

from __future__ import annotations

import pytest
from msgspec import structs

from gateway.engine import Engine
from gateway.model import Entry, FenceRemove, FencesPut, FrameItem, Item
from tests.engine.drive import T0, circle, fix, items, observed, run, trip


def world(*fences: object) -> list[Item]:
    return [FencesPut(T0 - 1, tuple(fences))]  # type: ignore[arg-type]


@pytest.mark.parametrize("every_s", [1, 5, 10])
def test_a_zone_is_entered_and_left_once_at_the_crossings(every_s: float) -> None:
    said = run([*world(circle("yard", 1000, 200)), *items(trip((2000, 0), every_s=every_s))])
    assert observed(said) == ["geofence.entered", "geofence.exited"]
    assert said[0].key == "fence/yard/vehicle/van/visit/1/entered"
    assert said[0].time_ms == pytest.approx(T0 + 80_000, abs=2_000)
    assert said[1].time_ms == pytest.approx(T0 + 120_000, abs=2_000)
    assert said[1].measures["dwell_s"] == pytest.approx(40, abs=4)


def test_a_zone_between_two_fixes_was_passed_through() -> None:
    said = run([*world(circle("gate", 1000, 40)), *items(trip((2000, 0), every_s=30))])
    assert observed(said) == ["geofence.passed_through"]
    assert said[0].time_ms == pytest.approx(T0 + 96_000, abs=3_000)


def test_neighbouring_zones_follow_each_other_exit_first() -> None:
    zones = world(circle("west", 900, 150), circle("east", 1272, 150))  # 72 m between them
    said = run([*zones, *items(trip((2500, 0), every_s=10, noise_m=8))])
    assert observed(said) == ["geofence.entered", "geofence.exited", "geofence.entered", "geofence.exited"]
    assert [e.fence_id for e in said] == ["west", "west", "east", "east"]


def test_a_halt_between_two_zones_under_bad_reception_flips_nothing() -> None:
    zones = world(circle("west", 900, 150), circle("east", 1272, 150))
    quiet = trip((950, 20), every_s=10)
    rough = [fix(t, 950 + 90 * (t // 30 % 3), 0, 0.2, accuracy=120.0) for t in range(130, 1800, 10)]
    said = run([*zones, *items([*quiet, *rough])])
    assert observed(said) == ["geofence.entered"]


def test_a_huge_accuracy_puts_nobody_inside() -> None:
    fixes = [fix(t, 0, 0, 0.0, accuracy=3_000.0) for t in range(0, 600, 10)]
    assert observed(run([*world(circle("yard", 0, 150)), *items(fixes)])) == []


def test_a_removed_zone_lets_go_of_whom_it_held() -> None:
    things = [*world(circle("yard", 1000, 200)), *items(trip((1000, 100)))]
    engine = Engine()
    assert observed(run(things, engine)) == ["geofence.entered"]
    step = engine.step(Entry(900, (FenceRemove(T0 + 210_000, "yard"),)))
    assert [(e.type, e.cause) for e in step.events] == [("geofence.exited", "fence_removed")]
    assert engine.fences() == []
    assert observed(run(items(trip((1000, 100))), engine)) == []


def test_a_new_zone_round_a_parked_van_is_told_as_its_initial_state() -> None:
    parked = trip((1000, 600))
    things: list[Item] = list(items(parked))
    things.insert(40, FencesPut(T0 + 400_000, (circle("yard", 1000, 200),)))
    said = run(things)
    assert [(e.type, e.measures["initial"]) for e in said] == [("geofence.entered", True)]


@pytest.mark.parametrize("every_s", [1, 5])
def test_a_stray_fix_enters_no_zone_and_leaves_none(every_s: float) -> None:
    zones = world(circle("yard", 1000, 200), circle("beside", 1000, 60, north_m=320))
    fixes = trip((1000, 120), every_s=every_s)
    for i, p in enumerate(fixes):
        if i % 17 == 9:
            fixes[i] = fix(((p.time_ms or 0) - T0) / 1000, 1000, 320, p.speed_mps)
    assert observed(run([*zones, *items(fixes)])) == ["geofence.entered"]


@pytest.mark.parametrize("every_s", [5, 10])
def test_a_stray_fix_of_a_moving_van_enters_nothing_and_passes_through_nothing(every_s: float) -> None:
    fixes = trip((6000, 0), every_s=every_s)
    for i in (20, 40):
        p = fixes[i]
        fixes[i] = fix(((p.time_ms or 0) - T0) / 1000, i * 10 * every_s, 250, p.speed_mps)
    zones = world(
        circle("beside", 20 * 10 * every_s, 60, north_m=250), circle("too", 40 * 10 * every_s, 60, north_m=250)
    )
    assert observed(run([*zones, *items(fixes)])) == []


def removal(*, removed_s: float) -> tuple[Engine, list[Item], list[Item]]:
    """An engine whose van is inside a zone when it is removed; the fixes that came before, and those held back."""
    fixes = trip((1000, 100), (3000, 0), every_s=5)
    late = [p for p in fixes if (p.time_ms or 0) - T0 in (60_000, 95_000, 120_000)]
    things: list[Item] = [*world(circle("yard", 1000, 200)), *items(p for p in fixes if p not in late)]
    known = [i for i in things if i.received_ms <= T0 + removed_s * 1000]
    engine = Engine()
    assert observed(run(known, engine)) == ["geofence.entered"]
    step = engine.step(Entry(900, (FenceRemove(T0 + round(removed_s * 1000), "yard"),)))
    assert observed(step.events) == ["geofence.exited"]
    return engine, items(late), [i for i in things if i not in known]


def test_a_rewind_across_a_removed_zone_does_not_revive_it() -> None:
    engine, late, rest = removal(removed_s=150)
    held = [structs.replace(i, received_ms=T0 + 151_000) for i in late if isinstance(i, FrameItem)]
    assert engine.step(Entry(901, tuple(held))).events == ()
    assert engine.vehicles()[0].fences == ()
    assert engine.step(Entry(902, tuple(rest))).events == ()


def test_a_zone_that_comes_again_goes_on_counting_its_visits() -> None:
    engine, late, rest = removal(removed_s=150)
    engine.step(Entry(901, tuple(world(circle("yard", 1000, 200)))))
    held = [structs.replace(i, received_ms=T0 + 160_000) for i in late if isinstance(i, FrameItem)]
    said = [e for n, i in enumerate([*rest[:2], *held, *rest[2:]]) for e in engine.step(Entry(902 + n, (i,))).events]
    assert [e.key.rpartition("visit/")[2] for e in said] == ["2/entered", "2/exited"]
