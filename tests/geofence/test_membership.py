"""Probabilities of being inside, against dice, and what hysteresis makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.geofence import Hysteresis, p_inside


def test_the_accuracy_is_the_radius_that_holds_68_percent() -> None:
    """Dice: a round error of which 68 % lie within 10 m, and how often a true place so far off is inside after all."""
    rng = np.random.default_rng(5)
    error = rng.normal(size=(400_000, 2))
    error *= 10.0 / np.quantile(np.hypot(*error.T), 0.68)
    for measured_m in (-12.0, -3.0, 0.0, 4.0, 9.0):
        assert p_inside(measured_m, 10.0) == pytest.approx(np.mean(measured_m + error[:, 0] < 0), abs=0.003)


@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(0.1, 1e4)), min_size=1))
def test_an_array_gets_the_same_bits(pairs: list[tuple[float, float]]) -> None:
    distance_m, accuracy_m = np.array(pairs).T
    assert p_inside(distance_m, accuracy_m).tolist() == [p_inside(*pair) for pair in pairs]
    assert p_inside(distance_m, 5.0).tolist() == [p_inside(d, 5.0) for d, _ in pairs]


def test_a_huge_error_says_nothing() -> None:
    assert p_inside(-50.0, 3_000.0) == pytest.approx(0.51, abs=0.005)


class TestHysteresis:
    rule = Hysteresis(exit_margin_m=20.0, max_accuracy_m=100.0)

    def test_a_parked_vehicle_at_the_edge_changes_sides_at_most_once(self) -> None:
        """Each fix by itself; 30 m of margin are five times the noise."""
        rule, rng = Hysteresis(exit_margin_m=30.0), np.random.default_rng(3)
        inside, changes = None, 0
        for noise_m in rng.normal(0.0, 8.0, 20_000):
            now = rule.inside(inside, 2.0 + float(noise_m), 12.0)
            changes += now != inside
            inside = now
        assert changes <= 1

    @pytest.mark.parametrize(
        ("was", "distance_m", "accuracy_m", "now"),
        [
            (False, -30.0, 10.0, True),
            (False, -5.0, 10.0, False),
            (None, -5.0, 10.0, None),
            (None, 40.0, 10.0, False),
            (True, 15.0, 10.0, True),
            (True, 25.0, 10.0, True),
            (True, 35.0, 10.0, False),
            (True, 500.0, 150.0, True),
            (False, -500.0, 150.0, False),
            (False, -500.0, 0.0, False),
        ],
    )
    def test_by_hand(self, was: bool | None, distance_m: float, accuracy_m: float, now: bool | None) -> None:
        assert self.rule.inside(was, distance_m, accuracy_m) == now
