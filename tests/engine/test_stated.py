"""What is said of the future and of reception: silence, ETAs, warnings; each once, with hysteresis."""

from __future__ import annotations

import pytest
from msgspec import structs

from gateway.engine import Engine
from gateway.engine.adherence import review
from gateway.engine.options import AdherenceRule
from gateway.engine.vehicle import Vehicle
from gateway.engine.world import World
from gateway.model import Assignment, DevicePut, Entry, Eta, Item, PlanPut, PlanRemove, Status, Stop, Tick
from tests.engine.drive import T0, frame, items, observed, plan, put, run, trip


def test_silence_is_told_once_after_three_intervals_and_ended_by_the_next_word() -> None:
    engine = Engine()
    fixes = trip((4000, 0), every_s=10)
    said = run(items(fixes), engine)
    assert observed(said, "vehicle.") == []
    last_ms = (fixes[-1].time_ms or 0) + 500
    due_ms = last_ms + 180_000
    assert engine.step(Entry(900, (Tick(due_ms - 1),))).events == ()
    assert engine.next_deadline_ms() == due_ms
    silent = engine.step(Entry(901, (Tick(due_ms + 5_000),))).events
    assert [(e.type, e.time_ms, e.detected_ms) for e in silent] == [("vehicle.silent", due_ms, due_ms + 5_000)]
    assert engine.step(Entry(902, (Tick(due_ms + 600_000),))).events == ()
    assert engine.vehicles()[0].state == "silent"
    again = structs.replace(fixes[-1], time_ms=last_ms + 900_000)
    assert [e.type for e in engine.step(Entry(903, (frame(again),))).events] == ["vehicle.reporting"]


def test_a_heartbeat_is_no_silence() -> None:
    engine = Engine()
    fixes = trip((2000, 0))
    run(items(fixes), engine)
    last_ms = fixes[-1].time_ms or 0
    for n in range(1, 10):
        beat = Status(device_id="van", kind="heartbeat", time_ms=None)
        item = structs.replace(frame(fixes[-1]), messages=(beat,), ordinals=(-1,), received_ms=last_ms + n * 100_000)
        assert engine.step(Entry(900 + n, (item,))).events == ()


def test_an_eta_is_near_the_truth_and_ordered() -> None:
    engine = Engine()
    things = [
        *put(plan(2000, 6000)),
        *items([p for p in trip((2000, 180), (6000, 180)) if (p.time_ms or 0) < T0 + 100_000]),
    ]
    run(things, engine)
    etas = engine.etas(T0 + 100_000)
    assert [e.stop_id for e in etas] == ["1", "2"]
    assert etas[0].p50_ms == pytest.approx(T0 + 200_000, abs=45_000)
    assert etas[1].p50_ms == pytest.approx(T0 + 780_000, abs=90_000)
    assert all(e.p10_ms <= e.p50_ms <= e.p90_ms for e in etas)
    assert etas[0].method == "path"
    assert engine.vehicles()[0].next_stops[0].eta == engine.etas(engine.vehicles()[0].received_ms)[0]


def test_no_eta_without_a_young_fix_nor_without_a_plan() -> None:
    engine = Engine()
    run([*put(plan(2000, 6000)), *items(trip((1000, 0)))], engine)
    assert engine.etas(T0 + 100_000)
    assert engine.etas(T0 + 600_000) == []
    engine.step(Entry(900, (PlanRemove(T0 + 100_000, "p1"),)))
    assert engine.etas(T0 + 100_000) == []
    assert engine.etas(T0, "nobody") == []


def test_late_is_said_once_and_recovered_once() -> None:
    """A long unplanned halt makes the second stop late; a generous window then lets it recover."""
    one = plan(1000, 9000)
    due_ms = T0 + 1_500_000
    stop = structs.replace(one.stops[1], window_end_ms=due_ms, window_start_ms=T0, scheduled_arrival_ms=due_ms - 60_000)
    one = structs.replace(one, stops=(one.stops[0], stop))
    slow = trip((1000, 180), (2000, 700), (9000, 60), every_s=10, speed=20.0)
    said = run([*put(one), *items(slow)])
    kinds = [
        e.type
        for e in said
        if e.type in ("eta.late", "eta.at_risk", "eta.recovered") and e.stop and e.stop.stop_id == "2"
    ]
    assert len(kinds) == len(set(kinds))
    never = run([*put(plan(1000, 9000)), *items(trip((1000, 4000), (9000, 0)))])
    late = [e for e in never if e.type == "eta.late" and e.stop and e.stop.stop_id == "2"]
    assert len(late) == 1
    assert late[0].time_ms < (late[0].stop.window_end_ms or 0) + 120_000 if late[0].stop else False


def test_a_late_vehicle_warns_of_its_next_stops_and_of_those_after_them_as_they_come_within_reach() -> None:
    """An hour's unplanned halt makes all six stops late at once; each is named once, three ahead at most."""
    tour = plan(2000, 4000, 6000, 8000, 10_000, 12_000, service_s=120.0)
    said = run([*put(tour), *items(trip((1000, 3600), *((x, 120) for x in range(2000, 12_001, 2000))))])
    open_stops = [s.stop_id for s in tour.stops]
    warned: list[str] = []
    for event in said:
        if event.stop is None:
            continue
        if event.type == "stop.arrived":
            open_stops.remove(event.stop.stop_id)
        elif event.type == "eta.late":
            warned.append(event.stop.stop_id)
            assert event.stop.stop_id in open_stops[:3]
    assert warned == ["1", "2", "3", "4", "5", "6"]


@pytest.mark.parametrize(("calm_min", "told"), [(0, ["eta.late"]), (3, ["eta.late"]), (8, [])])
def test_a_warning_kept_for_a_far_stop_is_given_unless_it_has_calmed_down_by_then(
    calm_min: int, told: list[str]
) -> None:
    tour = plan(1000, 2000, 3000, 40_000)
    world, vehicle, rule = World(0.0), Vehicle("van"), AdherenceRule()
    world.apply(PlanPut(0, tour))
    record = world.record("p1")
    assert record is not None
    said: list[str] = []
    minutes = [(n, 4, 20.0) for n in range(5)] + [(5 + n, 4, -60.0) for n in range(calm_min)]
    for minute, stops_open, late_min in [*minutes, (5 + calm_min, 3, 2.0)]:
        now_ms = T0 + minute * 60_000
        etas = [expected(stop, now_ms, late_min if stop.stop_id == "4" else -5.0) for stop in tour.stops[-stops_open:]]
        events = review(vehicle, record, etas, now_ms, rule)
        said += [e.type for e in events if e.type != "eta.updated" and e.stop == tour.stops[3]]
    assert said == told


def expected(stop: Stop, at_ms: int, late_min: float) -> Eta:
    """A prediction so many minutes after the window's end, good to a minute."""
    p50_ms = (stop.window_end_ms or 0) + round(late_min * 60_000)
    return Eta(
        vehicle_id="van",
        plan_id="p1",
        stop_id=stop.stop_id,
        at_ms=at_ms,
        p10_ms=p50_ms - 60_000,
        p50_ms=p50_ms,
        p90_ms=p50_ms + 60_000,
    )


def test_eta_updates_are_few() -> None:
    said = run([*put(plan(3000, 9000)), *items(trip((3000, 180), (9000, 180), every_s=5))])
    updates = [e for e in said if e.type == "eta.updated"]
    assert 2 <= len(updates) <= 30
    for stop_id in ("1", "2"):
        revisions = [e.revision for e in updates if e.stop and e.stop.stop_id == stop_id]
        assert revisions == list(range(1, len(revisions) + 1))


def test_a_device_reports_for_the_vehicle_it_is_assigned_to_and_a_second_one_drives_nothing() -> None:
    fixes = trip((1000, 200))
    aliens = [structs.replace(p, device_id="imei-1") for p in fixes]
    spare = [structs.replace(p, device_id="imei-2", lat_deg=42.0) for p in fixes]
    engine = Engine()
    assign: list[Item] = [
        DevicePut(0, Assignment(device_id="imei-1", vehicle_id="van")),
        DevicePut(0, Assignment(device_id="imei-2", vehicle_id="van", primary=False)),
    ]
    both = [x for pair in zip(items(aliens), items(spare), strict=True) for x in pair]
    said = run([*assign, *put(plan(1000, 3000)), *both], engine)
    assert observed(said) == ["stop.arrived"]
    assert said[-1].vehicle_id == "van"
    assert [v.vehicle_id for v in engine.vehicles()] == ["van"]
    assert engine.vehicles()[0].at_stop_id == "1"


def test_a_plan_that_changes_under_way_keeps_what_was_reached_and_forgets_what_it_lost() -> None:
    engine = Engine()
    one = plan(1000, 3000, 5000)
    run([*put(one), *items(trip((1000, 120)))], engine)
    assert engine.vehicles()[0].at_stop_id == "1"
    two = structs.replace(one, version=2, stops=one.stops[1:])
    engine.step(Entry(900, (PlanPut(T0 + 230_000, two),)))
    assert [e.stop_id for e in engine.etas(T0 + 225_000)] == ["2", "3"]
    rest = [p for p in trip((1000, 120), (3000, 120)) if (p.time_ms or 0) > T0 + 225_000]
    said = [e for n, i in enumerate(items(rest)) for e in engine.step(Entry(901 + n, (i,))).events]
    assert [(e.key, e.plan_version) for e in said if e.type == "stop.arrived"] == [
        ("plan/p1/stop/2/visit/1/arrived", 2)
    ]
