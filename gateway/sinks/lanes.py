"""Delivery at least once, in order per vehicle, vehicles in parallel, from a cursor that survives.

Each vehicle with something to tell has a lane; a lane has one delivery in flight. The cursor is the low-water mark (all
up to it is delivered) with the few sequence numbers above it that are delivered too, so a restart repeats next to nothing
and one slow lane holds back no other.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from msgspec import Struct

from gateway.journal import Journal, Stored, Watch
from gateway.model import Event

SAVE_EVERY_S = 0.2
NO_VEHICLE = "*"
"""Stands for the vehicle in what is about the delivery itself."""


class LaneStats(Struct):
    delivered: int = 0
    set_aside: int = 0
    failures: int = 0
    in_flight: int = 0
    low_water_seq: int = 0
    trouble: str | None = None


class Lanes:
    """Reads events for `reader` and hands each to `deliver`, which returns once the subscriber has it (or it is given up).

    `window`: how many events may wait in memory; `parallel`: how many vehicles may be in flight at once.
    """

    def __init__(
        self,
        journal: Journal,
        concluded: Watch,
        reader: str,
        deliver: Callable[[Stored], Awaitable[None]],
        *,
        window: int = 1_000,
        parallel: int = 32,
        positions: bool = False,
    ) -> None:
        self.stats = LaneStats()
        self._journal, self._concluded, self._reader, self._deliver = journal, concluded, reader, deliver
        self._window, self._positions = window, positions
        self._flights = asyncio.Semaphore(parallel)
        self._lanes: dict[str, deque[Stored]] = {}
        self._open: dict[int, None] = {}  # in order of seq: what is read and not yet delivered
        self._done_above: set[int] = set()
        self._room = asyncio.Event()
        self._read_to = 0
        self._saved = (-1, 0.0)
        journal.register(reader)

    async def run(self) -> None:
        """Until cancelled. The cursor is saved on the way out, too."""
        cursor = self._journal.cursor(self._reader)
        if cursor is not None:
            self._read_to, self._done_above = cursor.position, set(cursor.done_above)
        self.stats.low_water_seq = self._read_to
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._read(group)
        finally:
            self._save(force=True)

    async def _read(self, group: asyncio.TaskGroup) -> None:
        while len(self._open) >= self._window:
            self._room.clear()
            await self._room.wait()
        await self._concluded.beyond(self._read_to)
        await self._tell_gap()
        limit = self._window - len(self._open)
        feed = await asyncio.to_thread(self._journal.feed, self._read_to, limit, positions=self._positions)
        for stored in feed.said:
            seq = stored.event.seq
            if seq in self._done_above:
                continue
            self._open[seq] = None
            lane = self._lanes.get(stored.event.vehicle_id)
            if lane is not None:
                lane.append(stored)
            else:
                self._lanes[stored.event.vehicle_id] = lane = deque([stored])
                group.create_task(self._drive(stored.event.vehicle_id, lane))
        self._read_to = feed.cursor
        self._advance()

    async def _tell_gap(self) -> None:
        """What retention removed before it was read is told as an event of its own, before anything that is newer."""
        gap = self._journal.gap(self._reader)
        if gap is None:
            return
        now_ms = time.time_ns() // 1_000_000
        event = Event(
            type="delivery.gap",
            key=f"delivery/{self._reader}/gap/{gap.upto}",
            time_ms=now_ms,
            detected_ms=now_ms,
            vehicle_id=NO_VEHICLE,
            seq=gap.upto,
            measures={"from_seq": gap.after + 1, "to_seq": gap.upto},
        )
        await self._deliver(Stored(event, now_ms))
        self._journal.gap_told(self._reader)
        self._read_to = max(self._read_to, gap.upto)
        self.stats.delivered += 1

    async def _drive(self, vehicle_id: str, lane: deque[Stored]) -> None:
        """One vehicle's deliveries, one after the other, until there is none left."""
        while lane:
            stored = lane[0]
            async with self._flights:
                self.stats.in_flight += 1
                try:
                    await self._deliver(stored)
                finally:
                    self.stats.in_flight -= 1
            lane.popleft()
            self.stats.delivered += 1
            del self._open[stored.event.seq]
            self._done_above.add(stored.event.seq)
            self._advance()
        del self._lanes[vehicle_id]

    def _advance(self) -> None:
        low_water = next(iter(self._open)) - 1 if self._open else self._read_to
        if low_water > self.stats.low_water_seq:
            self.stats.low_water_seq = low_water
            self._done_above = {seq for seq in self._done_above if seq > low_water}
        if len(self._open) < self._window:
            self._room.set()
        self._save()

    def _save(self, *, force: bool = False) -> None:
        now_s = time.monotonic()
        low_water, saved_s = self.stats.low_water_seq, self._saved[1]
        if force or (low_water != self._saved[0] and now_s - saved_s >= SAVE_EVERY_S):
            self._journal.save_cursor(self._reader, low_water, sorted(self._done_above))
            self._saved = (low_water, now_s)
