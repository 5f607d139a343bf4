"""Arrivals and departures: told once, at the time they happened, and not of vehicles that drive past."""

from __future__ import annotations

import pytest
from msgspec import structs

from gateway.engine import Engine
from gateway.model import Event, Position
from tests.engine.drive import T0, fix, frame, items, observed, plan, put, run, trip


def test_a_stop_is_reached_and_left_once_at_the_time_of_the_crossings() -> None:
    said = run([*put(plan(1000, 3000)), *items(trip((1000, 200), (3000, 200), (5000, 0)))])
    assert observed(said) == ["stop.arrived", "stop.departed", "stop.arrived", "stop.departed", "route.completed"]
    arrived, departed = [e for e in said if e.type.startswith("stop.")][:2]
    assert arrived.key == "plan/p1/stop/1/visit/1/arrived"
    assert arrived.time_ms == pytest.approx(T0 + 95_000, abs=3_000)
    assert arrived.stationary_ms == pytest.approx(T0 + 100_000, abs=8_000)
    assert departed.time_ms == pytest.approx(T0 + 305_000, abs=3_000)
    assert (arrived.early_late, arrived.plan_id) == ("on_time", "p1")
    assert arrived.evidence is not None
    assert "p_inside" in " ".join(arrived.evidence.reasons)


@pytest.mark.parametrize("every_s", [1, 5, 10, 30])
def test_an_arrival_is_known_soon_after_the_wheels_stop_whatever_the_interval(every_s: float) -> None:
    said = run([*put(plan(1000, 3000)), *items(trip((1000, 200), (3000, 0), every_s=every_s))])
    arrived = next(e for e in said if e.type == "stop.arrived")
    assert arrived.detected_ms - (T0 + 100_000) < 1000 * (16 + 2 * every_s)


@pytest.mark.parametrize("every_s", [1, 5, 10, 30])
def test_driving_past_is_no_arrival(every_s: float) -> None:
    said = run([*put(plan(1000, 3000)), *items(trip((5000, 0), every_s=every_s))])
    assert "stop.arrived" not in observed(said)


def test_a_short_halt_at_a_light_is_taken_back_or_never_said() -> None:
    said = run([*put(plan(1000, 3000)), *items(trip((960, 14), (2000, 0), every_s=2))])
    last: dict[str, Event] = {e.key: e for e in said}
    assert all(e.status == "withdrawn" for e in last.values() if e.type == "stop.arrived")


def test_a_halt_beside_the_zone_is_no_arrival() -> None:
    said = run([*put(plan(1000)), *items(trip((900, 300), (2000, 0)))])
    assert "stop.arrived" not in observed(said)


def test_one_stray_fix_is_no_departure() -> None:
    fixes = trip((1000, 300), (3000, 0))
    stray = fix(205.0, 1400, 300, speed=0.2)
    said = run([*put(plan(1000, 3000)), *items(sorted([*fixes, stray], key=lambda p: p.time_ms or 0))])
    assert observed(said).count("stop.departed") == 1
    assert next(e for e in said if e.type == "stop.departed").time_ms == pytest.approx(T0 + 405_000, abs=3_000)


def test_a_skipped_stop_is_missed_and_the_next_out_of_sequence() -> None:
    said = run([*put(plan(1000, 3000)), *items(trip((3000, 200), (5000, 0)))])
    assert observed(said) == ["stop.arrived", "stop.missed", "stop.out_of_sequence", "stop.departed", "route.completed"]


def test_the_next_plan_closes_the_one_before() -> None:
    later = plan(1000, plan_id="p2", start_s=600)
    fixes = [*trip((900, 500), (1000, 300), (2000, 0))]
    said = run([*put(plan(1000, 3000), later), *items(fixes)])
    assert [e.plan_id for e in said if e.type == "stop.arrived"] == ["p2"]


def test_no_accuracy_and_no_speed_still_tell_an_arrival() -> None:
    bare = [
        fix(s, x, accuracy=0)
        for s, x in [*((t, 10 * t) for t in range(0, 100, 10)), *((t, 1000) for t in range(100, 300, 10))]
    ]
    said = run([*put(plan(1000, 3000)), *items(bare)])
    assert observed(said) == ["stop.arrived"]


def test_one_message_with_many_fixes_is_taken_by_their_time() -> None:
    fixes = trip((1000, 200), (3000, 0))
    whole = [frame(*reversed(fixes[i : i + 40])) for i in range(0, len(fixes), 40)]
    said = run([*put(plan(1000, 3000)), *whole])
    assert [e.key for e in said if e.type == "stop.arrived"] == ["plan/p1/stop/1/visit/1/arrived"]


def parked(east_m: float, from_s: float, to_s: float) -> list[Position]:
    """Stands with its engine off."""
    still = [fix(s, east_m, speed=0.0) for s in range(int(from_s), int(to_s), 4)]
    return [structs.replace(p, attributes={"ignition": False}) for p in still]


def on_the_way(from_s: float, from_m: float, to_m: float) -> list[Position]:
    return [fix(from_s + d / 10, from_m + d, speed=10.0) for d in range(0, int(to_m - from_m), 50)]


def last_of(said: list[Event]) -> dict[str, Event]:
    return {e.key: e for e in said if e.type.startswith("stop.")}


def test_an_arrival_that_is_taken_back_takes_back_what_it_said_of_the_stops_before() -> None:
    fixes = [*on_the_way(0, 0, 3000), *parked(3000, 300, 314), *on_the_way(314, 3000, 4000)]
    said = run([*put(plan(1000, 3000, 6000)), *items(fixes)])
    assert observed(said)[:3] == ["stop.arrived", "stop.missed", "stop.out_of_sequence"]
    assert {e.type: e.status for e in last_of(said).values()} == {
        "stop.arrived": "withdrawn",
        "stop.missed": "withdrawn",
        "stop.out_of_sequence": "withdrawn",
    }


def test_a_stop_left_out_is_told_again_by_the_arrival_that_stands() -> None:
    fixes = [*on_the_way(0, 0, 3000), *parked(3000, 300, 314), *on_the_way(314, 3000, 6000), *parked(6000, 614, 800)]
    last = last_of(run([*put(plan(1000, 3000, 6000)), *items(fixes)]))
    assert {key: (e.status, e.revision) for key, e in last.items() if e.type == "stop.missed"} == {
        "plan/p1/stop/1/visit/1/missed": ("confirmed", 3),
        "plan/p1/stop/2/visit/1/missed": ("confirmed", 1),
    }


def test_a_served_stop_that_seems_to_be_visited_again_stays_served() -> None:
    away = [*on_the_way(400, 1000, 2000), *(fix(600 + 5 * i, 2000 - 25 * i, speed=5.0) for i in range(39))]
    fixes = [
        *on_the_way(0, 0, 1000),
        *parked(1000, 100, 400),
        *away,
        *parked(1000, 800, 816),
        *on_the_way(816, 1000, 1500),
    ]
    engine = Engine()
    last = last_of(run([*put(plan(1000, 3000)), *items(fixes)], engine))
    assert last["plan/p1/stop/1/visit/2/arrived"].status == "withdrawn"
    assert [s.stop_id for s in engine.vehicles()[0].next_stops] == ["2"]
