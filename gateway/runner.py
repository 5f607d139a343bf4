"""Drives the pure engine over the journal: entries in, steps committed, snapshots kept, deadlines turned into ticks."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gateway.engine import Engine, EngineOptions
from gateway.journal import DiskTrouble, Intake, Journal, Watch
from gateway.model import Entry, Step, Tick

log = logging.getLogger(__name__)

T = TypeVar("T")
ENTRIES_AT_ONCE = 64
RETRY_S = 1.0


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
        self._unsaved: dict[str, bytes] = {}
        self.errors = 0
        self.trouble: str | None = None
        self._ahead = False  # of the journal: a snapshot would then be of a state that no entry id names

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
                steps = await self._in_thread(self._conclude)
                await self._keep(steps)
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

    def _conclude(self) -> list[Step]:
        entries = self._journal.entries(self.entry_id, limit=ENTRIES_AT_ONCE)
        self._ahead = bool(entries)
        steps = [self._step(entry) for entry in entries]
        self._deadline_ms = self._engine.next_deadline_ms()
        return steps

    async def _keep(self, steps: list[Step]) -> None:
        """Until the steps are in the journal: the engine has taken their entries and cannot take them again."""
        while steps:
            try:
                await self._in_thread(lambda: self._commit(steps))
            except DiskTrouble as e:
                if self.trouble is None:
                    log.error("what was concluded waits for the disk: %s", e)
                self.trouble = str(e)
                await asyncio.sleep(RETRY_S)
            else:
                self.trouble = None
                return

    def _commit(self, steps: list[Step]) -> None:
        now_ms = self._now_ms()
        try:
            self._journal.commit_engine(steps, now_ms)
        except (sqlite3.IntegrityError, ValueError):  # a key said twice, or events out of place: a mistake of ours
            self.errors += 1
            log.exception("entries %d to %d conclude what cannot be said", steps[0].entry_id, steps[-1].entry_id)
            for step in steps:
                self._commit_apart(step, now_ms)
        self.steps += len(steps)
        self.entry_id = steps[-1].entry_id
        self._ahead = False
        if time.monotonic() >= self._snapshot_due_s:
            self._save()

    def _commit_apart(self, step: Step, now_ms: int) -> None:
        """One step by itself; without its events where it is the one at fault."""
        try:
            self._journal.commit_engine([step], now_ms)
        except (sqlite3.IntegrityError, ValueError):
            log.error("the %d events of entry %d are not said", len(step.events), step.entry_id)
            self._journal.commit_engine([Step(entry_id=step.entry_id, verdicts=step.verdicts, events=())], now_ms)

    def _step(self, entry: Entry) -> Step:
        """The engine's step. A mistake of ours must not stop the fleet: it is told, counted, and the next entry taken."""
        try:
            return self._engine.step(entry)
        except Exception:
            self.errors += 1
            log.exception("the engine failed on entry %d: please report it", entry.id)
            return Step(entry_id=entry.id, verdicts=(), events=())

    def _save(self) -> None:
        if self._ahead:
            return
        try:
            # The engine gives each change once: what could not be saved goes with the next, or a restart would miss it.
            self._unsaved |= self._engine.snapshots()
            self._journal.save_snapshots(self.entry_id, self._unsaved, complete=True)
            self._unsaved = {}
        except DiskTrouble as e:
            log.warning("no snapshot now, the next restart takes longer: %s", e)
        self._snapshot_due_s = time.monotonic() + self._snapshot_every_s

    def _in_thread(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)
