"""Late data: it rewrites the recent past as if it had come in time, and says the difference once."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.engine import Engine, EngineOptions
from gateway.engine.options import LateRule
from gateway.model import Entry, Event, FencesPut, Item
from tests.engine.drive import T0, circle, frame, items, plan, put, run, trip

EXACT = EngineOptions(late=LateRule(revise_min_s=0.0))


def standing(events: list[Event]) -> dict[str, tuple[int, str | None]]:
    """The contract's one line: upsert by key, keep the highest revision, withdrawn deletes. Observed events only."""
    last: dict[str, Event] = {}
    for e in events:
        if e.type.startswith(("stop.", "geofence.", "route.")) and e.revision >= last.get(e.key, e).revision:
            last[e.key] = e
    return {k: (e.time_ms, e.early_late) for k, e in last.items() if e.status != "withdrawn"}


def world() -> list[Item]:
    return [*put(plan(1000, 3000)), FencesPut(T0 - 1, (circle("yard", 2000, 150), circle("gate", 500, 60)))]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1_000_000), every_s=st.sampled_from([5, 10, 20]), spread_s=st.sampled_from([20, 120, 600]))
def test_any_order_of_arrival_within_the_horizon_ends_in_the_same_history(
    seed: int, every_s: int, spread_s: int
) -> None:
    dice = random.Random(seed)
    fixes = trip((1000, 150), (2000, 40), (3000, 150), (4500, 0), every_s=every_s, seed=seed % 7)
    ordered = items(fixes)
    shuffled = sorted(
        (frame(p, received_ms=(p.time_ms or 0) + dice.randrange(500, spread_s * 1000)) for p in fixes),
        key=lambda f: f.received_ms,
    )
    doubled = [f for f in shuffled for _ in range(dice.choice([1, 1, 1, 2]))]
    expected = standing(run([*world(), *ordered], Engine(EXACT)))
    assert expected
    assert standing(run([*world(), *doubled], Engine(EXACT))) == expected


def test_a_visit_inside_an_outage_is_told_when_its_fixes_come() -> None:
    fixes = trip((1000, 200), (3000, 100), (4000, 0))
    hole = [p for p in fixes if 80_000 < (p.time_ms or 0) - T0 < 330_000]
    live = [p for p in fixes if p not in hole]
    burst = frame(*reversed(hole), received_ms=T0 + 400_000)
    things: list[Item] = sorted([*items(live), burst], key=lambda i: i.received_ms)
    said = run([*put(plan(1000, 3000)), *things])
    arrived = next(e for e in said if e.key == "plan/p1/stop/1/visit/1/arrived")
    assert (arrived.late, arrived.cause, arrived.status) == (True, "late_fix", "confirmed")
    assert arrived.time_ms == pytest.approx(T0 + 95_000, abs=3_000)
    revised = [e for e in said if e.type == "history.revised"]
    assert len(revised) == 1
    assert revised[0].measures["fixes"] == len(hole)


def test_a_late_fix_is_marked_and_one_beyond_the_horizon_changes_nothing() -> None:
    short = EngineOptions(late=LateRule(horizon_s=120.0))
    engine = Engine(short)
    fixes = trip((1000, 200), (3000, 100))
    run([*put(plan(1000, 3000)), *items(fixes)], engine)
    ancient = structs.replace(fixes[2], lat_deg=41.3)
    received_ms = (fixes[-1].time_ms or 0) + 1_000
    step = engine.step(Entry(1000, (frame(ancient, received_ms=received_ms),)))
    assert [v.marks for v in step.verdicts] == [("late",)]
    assert step.events == ()


def test_of_two_fixes_of_one_instant_the_more_accurate_counts_in_either_order() -> None:
    fixes = trip((1000, 200), (3000, 100))
    rough = [structs.replace(p, lat_deg=(p.lat_deg or 0) + 0.002, accuracy_m=300.0) for p in fixes[::3]]
    clean = standing(run([*put(plan(1000, 3000)), *items(fixes)], Engine(EXACT)))
    for order in (1, -1):
        pairs: list[Item] = []
        for p in fixes:
            twins = [r for r in rough if r.time_ms == p.time_ms]
            pairs += [frame(x) for x in [p, *twins][::order]]
        assert standing(run([*put(plan(1000, 3000)), *pairs], Engine(EXACT))) == clean


def test_revisions_rise_and_name_what_they_supersede() -> None:
    fixes = trip((1000, 200), (3000, 100), (4000, 0), every_s=20)
    missing = [p for p in fixes if 60_000 < (p.time_ms or 0) - T0 < 130_000]
    live = [p for p in fixes if p not in missing]
    late = [frame(p, received_ms=T0 + 200_000 + i) for i, p in enumerate(missing)]
    things = sorted([frame(p) for p in live] + late, key=lambda f: f.received_ms)
    said = run([*put(plan(1000, 3000)), *things], Engine(EXACT))
    for key in {e.key for e in said if e.type.startswith("stop.")}:
        versions = [e for e in said if e.key == key]
        assert [e.revision for e in versions] == list(range(1, len(versions) + 1))
        assert all(e.supersedes for e in versions[1:])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1_000_000))
def test_late_fixes_of_one_message_count_wherever_they_lie(seed: int) -> None:
    """Harmless ones early in the message must not end the rewind before those that matter."""
    dice = random.Random(seed)
    fixes = trip((1000, 150), (2000, 40), (3000, 150), (4500, 0), every_s=5, seed=seed % 5)
    held = sorted(dice.sample(range(len(fixes) - 5), 12))
    live = [p for i, p in enumerate(fixes) if i not in held]
    burst = frame(*(fixes[i] for i in held), received_ms=(fixes[-1].time_ms or 0) + 1_000)
    expected = standing(run([*world(), *items(fixes)], Engine(EXACT)))
    assert standing(run([*world(), *items(live), burst], Engine(EXACT))) == expected
