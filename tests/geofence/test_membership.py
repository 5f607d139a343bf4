"""Probabilities of being inside, against dice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.geofence import p_inside


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
