"""An intake without a journal: commits when told to, or a moment after each submission."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.model import Received


class FakeIntake:
    """`hold=True`: nothing is on disk until `commit()`. `limit`: how many may wait before it is full."""

    def __init__(self, *, hold: bool = False, limit: int = 10**9) -> None:
        self.submitted: list[Received] = []
        self.committed: list[Received] = []
        self.hold = hold
        self.limit = limit
        self.most_waiting = 0
        self._batch: asyncio.Future[int] | None = None
        self._room = asyncio.Event()

    def submit(self, received: Received) -> asyncio.Future[int]:
        self.submitted.append(received)
        self.most_waiting = max(self.most_waiting, self.waiting)
        if self._batch is None:
            loop = asyncio.get_running_loop()
            self._batch = loop.create_future()
            if not self.hold:
                loop.call_later(0.005, self.commit)
        return self._batch

    @property
    def waiting(self) -> int:
        return len(self.submitted) - len(self.committed)

    def commit(self) -> None:
        batch, self._batch = self._batch, None
        self.committed = list(self.submitted)
        self._room.set()
        if batch is not None:
            batch.set_result(1)

    @property
    def full(self) -> bool:
        return self.waiting >= self.limit

    async def room(self) -> None:
        while self.full:
            self._room.clear()
            await self._room.wait()


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait for something to become true; the assertion that fails shows the condition's place."""
    deadline_s = asyncio.get_running_loop().time() + within_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline_s, "waited in vain"
        await asyncio.sleep(0.005)
