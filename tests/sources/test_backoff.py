from __future__ import annotations

from gateway.sources.backoff import Backoff


def test_waits_double_up_to_a_limit_and_start_again_after_a_success() -> None:
    longest = Backoff(0.5, 3.0, dice=lambda _, high: high)
    assert [longest.wait_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    longest.reset()
    assert longest.wait_s() == 0.5
    shortest = Backoff(0.5, 3.0, dice=lambda low, _: low)
    assert [shortest.wait_s() for _ in range(2)] == [0.25, 0.5]


def test_two_do_not_knock_in_step() -> None:
    assert len({Backoff(1.0, 60.0).wait_s() for _ in range(20)}) > 10
