"""Small words for the journal's tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.journal import Journal, JournalOptions
from gateway.model import Event, Frame, FrameItem, Message, Position, Received, Step, Verdict

T0 = 1_790_000_000_000
ROOMY = JournalOptions(min_free_mb=0)


def fix(device: str = "a", at_s: float = 0, lat: float = 38.7, **more: Any) -> Position:
    known: dict[str, Any] = {"device_id": device, "time_ms": T0 + round(at_s * 1000), "lat_deg": lat, "lon_deg": -9.1}
    return Position(**(known | more))


def frame(*messages: Message, raw: bytes = b"raw", at_s: float = 0, **more: Any) -> Received:
    known: dict[str, Any] = {"source": "s", "protocol": "p", "received_ms": T0 + round(at_s * 1000)}
    return Received(frame=Frame(raw=raw, messages=messages), **(known | more))


@contextmanager
def opened(path: Path, options: JournalOptions = ROOMY) -> Iterator[Journal]:
    journal = Journal.open(path, options)
    try:
        yield journal
    finally:
        journal.close()


def event(key: str, at_s: float = 0, vehicle: str = "a", kind: str = "stop.arrived", **more: Any) -> Event:
    when_ms = T0 + round(at_s * 1000)
    return Event(type=kind, key=key, time_ms=when_ms, detected_ms=when_ms, vehicle_id=vehicle, **more)


def said_of(journal: Journal, entry_id: int, *keys: str) -> Step:
    """A step that took every new fix of an entry, and said those events."""
    (entry,) = journal.entries(entry_id - 1, 1)
    verdicts = [
        Verdict(i, m, message.device_id)
        for i, item in enumerate(entry.items)
        if isinstance(item, FrameItem)
        for m, message in enumerate(item.messages)
        if item.ordinals[m] >= 0
    ]
    return Step(entry_id=entry_id, verdicts=tuple(verdicts), events=tuple(event(k) for k in keys))


def consistent(journal: Journal) -> bool:
    """Every account adds up, their sum is the total, and what they call journaled is in the entries."""
    books = journal.accounting()
    counts = [books.total, journal.totals, *(d.counts for d in books.devices)]
    adds_up = all(c.received == c.journaled + c.duplicate + c.quarantined + c.state_only for c in counts)
    items = [i for e in journal.entries(0, 100_000, 1 << 40) for i in e.items if isinstance(i, FrameItem)]
    journaled = sum(o >= 0 for i in items for o in i.ordinals)
    state_only = sum(o < 0 for i in items for o in i.ordinals)
    duplicates = sum(i.duplicates for i in items)
    quarantined = sum(q.records for q in journal.quarantined(limit=100_000))
    seen = (journaled, duplicates, quarantined, state_only)
    total = books.total
    return (
        adds_up
        and total == journal.totals
        and seen == (total.journaled, total.duplicate, total.quarantined, total.state_only)
    )
