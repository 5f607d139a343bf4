"""What the fleet teaches: paces by time of day, service times by site, the spread of past errors; exact through a snapshot."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gateway.eta.errors import Errors, scale_s
from gateway.eta.service import ServiceTimes
from gateway.eta.travel import BIN_MS, TravelTimes

MORNING_MS, NOON_MS = 16 * BIN_MS, 24 * BIN_MS


def taught() -> tuple[TravelTimes, np.ndarray, np.ndarray]:
    table = TravelTimes()
    rows = table.rows(list(range(100, 150)))
    scheduled = np.full(50, 0.1)
    for day in range(10):
        for bin_ms, pace in ((MORNING_MS, 0.3), (NOON_MS, 0.15)):
            for minute in range(0, 30, 10):
                table.learn(
                    rows, np.full(50, 20.0), scheduled, pace * 1000, day * 86_400_000 + bin_ms + minute * 60_000
                )
    return table, rows, scheduled


def test_paces_are_learnt_by_the_time_of_day() -> None:
    table, rows, scheduled = taught()
    later = 30 * 86_400_000
    morning = table.seconds(rows, scheduled, later + MORNING_MS + BIN_MS // 2).sum()
    noon = table.seconds(rows, scheduled, later + NOON_MS + BIN_MS // 2).sum()
    assert morning == pytest.approx(300, rel=0.15)
    assert noon == pytest.approx(150, rel=0.15)


def test_an_unknown_road_follows_the_schedule_as_the_fleet_does() -> None:
    table, _, _ = taught()
    other = table.rows(list(range(900, 950)))
    expected = table.seconds(other, np.full(50, 0.1), 30 * 86_400_000 + NOON_MS).sum()
    assert 100 < expected < 250


def test_a_slow_hour_shows_at_once_on_the_road_and_fades() -> None:
    table, rows, scheduled = taught()
    now = 30 * 86_400_000 + NOON_MS + BIN_MS // 2
    usual = table.seconds(rows, scheduled, now).sum()
    for minute in range(5):
        table.learn(rows, np.full(50, 20.0), scheduled, 900.0, now - (5 - minute) * 60_000)
    assert table.seconds(rows, scheduled, now).sum() > 2 * usual
    assert table.seconds(rows, scheduled, now + 3 * 86_400_000).sum() < 2 * usual


def test_a_table_comes_back_from_its_snapshot_to_the_bit() -> None:
    table, rows, scheduled = taught()
    again = TravelTimes.restored(table.snapshot())
    now = 11 * 86_400_000 + MORNING_MS
    assert again.snapshot() == table.snapshot()
    assert (again.seconds(rows, scheduled, now) == table.seconds(rows, scheduled, now)).all()
    assert (again.rows([100, 7]) == table.rows([100, 7])).all()


def test_rows_grow_beyond_the_first_table() -> None:
    table = TravelTimes()
    rows = table.rows(list(range(5_000)))
    table.learn(rows[-3:], np.full(3, 20.0), np.full(3, 0.1), 6.0, NOON_MS)
    assert rows[-1] == 5_000
    assert len(table) == 5_000


def test_service_times_are_learnt_per_site_and_shrunk_to_the_fleet() -> None:
    service = ServiceTimes()
    for _ in range(60):
        service.learn_visit("slow", 100.0, 200.0)
        service.learn_visit("fast", 100.0, 50.0)
    assert service.expected_s("slow", 100.0) == pytest.approx(200, rel=0.1)
    assert service.expected_s("fast", 100.0) == pytest.approx(50, rel=0.15)
    assert service.expected_s("new", 100.0) == pytest.approx(125, rel=0.1)
    assert service.expected_s("new", 0.0) == 0.0


def test_the_longer_a_visit_has_lasted_the_less_of_it_is_left_but_never_nothing_known() -> None:
    service = ServiceTimes()
    dice = random.Random(4)
    for _ in range(2_000):
        service.learn_visit("site", 100.0, 100.0 * dice.lognormvariate(0, 0.4))
    left = [service.remaining_s("site", 100.0, e) for e in (0, 50, 100, 200)]
    assert left[0] == pytest.approx(100, rel=0.15)
    assert left[1] < left[0]
    assert all(s > 0 for s in left)
    assert ServiceTimes.restored(service.snapshot()) == service


def test_stops_that_are_left_out_lower_the_chance_of_a_visit() -> None:
    service = ServiceTimes()
    before = service.chance("x")
    for i in range(100):
        service.learn_skip("x") if i % 2 else service.learn_visit("x", 100, 100)
    assert service.chance("x") < before < 1


def test_the_spread_is_that_of_past_errors() -> None:
    errors, dice = Errors(), random.Random(5)
    scale = scale_s(500, 1)
    for _ in range(5_000):
        errors.learn(500, 1, scale * dice.gauss(0.3, 0.5))
    p10, p50, p90 = errors.spread(500, 1)
    assert p50 == pytest.approx(0.3 * scale, abs=0.05 * scale)
    assert p10 == pytest.approx((0.3 - 0.64) * scale, abs=0.08 * scale)
    assert p90 == pytest.approx((0.3 + 0.64) * scale, abs=0.08 * scale)
    assert Errors.restored(errors.snapshot()).spread(500, 1) == (p10, p50, p90)
