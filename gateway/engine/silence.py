"""Silence, judged against the vehicle's own rhythm of reports. A statement about reception: never rewound."""

from __future__ import annotations

from msgspec import Struct

from gateway.engine.options import SilenceRule

ADAPT = 0.1
"""Share of a new interval in the learnt one; a longer interval counts as three of the learnt at most."""


class Rhythm(Struct):
    heard_ms: int = 0
    interval_s: float = 0.0
    silent_since_ms: int | None = None
    standing: bool = False

    def heard(self, received_ms: int) -> None:
        """Anything came from the vehicle: a fix, a status, a duplicate."""
        gap_s = (received_ms - self.heard_ms) / 1000
        if self.heard_ms and gap_s > 0:
            learnt_s = self.interval_s or gap_s
            self.interval_s = learnt_s + ADAPT * (min(gap_s, 3 * learnt_s) - learnt_s)
        self.heard_ms = max(self.heard_ms, received_ms)

    def silent_from_ms(self, rule: SilenceRule) -> int:
        """When silence begins, if nothing more is heard. A parked vehicle may sleep."""
        least_s = rule.parked_s if self.standing else rule.least_s
        return self.heard_ms + round(1000 * max(least_s, rule.intervals * self.interval_s))
