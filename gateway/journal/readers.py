"""How far each reader is, what it therefore still needs, what it could not deliver, and the gap of one that was too slow.

A cursor (and what was set aside before it) is kept in memory and written with the next commit, whoever makes it: it costs no fsync, and a lost one only
makes its reader repeat itself.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence

from msgspec import Struct

from gateway.journal import codec
from gateway.journal.records import Cursor, Gap, ReaderUnit
from gateway.model import entry_of, seq_of

MAX_WAITING = 1_000

_SET_ASIDE = """
INSERT INTO quarantine (received_ms, source, protocol, device_id, topic, retained, reason, records, device, raw)
VALUES (?, ?, '', NULL, NULL, 0, ?, 0, 0, ?)
"""


class Reader(Struct):
    name: str
    unit: ReaderUnit = "seq"
    max_days: float | None = None
    cursor: Cursor | None = None
    gap: Gap | None = None
    changes: int = 0
    written: int = 0

    def needs_after_entry(self) -> int:
        """Entries up to this one are of no use to it any more."""
        position = self.cursor.position if self.cursor else 0
        if self.unit == "entry":
            return position
        return max(0, entry_of(position + 1) - 1)  # the entry of what comes next may be half read


class Written(Struct, frozen=True):
    """What a transaction holds of the cursors: to be forgotten as unwritten once it is committed."""

    readers: list[tuple[str, int]]
    forgotten: list[str]
    set_aside: int


class Cursors:
    """All readers of a journal, thread-safe."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._lock = threading.Lock()
        self._readers: dict[str, Reader] = {}
        for name, unit, max_days, position, done_above, after, upto in db.execute(
            "SELECT name, unit, max_days, position, done_above, gap_after, gap_upto FROM readers"
        ):
            cursor = None if position is None else Cursor(position, codec.decode_numbers(done_above))
            gap = None if upto is None else Gap(after, upto)
            self._readers[name] = Reader(name, unit, max_days, cursor, gap)
        self._forgotten: set[str] = set()
        self._set_aside: list[tuple[int, str, str, bytes]] = []

    def register(self, name: str, unit: ReaderUnit, max_days: float | None) -> None:
        with self._lock:
            reader = self._reader(name)
            if (reader.unit, reader.max_days) != (unit, max_days) or not reader.changes:
                reader.unit, reader.max_days = unit, max_days
                reader.changes += 1

    def forget(self, name: str) -> None:
        with self._lock:
            self._readers.pop(name, None)
            self._forgotten.add(name)

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._readers)

    def get(self, name: str) -> Cursor | None:
        with self._lock:
            reader = self._readers.get(name)
            return reader.cursor if reader else None

    def save(self, name: str, position: int, done_above: Sequence[int]) -> None:
        """A reader that has a gap untold is held at its far side: what it still did before it heard changes nothing."""
        with self._lock:
            reader = self._reader(name)
            if reader.gap is not None and position < reader.gap.upto:
                return
            reader.cursor = Cursor(position, tuple(sorted(n for n in done_above if n > position)))
            reader.changes += 1

    def gap(self, name: str) -> Gap | None:
        with self._lock:
            reader = self._readers.get(name)
            return reader.gap if reader else None

    def gap_told(self, name: str) -> None:
        with self._lock:
            reader = self._reader(name)
            reader.gap = None
            reader.changes += 1

    def needs(self) -> list[tuple[str, int, float | None]]:
        """For each reader: its name, the entry up to which it needs nothing, and its cap in days."""
        with self._lock:
            return [(r.name, r.needs_after_entry(), r.max_days) for r in self._readers.values()]

    def skip(self, name: str, upto_entry: int) -> None:
        """Moves a reader behind an entry that is about to be removed. Gaps that follow each other are one."""
        with self._lock:
            reader = self._reader(name)
            after = reader.cursor.position if reader.cursor else 0
            upto = upto_entry if reader.unit == "entry" else seq_of(upto_entry + 1, 0) - 1
            if upto <= after:
                return
            reader.gap = Gap(reader.gap.after if reader.gap else after, upto)
            done = reader.cursor.done_above if reader.cursor else ()
            reader.cursor = Cursor(upto, tuple(n for n in done if n > upto))
            reader.changes += 1

    def set_aside(self, name: str, payload: bytes, reason: str, now_ms: int) -> None:
        """Raises OverflowError when too much of this waits for the disk."""
        with self._lock:
            if len(self._set_aside) >= MAX_WAITING:
                raise OverflowError(f"{MAX_WAITING} payloads that were set aside wait for the disk")
            self._set_aside.append((now_ms, f"sink.{name}", reason, payload))

    def write(self, db: sqlite3.Connection) -> Written:
        """Writes what changed, in the caller's transaction; hand the result to `written` once that is committed."""
        with self._lock:
            changed = [r for r in self._readers.values() if r.changes != r.written]
            rows = [_row(r) for r in changed]
            set_aside = list(self._set_aside)
            marks = Written([(r.name, r.changes) for r in changed], list(self._forgotten), len(set_aside))
        if set_aside:
            db.executemany(_SET_ASIDE, set_aside)
        if marks.forgotten:
            db.executemany("DELETE FROM readers WHERE name = ?", [(name,) for name in marks.forgotten])
        if rows:
            db.executemany("INSERT OR REPLACE INTO readers VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        return marks

    def written(self, marks: Written) -> None:
        with self._lock:
            self._forgotten.difference_update(marks.forgotten)
            del self._set_aside[: marks.set_aside]
            for name, changes in marks.readers:
                if name in self._readers:
                    self._readers[name].written = changes

    def dirty(self) -> bool:
        with self._lock:
            changed = any(r.changes != r.written for r in self._readers.values())
            return changed or bool(self._forgotten) or bool(self._set_aside)

    def _reader(self, name: str) -> Reader:
        found = self._readers.get(name)
        if found is None:
            found = self._readers[name] = Reader(name)
            self._forgotten.discard(name)
        return found


def _row(r: Reader) -> tuple[str, str, float | None, int | None, bytes, int | None, int | None]:
    position = r.cursor.position if r.cursor else None
    done = codec.encode(r.cursor.done_above if r.cursor else ())
    gap = (r.gap.after, r.gap.upto) if r.gap else (None, None)
    return (r.name, r.unit, r.max_days, position, done, *gap)
