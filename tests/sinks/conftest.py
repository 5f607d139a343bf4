"""A journal with something in it to tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.journal import Journal, JournalOptions, Watch
from gateway.model import Event, Frame, Position, Received, Step, Verdict

START_MS = 1_790_000_000_000


@dataclass(slots=True)
class Filled:
    journal: Journal
    committed: Watch
    concluded: Watch
    entries: int = 0

    def add(self, positions: list[Position], events: list[Event] | None = None) -> int:
        """One entry with those fixes, and what the engine made of it."""
        received = [
            Received(source="test", protocol="json", received_ms=START_MS, frame=Frame(raw=b"{}", messages=(p,)))
            for p in positions
        ]
        entry_id = self.journal.append(received, START_MS).entry_id
        assert entry_id is not None
        verdicts = tuple(Verdict(i, 0, p.device_id) for i, p in enumerate(positions))
        self.journal.commit_engine(
            [Step(entry_id=entry_id, verdicts=verdicts, events=tuple(events or ()))], START_MS + 1_000
        )
        self.committed.advance(entry_id)
        self.concluded.advance(self.journal.last_seq)
        self.entries += 1
        return entry_id


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Filled]:
    journal = Journal.open(tmp_path / "test.journal", JournalOptions(min_free_mb=0))
    yield Filled(journal, Watch(), Watch())
    journal.close()


@pytest.fixture
def fix() -> Callable[..., Position]:
    """A position; each call a second later than the one before."""
    count = iter(range(1_000_000))

    def make(device_id: str = "TRK-1", **more: object) -> Position:
        values: dict[str, object] = {"time_ms": START_MS + 1000 * next(count), "lat_deg": 46.25, "lon_deg": 6.125}
        return Position(device_id=device_id, **(values | more))  # type: ignore[arg-type]

    return make


@pytest.fixture
def event() -> Callable[..., Event]:
    count = iter(range(1_000_000))

    def make(vehicle_id: str = "TRK-1", kind: str = "stop.arrived") -> Event:
        n = next(count)
        return Event(
            type=kind,
            key=f"plan/1/stop/{n}/visit/1/arrived",
            time_ms=START_MS + n,
            detected_ms=START_MS + n,
            vehicle_id=vehicle_id,
        )

    return make
