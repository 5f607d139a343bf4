"""The receiver errs as real ones do: how much, for how long, and knowing it."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from firmware_sim.city import to_place
from firmware_sim.receiver import R68_OF_SIGMA, Receiver, Sky
from firmware_sim.vehicle import State
from gateway.model import Position
from tests.firmware_sim.fleets import START_MS

CALM = Sky(sigma_m=5.0, bursts_per_h=0.0)


def fixes(sky: Sky, seconds: int, speed_mps: float = 10.0, seed: int = 1) -> list[Position]:
    receiver = Receiver("x", sky, random.Random(seed))
    return [
        receiver.fix(State(START_MS + 1000 * t, t * speed_mps, 0.0, 90.0, speed_mps, True, 0.0)) for t in range(seconds)
    ]


def errors(found: list[Position], speed_mps: float = 10.0) -> list[tuple[float, float]]:
    out = []
    for t, p in enumerate(found):
        assert p.lat_deg is not None
        assert p.lon_deg is not None
        x_m, y_m = to_place(p.lat_deg, p.lon_deg)
        out.append((x_m - t * speed_mps, y_m))
    return out


def autocorrelation(values: list[float], lag: int) -> float:
    mean = statistics.fmean(values)
    v = [x - mean for x in values]
    return sum(a * b for a, b in zip(v, v[lag:], strict=False)) / sum(a * a for a in v)


def test_errors_resemble_the_ones_before_and_fade() -> None:
    """A recorded fleet's figures: 0.85 after 5 s, 0.73 after 10 s, 0.42 after 30 s, 0.07 after 120 s."""
    east = [e for e, _ in errors(fixes(CALM, 40_000))]
    found = {lag: autocorrelation(east, lag) for lag in (1, 5, 10, 30, 120)}
    assert found[1] > 0.95
    assert found[5] == pytest.approx(0.85, abs=0.06)
    assert found[10] == pytest.approx(0.74, abs=0.08)
    assert found[30] == pytest.approx(0.42, abs=0.12)
    assert abs(found[120]) < 0.15


def test_accuracy_is_the_radius_that_holds_two_thirds() -> None:
    found = fixes(CALM, 40_000)
    inside = [math.hypot(*e) <= (p.accuracy_m or 0) for p, e in zip(found, errors(found), strict=True)]
    assert statistics.fmean(inside) == pytest.approx(0.68, abs=0.05)
    r68_m = sorted(math.hypot(*e) for e in errors(found))[int(0.68 * len(found))]
    assert r68_m == pytest.approx(R68_OF_SIGMA * 5.0, rel=0.15)


def correlation(a: list[float], b: list[float]) -> float:
    return statistics.correlation(a, b)


def test_hdop_satellites_and_error_go_together() -> None:
    found = fixes(CALM, 20_000)
    off_m = [math.hypot(*e) for e in errors(found)]
    hdop = [p.hdop or 0.0 for p in found]
    assert correlation(hdop, [float(p.satellites or 0) for p in found]) < -0.8
    blocks = [(hdop[i], statistics.fmean(off_m[i : i + 60])) for i in range(0, 19_940, 60)]
    assert correlation([b[0] for b in blocks], [b[1] for b in blocks]) > 0.15


def test_a_reflection_pulls_aside_and_is_mostly_noticed() -> None:
    found = fixes(Sky(sigma_m=4.0, bursts_per_h=12.0), 60_000)
    far = [p for p, e in zip(found, errors(found), strict=True) if math.hypot(*e) > 25]
    assert 0.03 < len(far) / len(found) < 0.25
    noticed = statistics.fmean((p.accuracy_m or 0) > 20 for p in far)
    assert 0.4 < noticed < 0.8


def test_standing_still_the_fix_wanders_and_the_course_means_nothing() -> None:
    found = fixes(CALM, 1_200, speed_mps=0.0)
    spread_m = statistics.pstdev([e for e, _ in errors(found, 0.0)])
    assert 1.5 < spread_m < 9.0
    steps_m = [math.dist(a, b) for a, b in zip(errors(found, 0.0), errors(found, 0.0)[1:], strict=False)]
    assert statistics.fmean(steps_m) < 2.0
    assert max(p.speed_mps or 0 for p in found) < 1.0
    courses = [p.course_deg or 0.0 for p in found]
    assert statistics.pstdev(courses) > 60
    assert all(0 <= c < 360 for c in courses)


@pytest.mark.parametrize("sky", [CALM, Sky(sigma_m=5.0, cold_s=25.0)])
def test_a_cold_start_has_no_place(sky: Sky) -> None:
    found = fixes(sky, 40)
    first = next(i for i, p in enumerate(found) if p.valid)
    assert first == sky.cold_s
    assert all(p.lat_deg is None and p.satellites == 0 for p in found[:first])


def test_same_dice_same_fixes() -> None:
    assert fixes(CALM, 50) == fixes(CALM, 50)
    assert fixes(CALM, 50) != fixes(CALM, 50, seed=2)
