"""Vehicles move as vehicles do, and the truth is what their wheels did."""

from __future__ import annotations

from collections import defaultdict

import pytest

from firmware_sim.fleet import Fleet
from firmware_sim.tours import Tour
from firmware_sim.vehicle import STEP_MS, STEP_S, Happening, State, Vehicle
from gateway.geo import distance_m
from tests.firmware_sim.fleets import START_MS, small_fleet

HOURS_S = 6_000


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return small_fleet(12)


class Driven:
    """A whole tour, step by step."""

    def __init__(self, vehicle: Vehicle) -> None:
        self.tour: Tour = vehicle.tour
        self.states: list[State] = [vehicle.state(START_MS)]
        self.at_m = [vehicle.at_m]
        self.said: list[Happening] = []
        now_ms = START_MS
        while not vehicle.parked and now_ms < START_MS + HOURS_S * 1000:
            now_ms += STEP_MS
            self.said += vehicle.step(now_ms)
            self.states.append(vehicle.state(now_ms))
            self.at_m.append(vehicle.at_m)


@pytest.fixture(scope="module")
def driven(fleet: Fleet) -> list[Driven]:
    return [Driven(t.vehicle) for t in fleet.world.trackers]


def test_everyone_gets_home(driven: list[Driven]) -> None:
    assert all(d.said[-1].what == "parked" for d in driven)


def test_speed_and_acceleration_are_bounded(driven: list[Driven], fleet: Fleet) -> None:
    for each, tracker in zip(driven, fleet.world.trackers, strict=True):
        kind = tracker.vehicle.kind
        for a, b, at_m in zip(each.states, each.states[1:], each.at_m, strict=False):
            pull = (b.speed_mps - a.speed_mps) / STEP_S
            assert -kind.brake_mps2 - 0.11 <= pull <= kind.pull_mps2 + 1e-9
            assert b.speed_mps <= min(kind.top_mps, each.tour.route.limit_mps(at_m)) + 1e-9


def test_bends_are_taken_slowly(driven: list[Driven]) -> None:
    for each in driven:
        bends = iter(each.tour.route.bends)
        bend = next(bends, None)
        for a_m, b_m, state in zip(each.at_m, each.at_m[1:], each.states[1:], strict=False):
            while bend is not None and a_m <= bend[0] < b_m:
                assert state.speed_mps <= bend[1] + 0.3
                bend = next(bends, None)


def test_no_one_passes_a_red_light_that_he_could_have_stopped_at(driven: list[Driven], fleet: Fleet) -> None:
    waited = 0
    for each, tracker in zip(driven, fleet.world.trackers, strict=True):
        for light in each.tour.route.lights:
            i = next(i for i, at_m in enumerate(each.at_m) if at_m > light.at_m)
            since = next((n for n in range(1, 120) if not light.red(each.states[i - n].time_ms)), 120)
            if light.red(each.states[i].time_ms):
                assert since * STEP_S <= 17.0 / tracker.vehicle.kind.brake_mps2, "it was red already"
            waited += each.states[i - 1].speed_mps == 0 or each.states[max(0, i - 20)].speed_mps == 0
    assert waited > 10


def test_each_stop_is_served_or_left_out_and_in_order(driven: list[Driven]) -> None:
    skipped = 0
    for each in driven:
        visits = [(h.what, h.ref) for h in each.said if h.what in ("arrived", "departed", "skipped")]
        expected: list[tuple[str, int]] = []
        for i, stop in enumerate(each.tour.stops):
            expected += [("skipped", i)] if stop.skipped else [("arrived", i), ("departed", i)]
            skipped += stop.skipped
        assert visits == expected
    assert skipped


def test_truth_agrees_with_the_clean_track(driven: list[Driven]) -> None:
    """Standing from arrival to departure, inside the zone; zone entered before, left after, at its edge."""
    for each in driven:
        by_time = {s.time_ms: s for s in each.states}
        said: dict[str, list[Happening]] = defaultdict(list)
        for h in each.said:
            said[h.what].append(h)
        assert len(said["arrived"]) == len(said["departed"])
        for came, left in zip(said["arrived"], said["departed"], strict=True):
            stop = each.tour.stops[int(came.ref)]
            assert left.time_ms - came.time_ms == round(stop.takes_s * 1000)
            for time_ms in range(came.time_ms, left.time_ms - STEP_MS, STEP_MS):
                state = by_time[time_ms]
                assert state.speed_mps == 0
                assert distance_m(*state.geo, stop.stop.lat_deg, stop.stop.lon_deg) < stop.stop.radius_m
            assert by_time[came.time_ms - STEP_MS].speed_mps > 0
        for what in ("zone_entered", "zone_left"):
            for h in said[what]:
                stop = each.tour.stops[int(h.ref)]
                before, after = (
                    by_time[START_MS + (h.time_ms - START_MS + n) // STEP_MS * STEP_MS] for n in (-1, STEP_MS)
                )
                near_m, far_m = sorted(
                    distance_m(*s.geo, stop.stop.lat_deg, stop.stop.lon_deg) for s in (before, after)
                )
                assert near_m - 0.3 <= stop.stop.radius_m <= far_m + 0.3


def test_habits_show(driven: list[Driven]) -> None:
    lateness: dict[str, list[float]] = defaultdict(list)
    for each in driven:
        for h in each.said:
            if h.what == "arrived":
                due_ms = each.tour.plan.stops[int(h.ref)].scheduled_arrival_ms
                assert due_ms is not None
                lateness[each.tour.habit].append((h.time_ms - due_ms) / 1000)
    middle = {habit: sorted(values)[len(values) // 2] for habit, values in lateness.items()}
    assert middle["late"] > 200
    assert abs(middle["punctual"]) < 90
    assert middle["early"] < -60
    assert middle["held_up"] > 120
