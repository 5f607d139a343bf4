"""Micro-batches on their way into the journal: one commit for all that came while the former one was under way.

A batch closes at N messages, or T milliseconds after its first one, or sooner when nothing more comes; a thread of its
own commits it, and meanwhile the next one collects. Nothing is acknowledged before its batch is on the disk, and nothing
that was submitted is dropped: while the disk is full everything waits, and sources are told to stop reading.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from msgspec import Struct

from gateway.journal.admission import Arrival
from gateway.journal.records import Appended, Counts, DiskTrouble, Refused
from gateway.journal.registry import Registry
from gateway.journal.store import Journal
from gateway.journal.watch import Watch
from gateway.model import Assignment, Command, DevicePut, Malformed, Message, Received, Reply, Tick
from gateway.times import rfc3339

log = logging.getLogger(__name__)

BATCH_BYTES = 4 * 1024 * 1024
"""Raw bytes at which a batch closes, however few its messages: an entry is read as a whole."""
IDLE_S = 0.001
RETRY_FIRST_S, RETRY_LAST_S = 0.2, 5.0
UNWRITABLE = (ValueError, TypeError, OverflowError, msgspec.MsgspecError, sqlite3.DataError)
"""Errors that lie in what is to be written. The disk's are waited for, and any other ends the task."""


class IntakeOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    batch_messages: int = 2_000
    """A batch closes at so many decoded messages."""
    batch_ms: float = 5.0
    """A batch closes this long after its first message at the latest; at once where nothing more comes."""
    queue_messages: int = 50_000
    """Messages that may wait for the disk; sources stop reading beyond."""
    queue_bytes: int = 64 * 1024 * 1024
    """Raw bytes that may wait for the disk."""


class IntakeStats(Struct):
    batches: int = 0
    messages: int = 0
    retries: int = 0
    """Commits that failed for the disk and were tried again."""
    set_apart: int = 0
    """Arrivals that broke a commit and went to quarantine alone."""


class Committed(asyncio.Future[int]):
    """Done once a batch is on the disk; its result is the entry's id, or 0 where nothing became an entry.

    Many share one: a task that is cancelled while it awaits leaves the others theirs.
    """

    def __await__(self) -> Generator[Any, None, int]:
        if self.done():
            return super().__await__()
        return asyncio.shield(self).__await__()


class _Batch:
    __slots__ = ("arrivals", "checked", "close_s", "committed", "messages", "raw_bytes")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.arrivals: list[Arrival] = []
        self.messages = 0
        self.raw_bytes = 0
        self.checked = False
        self.close_s = 0.0
        self.committed = Committed(loop=loop)


class Intake:
    """Belongs to one event loop; `submit` and `command` are called there. `run` is its task."""

    def __init__(
        self,
        journal: Journal,
        registry: Registry,
        options: IntakeOptions | None = None,
        *,
        now_ms: Callable[[], int],
        committed: Watch,
    ) -> None:
        self.registry = registry
        self.options = options or IntakeOptions()
        self.stats = IntakeStats()
        self.trouble: str | None = None
        self.queued_messages = 0
        self.queued_bytes = 0
        self._journal = journal
        self._now_ms = now_ms
        self._committed = committed
        self._loop = asyncio.get_running_loop()
        self._open = _Batch(self._loop)
        self._closed: deque[_Batch] = deque()
        self._came = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._hurry = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")

    # ------------------------------------------------------------------------------------------------ for sources

    def submit(self, received: Received) -> asyncio.Future[int]:
        """Takes a frame, whatever it holds; the future is done when it is on the disk. While `full`, wait first."""
        return self._add(received, len(received.frame.messages) or 1, len(received.frame.raw))

    def command(self, command: Command | Tick) -> asyncio.Future[int]:
        """Takes a checked command, in order with the frames."""
        return self._add(command, 1, 0)

    @property
    def full(self) -> bool:
        return self.queued_messages >= self.options.queue_messages or self.queued_bytes >= self.options.queue_bytes

    async def room(self) -> None:
        """Waits while `full`."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    async def drain(self) -> None:
        """Waits until all that was submitted is on the disk."""
        if self.queued_messages:
            self._hurry.set()
        await self._idle.wait()

    async def readmit(self, ids: Sequence[int], decoded: Sequence[Received]) -> Appended:
        """Takes frames out of quarantine and in again as they decode now (see `Quarantined.received`).

        What is still malformed or unknown goes back to it. Raises DiskTrouble, and nothing has changed.
        """
        appended = await self._loop.run_in_executor(self._thread, self._write_again, ids, decoded)
        self._committed.advance(self._journal.last_entry_id)
        return appended

    def _add(self, arrival: Arrival, messages: int, raw_bytes: int) -> Committed:
        batch = self._open
        if not batch.arrivals:
            batch.close_s = self._loop.time() + self.options.batch_ms / 1000
            self._came.set()
            self._idle.clear()
        batch.arrivals.append(arrival)
        batch.messages += messages
        batch.raw_bytes += raw_bytes
        self.queued_messages += messages
        self.queued_bytes += raw_bytes
        if batch.messages >= self.options.batch_messages or batch.raw_bytes >= BATCH_BYTES:
            self._close_batch()
        return batch.committed

    def _close_batch(self) -> None:
        self._closed.append(self._open)
        self._open = _Batch(self._loop)
        self._came.set()

    # --------------------------------------------------------------------------------------------------- the task

    async def run(self) -> None:
        """Commits batches until it is cancelled, and then what is left; if the disk is full then, that stays
        unacknowledged, for its senders to repeat.
        """
        try:
            while True:
                await self._came.wait()
                await self._gather()
                if batch := self._next():
                    await self._commit(batch)
        finally:
            await self._finish()

    async def _gather(self) -> None:
        """Waits for more to come into the batch, as long as it does come. What came during a commit waited enough."""
        while not self._closed and not self._hurry.is_set() and self._loop.time() < self._open.close_s:
            before = self._open.messages
            await asyncio.sleep(min(IDLE_S, self.options.batch_ms / 1000))
            if self._open.messages == before:
                return

    def _next(self) -> _Batch | None:
        if not self._closed and self._open.arrivals:
            self._close_batch()
        batch = self._closed.popleft() if self._closed else None
        if not self._closed and not self._open.arrivals:
            self._came.clear()
        return batch

    async def _commit(self, batch: _Batch) -> None:
        """Until it is on the disk. Cancelled, it finishes the try that is under way, and puts the batch back."""
        wait_s = RETRY_FIRST_S
        while True:
            attempt = self._loop.run_in_executor(self._thread, self._write, batch)
            try:
                appended = await asyncio.shield(attempt)
            except DiskTrouble as e:
                self._troubled(e)
            except asyncio.CancelledError:
                if not await self._outcome(attempt, batch):
                    self._closed.appendleft(batch)
                raise
            else:
                self._done(batch, appended)
                return
            try:
                await asyncio.sleep(wait_s)
            except asyncio.CancelledError:
                self._closed.appendleft(batch)
                raise
            wait_s = min(2 * wait_s, RETRY_LAST_S)

    async def _outcome(self, attempt: asyncio.Future[Appended], batch: _Batch) -> bool:
        try:
            self._done(batch, await attempt)
        except DiskTrouble as e:
            self._troubled(e)
            return False
        return True

    async def _finish(self) -> None:
        """What is left goes to the disk, once; then nothing of this object is used any more."""
        try:
            while batch := self._next():
                attempt = self._loop.run_in_executor(self._thread, self._write, batch)
                if not await self._outcome(attempt, batch):
                    batch.committed.cancel()
                    self._settle(batch)
        finally:
            self._thread.shutdown(wait=False)

    def _done(self, batch: _Batch, appended: Appended) -> None:
        if self.trouble:
            log.warning("journal: intake goes on")
            self.trouble = None
        self.stats.batches += 1
        self.stats.messages += batch.messages
        self._committed.advance(self._journal.last_entry_id)
        if not batch.committed.done():
            batch.committed.set_result(appended.entry_id or 0)
        self._settle(batch)

    def _settle(self, batch: _Batch) -> None:
        self.queued_messages -= batch.messages
        self.queued_bytes -= batch.raw_bytes
        if not self.full:
            self._room.set()
        if not self.queued_messages:
            self._hurry.clear()
            self._idle.set()

    def _troubled(self, error: DiskTrouble) -> None:
        self.stats.retries += 1
        if self.trouble is None:
            self.trouble = f"{error} (since {rfc3339(self._now_ms())})"
            log.error("journal: intake waits: %s", error)

    # -------------------------------------------------------------------------------------------- in the thread

    def _write(self, batch: _Batch) -> Appended:
        if not batch.checked:
            batch.arrivals = self._checked(batch.arrivals)
            batch.checked = True
        now_ms = self._now_ms()
        try:
            return self._journal.append(batch.arrivals, now_ms)
        except UNWRITABLE:
            log.exception("journal: a batch of %d cannot be written; trying its parts", len(batch.arrivals))
            return self._write_apart(batch, now_ms)

    def _write_again(self, ids: Sequence[int], decoded: Sequence[Received]) -> Appended:
        return self._journal.readmit(ids, self._checked(list(decoded)), self._now_ms())

    def _checked(self, arrivals: list[Arrival]) -> list[Arrival]:
        """The same, with frames of unknown devices refused, or the devices registered by a command before them."""
        checked: list[Arrival] = []
        for arrival in arrivals:
            if isinstance(arrival, DevicePut):
                self.registry.apply(arrival)
            if type(arrival) is not Received:
                checked.append(arrival)
                continue
            unknown = self._unknown(arrival.frame.messages)
            if not unknown:
                checked.append(arrival)
            elif self.registry.may_register:
                for device_id in unknown:
                    put = DevicePut(arrival.received_ms, Assignment(device_id=device_id, vehicle_id=device_id))
                    self.registry.apply(put)
                    checked.append(put)
                checked.append(arrival)
            else:
                checked += _apart(arrival, unknown)
        return checked

    def _unknown(self, messages: tuple[Message, ...]) -> list[str]:
        knows = self.registry.knows_device
        unknown: list[str] = []
        for message in messages:
            if isinstance(message, Reply | Malformed) or not message.device_id or knows(message.device_id):
                continue
            if message.device_id not in unknown:
                unknown.append(message.device_id)
        return unknown

    def _write_apart(self, batch: _Batch, now_ms: int) -> Appended:
        """One by one, so that whatever no entry can hold costs none of its neighbours. The rest of it is retried."""
        entry_id: int | None = None
        counts = Counts()
        while batch.arrivals:
            arrival = batch.arrivals[0]
            try:
                appended = self._journal.append([arrival], now_ms)
            except UNWRITABLE as e:
                log.exception("journal: cannot be written, set apart: %s", type(arrival).__name__)
                self.stats.set_apart += 1
                if not isinstance(arrival, Received):
                    batch.arrivals.pop(0)
                    continue
                appended = self._journal.append([Refused(_bare(arrival), f"cannot be stored: {e}")], now_ms)
            batch.arrivals.pop(0)
            entry_id = appended.entry_id or entry_id
            counts.add(appended.counts)
        return Appended(entry_id, counts)


def _apart(received: Received, unknown: list[str]) -> list[Arrival]:
    """Known devices' messages of a frame, and the rest of it as refused; almost always one of the two is empty."""
    frame = received.frame
    strange = tuple(m for m in frame.messages if not isinstance(m, Reply | Malformed) and m.device_id in unknown)
    known = tuple(m for m in frame.messages if m not in strange)
    refused = msgspec.structs.replace(received, frame=msgspec.structs.replace(frame, messages=strange))
    found: list[Arrival] = [Refused(refused, f"unknown device {', '.join(unknown)}")]
    if any(not isinstance(m, Reply) for m in known):
        found.insert(0, msgspec.structs.replace(received, frame=msgspec.structs.replace(frame, messages=known)))
    return found


def _bare(received: Received) -> Received:
    """The bytes alone, without what was read from them."""
    return msgspec.structs.replace(received, frame=msgspec.structs.replace(received.frame, messages=()))
