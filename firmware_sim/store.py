"""Store and forward: what a tracker keeps until someone has acknowledged it.

Pure: `take` hands out the next packet, `acknowledged` forgets it, `returned` puts it back. Every record made is at any
time exactly one of: waiting, in flight, acknowledged, dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal, TypeAlias

from gateway.model import Position

Order: TypeAlias = Literal["oldest_first", "newest_first"]


class Store:
    """A tracker's memory of `capacity` records; when it is full the oldest one is overwritten."""

    def __init__(self, *, capacity: int, batch: int, order: Order = "oldest_first") -> None:
        self.capacity = capacity
        self.batch = batch
        self.order: Order = order
        self.made = 0
        self.acknowledged_count = 0
        self.dropped = 0
        self._waiting: deque[Position] = deque()
        self._in_flight: tuple[Position, ...] = ()

    def put(self, record: Position) -> None:
        self.made += 1
        if len(self) >= self.capacity and self._waiting:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(record)

    def take(self) -> Sequence[Position]:
        """The records of the next packet, oldest first; empty when there is nothing, or a packet is still out."""
        if self._in_flight or not self._waiting:
            return ()
        n = min(self.batch, len(self._waiting))
        if self.order == "oldest_first":
            self._in_flight = tuple(self._waiting.popleft() for _ in range(n))
        else:
            self._in_flight = tuple(self._waiting.pop() for _ in range(n))[::-1]
        return self._in_flight

    def acknowledged(self) -> None:
        """The packet that is out has arrived for good."""
        self.acknowledged_count += len(self._in_flight)
        self._in_flight = ()

    def returned(self) -> None:
        """The link broke before the answer: the packet waits again in its place."""
        if self.order == "oldest_first":
            self._waiting.extendleft(reversed(self._in_flight))
        else:
            self._waiting.extend(self._in_flight)
            self._waiting = deque(sorted(self._waiting, key=_time_ms))
        self._in_flight = ()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    def oldest_ms(self) -> int | None:
        """Fix time of the oldest record that nobody has acknowledged."""
        return min((_time_ms(r) for r in (*self._in_flight, *self._waiting)), default=None)


def _time_ms(record: Position) -> int:
    return record.time_ms or 0
