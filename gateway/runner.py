"""Drives the pure engine over the journal: entries in, steps committed, snapshots kept, deadlines turned into ticks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gateway.engine import Engine, EngineOptions
from gateway.journal import Intake, Journal, Watch
from gateway.model import Entry, Step, Tick

log = logging.getLogger(__name__)

T = TypeVar("T")
ENTRIES_AT_ONCE = 64


class EngineRunner:
    """One thread owns the engine; nobody else touches it but through `ask`."""

    def __init__(
        self,
        journal: Journal,
        intake: Intake,
        committed: Watch,
        concluded: Watch,
        options: EngineOptions,
        *,
        now_ms: Callable[[], int],
        snapshot_every_s: float = 30.0,
    ) -> None:
        self.concluded = concluded
        self.entry_id = 0
        self.steps = 0
        self._journal, self._intake, self._committed, self._now_ms = journal, intake, committed, now_ms
        self._options, self._snapshot_every_s = options, snapshot_every_s
        self._snapshot_due_s = time.monotonic() + snapshot_every_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._engine = Engine(options)
        self._deadline_ms: int | None = None
        self.errors = 0

    async def restore(self) -> None:
        """The engine as it was at the last snapshots; `run` then replays what came since."""
        self.entry_id = await self._in_thread(self._restore)
        self.concluded.advance(self._journal.last_seq)

    def _restore(self) -> int:
        floor, snapshots = self._journal.snapshots()
        self._engine = Engine.restore(self._options, snapshots, self._journal.world(floor))
        self._deadline_ms = self._engine.next_deadline_ms()
        return floor

    async def run(self) -> None:
        """Until cancelled; then what was concluded so far is snapshotted, so that the next start is quick."""
        try:
            while True:
                await self._wait()
                self.entry_id = await self._in_thread(self._advance)
                self.concluded.advance(self._journal.last_seq)
        finally:
            await asyncio.shield(self._in_thread(self._save))
            self._thread.shutdown(wait=True)

    async def ask(self, question: Callable[[Engine], T]) -> T:
        """An answer from the engine's state, between two steps."""
        return await self._in_thread(lambda: question(self._engine))

    async def _wait(self) -> None:
        """Until there is an entry to take, or a deadline passed with nothing coming: then a tick makes the entry."""
        deadline_ms = self._deadline_ms
        wait_s = None if deadline_ms is None else max(0.05, (deadline_ms - self._now_ms()) / 1000)
        try:
            async with asyncio.timeout(wait_s):
                await self._committed.beyond(self.entry_id)
        except TimeoutError:
            await self._intake.command(Tick(received_ms=self._now_ms()))

    def _advance(self) -> int:
        entries = self._journal.entries(self.entry_id, limit=ENTRIES_AT_ONCE)
        if not entries:
            return self.entry_id
        steps = [self._step(entry) for entry in entries]
        self._deadline_ms = self._engine.next_deadline_ms()
        self._journal.commit_engine(steps, self._now_ms())
        self.steps += len(steps)
        at = entries[-1].id
        if time.monotonic() >= self._snapshot_due_s:
            self._save_at(at)
        return at

    def _step(self, entry: Entry) -> Step:
        """The engine's step. A mistake of ours must not stop the fleet: it is told, counted, and the next entry taken."""
        try:
            return self._engine.step(entry)
        except Exception:
            self.errors += 1
            log.exception("the engine failed on entry %d: please report it", entry.id)
            return Step(entry_id=entry.id, verdicts=(), events=())

    def _save(self) -> None:
        self._save_at(self.entry_id)

    def _save_at(self, entry_id: int) -> None:
        self._journal.save_snapshots(entry_id, self._engine.snapshots(), complete=True)
        self._snapshot_due_s = time.monotonic() + self._snapshot_every_s

    def _in_thread(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)
