"""What goes, and when: by age, by size, and never what the engine, a snapshot or a reader within its cap still needs."""

from __future__ import annotations

import sqlite3

from gateway.journal import reading, world
from gateway.journal.readers import Cursors
from gateway.journal.records import MB, JournalOptions, Retained
from gateway.model import seq_of

DAY_MS = 86_400_000
STEP_ENTRIES = 256
"""Entries that one call removes at most: it holds the writer up for some milliseconds, and intake waits."""
STEP_BYTES = 16 * MB
STEP_QUARANTINED = 2_000
STEP_PAGES = 4_096
SLACK_BYTES = 64 * MB
"""Free pages that stay in the file: the next entries use them, and moving pages about costs more than it saves."""


def size_bytes(db: sqlite3.Connection) -> int:
    """What the journal holds: pages in use, without the free ones and the write-ahead log."""
    pages, free, size = (
        int(db.execute(f"PRAGMA {p}").fetchone()[0]) for p in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def step(
    db: sqlite3.Connection, options: JournalOptions, cursors: Cursors, engine_needs_after: int, now_ms: int
) -> Retained:
    """One bounded step, in the caller's transaction. The engine needs what follows `engine_needs_after`."""
    over_bytes = size_bytes(db) - reading.state(db, "quarantine_bytes") - options.max_size_mb * MB
    aged = _last_before(db, now_ms - options.retention_days * DAY_MS)
    wanted = max(aged, _share(db, engine_needs_after, over_bytes)) if over_bytes > 0 else aged
    wanted = min(wanted, engine_needs_after)
    gaps = _cut_backlogs(db, options, cursors, wanted, over_bytes, now_ms)
    allowed = min([wanted, *(needs_after for _, needs_after, _ in cursors.needs())])
    upto = _share(db, allowed, STEP_BYTES)
    entries, events = _remove(db, upto)
    if entries:
        world.prune(db, upto, int(now_ms - options.retention_days * DAY_MS))
    quarantined = _quarantine(db, options, now_ms)
    more = (bool(entries) and (upto < allowed or over_bytes > STEP_BYTES)) or quarantined >= STEP_QUARANTINED
    return Retained(entries, quarantined, events, tuple(gaps), more)


def _cut_backlogs(
    db: sqlite3.Connection,
    options: JournalOptions,
    cursors: Cursors,
    wanted: int,
    over_bytes: float,
    now_ms: int,
) -> list[str]:
    """Moves the readers that hold back more than they may; returns their names."""
    gaps: list[str] = []
    oldest = db.execute("SELECT coalesce(min(id), 0) FROM entries").fetchone()[0]
    for name, needs_after, max_days in cursors.needs():
        days = options.backlog_max_days if max_days is None else max_days
        allowed = _last_before(db, now_ms - days * DAY_MS)
        if over_bytes > options.backlog_max_mb * MB:
            allowed = max(allowed, wanted)
        cut = min(wanted, allowed)
        if needs_after < cut and oldest <= cut:
            cursors.skip(name, cut)
            gaps.append(name)
    return gaps


def _last_before(db: sqlite3.Connection, time_ms: float) -> int:
    """The last entry received before a time. Ids rise with time, save for steps of the clock."""
    # Two look-ups: asked for both at once, SQLite would read the whole table.
    first, last = db.execute("SELECT (SELECT min(id) FROM entries), (SELECT max(id) FROM entries)").fetchone()
    if first is None:
        return 0
    low, high = first - 1, last  # invariant: `low` is old enough; whatever follows `high` is not
    while low < high:
        middle = (low + high + 1) // 2
        at = db.execute(
            "SELECT id, received_ms FROM entries WHERE id <= ? ORDER BY id DESC LIMIT 1", (middle,)
        ).fetchone()
        if at[1] < time_ms:
            low = middle
        else:
            high = at[0] - 1
    return int(low)


def _share(db: sqlite3.Connection, upto: int, size_bytes: float) -> int:
    """The last of the oldest entries, none beyond `upto`, that make so many bytes; 0 if there is none."""
    last, size = 0, 0
    rows = db.execute(
        "SELECT id, length(body) FROM entries WHERE id <= ? ORDER BY id LIMIT ?", (upto, STEP_ENTRIES)
    ).fetchall()
    for entry_id, length in rows:
        last, size = entry_id, size + length
        if size >= size_bytes:
            break
    return last


def _remove(db: sqlite3.Connection, upto: int) -> tuple[int, int]:
    """Entries up to one, with their fixes, verdicts and events."""
    if not upto:
        return 0, 0
    before_seq = seq_of(upto + 1, 0)
    entries = db.execute("DELETE FROM entries WHERE id <= ?", (upto,)).rowcount
    db.execute("DELETE FROM track WHERE id < ?", (before_seq,))
    db.execute("DELETE FROM verdicts WHERE entry <= ?", (upto,))
    events = db.execute("DELETE FROM events WHERE seq < ?", (before_seq,)).rowcount
    return entries, events


def _quarantine(db: sqlite3.Connection, options: JournalOptions, now_ms: int) -> int:
    """Removes the oldest frames in quarantine, those beyond its age or its size."""
    over_bytes = reading.state(db, "quarantine_bytes") - options.quarantine_max_mb * MB
    before_ms = now_ms - options.retention_days * DAY_MS
    last = 0
    rows = db.execute(
        "SELECT id, received_ms, length(raw) + 256 FROM quarantine ORDER BY id LIMIT ?", (STEP_QUARANTINED,)
    ).fetchall()
    for row_id, received_ms, size in rows:
        if over_bytes <= 0 and received_ms >= before_ms:
            break
        last, over_bytes = row_id, over_bytes - size
    return db.execute("DELETE FROM quarantine WHERE id <= ?", (last,)).rowcount


def shrink(db: sqlite3.Connection, slack_bytes: int) -> None:
    """Gives free pages beyond the slack back to the file system, some at a time, outside a transaction."""
    free, size = (int(db.execute(f"PRAGMA {p}").fetchone()[0]) for p in ("freelist_count", "page_size"))
    if free * size > slack_bytes:
        # It steps once per page, as a script does and `execute` does not.
        db.executescript(f"PRAGMA incremental_vacuum({STEP_PAGES})")
