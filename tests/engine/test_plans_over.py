"""Plans that are over leave the engine's memory, and not before late data can no longer change what was said of them."""

from __future__ import annotations

from msgspec import structs

from gateway.engine import Engine
from gateway.model import Entry, Event, FrameItem, Plan, Position, Tick
from tests.engine.drive import T0, frame, plan, put, run, trip

TOUR_S = 7_200
DAY_MS = 86_400_000


def tours(count: int) -> list[Plan]:
    return [plan(1000, 3000, plan_id=f"p{n}", start_s=n * TOUR_S) for n in range(count)]


def after(positions: list[Position], tour: int) -> list[Position]:
    return [structs.replace(p, time_ms=(p.time_ms or 0) + tour * TOUR_S * 1000) for p in positions]


def driven(count: int) -> list[FrameItem]:
    """The same tour again and again, each followed by a long halt beside the road."""
    once = trip((1000, 200), (3000, 200), (5000, 6_000), every_s=20)
    return [frame(p) for n in range(count) for p in after(once, n)]


def standing(events: list[Event]) -> dict[str, Event]:
    last = {e.key: e for e in events if e.type.startswith("stop.")}
    return {k: e for k, e in last.items() if e.status != "withdrawn"}


def test_plans_that_are_over_are_forgotten() -> None:
    engine = Engine()
    said = run([*put(*tours(8)), *driven(8)], engine)
    assert len(standing(said)) == 8 * 4
    assert [p.plan_id for p in engine.plans()] == ["p7"]


def test_plans_of_a_vehicle_that_never_reports_are_forgotten_once_its_fixes_would_be_too_old() -> None:
    engine = Engine()
    engine.step(Entry(1, (*put(*tours(3)),)))
    engine.step(Entry(2, (Tick(T0 + 2 * DAY_MS),)))
    assert len(engine.plans()) == 3
    engine.step(Entry(3, (Tick(T0 + 9 * DAY_MS),)))
    assert engine.plans() == []


def test_late_fixes_within_the_horizon_still_find_the_plan_that_is_over() -> None:
    """The vehicle falls silent in its second tour; two days later come the fixes of a visit that it had held back."""
    engine = Engine()
    things = driven(2)
    span = range(T0 + TOUR_S * 1000 + 90_000, T0 + TOUR_S * 1000 + 330_000)
    held = [i for i in things if i.received_ms in span]
    live = [i for i in things if i not in held and i.received_ms < T0 + (TOUR_S + 1_200) * 1000]
    said = run([*put(*tours(2)), *live], engine)
    engine.step(Entry(5_000, (Tick(T0 + 2 * DAY_MS),)))
    late = tuple(structs.replace(i, received_ms=T0 + 2 * DAY_MS + 1_000) for i in held)
    everything = [*said, *engine.step(Entry(5_001, late)).events]
    assert {k for k in standing(everything) if k.startswith("plan/p1/")} >= {
        "plan/p1/stop/1/visit/1/arrived",
        "plan/p1/stop/2/visit/1/arrived",
    }
    assert not any(e.status == "withdrawn" and e.type == "stop.arrived" for e in everything)


def test_a_plan_that_was_taken_over_stays_over_when_its_successor_is_forgotten() -> None:
    """The first plan is long, the second short; when the second is over, the first does not come back."""
    long = plan(1000, 3000, 9_000, 60_000, plan_id="long")
    short = plan(1000, 3000, plan_id="short", start_s=TOUR_S)
    engine = Engine()
    run([*put(long, short), *driven(4)], engine)
    assert engine.vehicles()[0].plan_id in (None, "short")
    for n, p in enumerate(after(trip((1000, 30_000), every_s=60), 4)):
        engine.step(Entry(9_000 + n, (frame(p),)))
    assert engine.plans() == []
    assert engine.vehicles()[0].plan_id is None
