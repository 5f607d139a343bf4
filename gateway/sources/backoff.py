"""How long to wait before the next try: doubling, capped, and jittered so that a fleet of readers does not knock in step."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """`wait_s` grows from about `first_s` to about `max_s`; `reset` after a success that lasted."""

    def __init__(self, first_s: float, max_s: float, dice: Callable[[float, float], float] = random.uniform) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._dice = dice
        self._next_s = first_s

    def reset(self) -> None:
        self._next_s = self._first_s

    def wait_s(self) -> float:
        """How long to wait now, between half and all of the step; the next step is twice as long."""
        step_s, self._next_s = self._next_s, min(2 * self._next_s, self._max_s)
        return self._dice(step_s / 2, step_s)
