"""The engine's driver when the disk fails it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.engine import EngineOptions
from gateway.journal import DiskTrouble, Intake, Journal, JournalOptions, Registry, Watch
from gateway.model import Frame, Position, Received
from gateway.runner import EngineRunner

NOW_MS = 1_790_000_000_000


async def test_snapshots_that_could_not_be_saved_are_saved_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart replays only what follows the last complete save: a vehicle that is missing in it would be forgotten."""
    journal = Journal.open(tmp_path / "x.journal", JournalOptions(min_free_mb=0))
    committed = Watch()
    intake = Intake(journal, Registry((), "register"), now_ms=lambda: NOW_MS, committed=committed)
    runner = EngineRunner(
        journal, intake, committed, Watch(), EngineOptions(), now_ms=lambda: NOW_MS, snapshot_every_s=0.0
    )
    await runner.restore()
    tasks = [asyncio.create_task(intake.run()), asyncio.create_task(runner.run())]
    save, failing = journal.save_snapshots, True

    def save_or_fail(entry_id: int, snapshots: Mapping[str, bytes], complete: bool) -> None:
        if failing:
            raise DiskTrouble("full")
        save(entry_id, snapshots, complete)

    async def report(device_id: str) -> None:
        fix = Position(device_id=device_id, time_ms=NOW_MS, lat_deg=46.2, lon_deg=6.1, accuracy_m=5.0)
        frame = Frame(raw=b"{}", messages=(fix,))
        entry_id = await intake.submit(Received(source="t", protocol="json", received_ms=NOW_MS, frame=frame))
        async with asyncio.timeout(10):
            while runner.entry_id < entry_id:
                await asyncio.sleep(0.01)

    monkeypatch.setattr(journal, "save_snapshots", save_or_fail)
    await report("van-1")
    failing = False
    await report("van-2")
    for task in reversed(tasks):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    again = EngineRunner(journal, intake, committed, Watch(), EngineOptions(), now_ms=lambda: NOW_MS)
    await again.restore()
    assert set(await again.ask(lambda engine: engine.vehicle_ids())) == {"van-1", "van-2"}
    journal.close()
