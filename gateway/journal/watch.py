"""A number that only rises, and that tasks of one event loop can wait for."""

from __future__ import annotations

import asyncio


class Watch:
    """Wakes readers: whoever commits advances it, whoever has read up to it waits beyond it. For one event loop."""

    def __init__(self, value: int = 0) -> None:
        self.value = value
        self._moved = asyncio.Event()

    def advance(self, value: int) -> None:
        """A lower value than the present one changes nothing."""
        if value > self.value:
            self.value = value
            self._moved.set()
            self._moved = asyncio.Event()

    async def beyond(self, value: int) -> int:
        """Waits until the number is above `value`; returns it."""
        while self.value <= value:
            await self._moved.wait()
        return self.value
