"""The journal: one SQLite file that holds everything which can change what the gateway believes, and what it said."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from gateway.journal import accounting, codec, reading, retention, schema, world
from gateway.journal.admission import Admission, Arrival, SetAside, storable
from gateway.journal.connections import OwnerLock, Readers, disk_trouble, free_bytes
from gateway.journal.dedupe import Seen
from gateway.journal.readers import Cursors
from gateway.journal.records import (
    MB,
    Accounting,
    Appended,
    Counts,
    Cursor,
    DiskTrouble,
    Feed,
    Gap,
    JournalError,
    JournalOptions,
    Quarantined,
    ReaderUnit,
    Retained,
    Stored,
    TrackFix,
)
from gateway.model import SEQ_BITS, Command, Entry, Event, Step, seq_of

MAX_BATCH_RECORDS = 1 << (SEQ_BITS - 1)
"""Half of what `seq` can tell apart within an entry; the rest is for the events."""


class Journal:
    """Thread-safe. Writers take turns; readers see the last commit and never wait for a writer.

    Invariants at every commit: an entry, its track rows, its quarantine rows and its account are there together or
    not at all; entry ids rise and are never used twice; a step of the engine is there with all its events, once.
    """

    def __init__(self, path: Path, options: JournalOptions, lock: OwnerLock, db: sqlite3.Connection) -> None:
        self.path = path
        self.options = options
        self._owner = lock
        self._db = db
        self._lock = threading.RLock()
        self._closed = False
        self._readers = Readers(path)
        self._decoded = reading.DecodedEntries()
        self._seen = Seen(lambda device, bucket: reading.known_fixes(db, device, bucket))
        self._cursors = Cursors(db)
        self._devices: dict[str, int] = {}
        self._totals = Counts()
        self._last_entry_id = self._engine_entry_id = self._last_seq = 0
        self._recall()

    @classmethod
    def open(cls, path: Path, options: JournalOptions | None = None) -> Journal:
        """Opens or makes the file. Raises JournalError: owned by another process, newer, not a journal, unreadable."""
        lock = OwnerLock(path)
        try:
            return cls(path, options or JournalOptions(), lock, schema.open_writer(path))
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Writes the cursors and lets go of the file. Closing twice is fine."""
        with self._lock:
            if self._closed:
                return
            try:
                if self._cursors.dirty():
                    with self._writing(durable=True):
                        pass
            finally:
                self._closed = True
                self._readers.close()
                self._db.close()
                self._owner.release()

    # ----------------------------------------------------------------------------------------------------- intake

    def append(self, batch: Sequence[Arrival], now_ms: int) -> Appended:
        """Writes a batch as one entry; it is on the disk when this returns.

        Known fixes are dropped, new ones get their ordinals, what is malformed or refused goes to quarantine, all in
        one transaction. Raises DiskTrouble, and nothing was written; ValueError for a batch that no entry can hold.
        """
        return self._append(batch, now_ms, ())

    def readmit(self, ids: Sequence[int], batch: Sequence[Arrival], now_ms: int) -> Appended:
        """Appends frames from quarantine that were decoded anew, and takes them out of it, in one transaction."""
        return self._append(batch, now_ms, ids)

    def _append(self, batch: Sequence[Arrival], now_ms: int, readmitted: Sequence[int]) -> Appended:
        with self._lock:
            self._check_room()
            with self._writing(durable=True) as db:
                reversed_ = _take_out(db, readmitted)
                books = Admission(self._seen, self._device_row)
                books.take(batch)
                entry_id = self._write_entry(db, books, now_ms) if books.items else None
                _write_quarantine(db, books.quarantine)
                counts = accounting.add(db, books.accounts)
            self._seen.trim()
            totals = msgspec.structs.replace(self._totals)
            totals.add(counts)
            totals.add(reversed_)
            self._totals = totals
            if entry_id is not None:
                self._last_entry_id = entry_id
            return Appended(entry_id, counts)

    def _check_room(self) -> None:
        floor = self.options.min_free_mb * MB
        free = free_bytes(self.path.parent)
        if free < floor:
            what = f"only {free / MB:,.0f} MB are free, and min_free_mb is {self.options.min_free_mb:,.0f}"
            raise DiskTrouble(f"{self.path}: {what}; make room, and intake goes on by itself")

    def _write_entry(self, db: sqlite3.Connection, books: Admission, now_ms: int) -> int:
        if sum(map(len, books.track.values())) > MAX_BATCH_RECORDS:
            raise ValueError(f"a batch of more than {MAX_BATCH_RECORDS} fixes is too much for one entry")
        body = codec.encode_items(books.items)
        entry_id = db.execute("INSERT INTO entries (received_ms, body) VALUES (?, ?)", (now_ms, body)).lastrowid
        assert entry_id is not None
        first = seq_of(entry_id, 0)
        rows = [(first + n, *key, codec.encode(fixes)) for n, (key, fixes) in enumerate(books.track.items())]
        db.executemany("INSERT INTO track (id, device, bucket, fixes) VALUES (?, ?, ?, ?)", rows)
        world.add(db, entry_id, books.items)
        return entry_id

    def _device_row(self, device_id: str, create: bool) -> int:
        row = self._devices.get(device_id, 0)
        if not row and create:
            made = self._db.execute("INSERT INTO devices (device_id) VALUES (?)", (device_id,)).lastrowid
            assert made is not None
            row = self._devices[device_id] = made
        return row

    # ---------------------------------------------------------------------------------------------------- reading

    @property
    def last_entry_id(self) -> int:
        return self._last_entry_id

    @property
    def last_seq(self) -> int:
        """The seq of the last thing said; if the engine's last entry said nothing, the first seq of that entry."""
        return self._last_seq

    def entries(self, after_id: int, limit: int = 64, max_bytes: int = MB) -> list[Entry]:
        """The entries that follow, in order; at least one if there is one, else as `limit` and `max_bytes` allow.

        `max_bytes` counts what lies on the disk; in memory it is about thirty times that.
        """
        with self._readers.snapshot() as db:
            return reading.entries(db, self._decoded, after_id, limit, max_bytes)

    def events(
        self,
        after_seq: int,
        limit: int = 500,
        *,
        types: Collection[str] | None = None,
        vehicle_id: str | None = None,
        before_seq: int | None = None,
    ) -> list[Stored]:
        """Events by rising seq with after_seq < seq < before_seq, of some types or one vehicle only if asked."""
        with self._readers.snapshot() as db:
            return reading.events(db, after_seq, limit, types, vehicle_id, before_seq)

    def feed(self, after_seq: int, limit: int = 500, *, positions: bool = False) -> Feed:
        """Everything said after `after_seq`: events and, if asked, a `position.updated` for each verdict."""
        with self._readers.snapshot() as db:
            return reading.feed(db, self._decoded, after_seq, limit, positions)

    def lost(self, after_seq: int) -> Gap | None:
        """What was said after `after_seq` and may be removed by now; None while all of it is kept."""
        with self._readers.snapshot() as db:
            return reading.lost(db, after_seq)

    def track(self, device_id: str, start_ms: int, end_ms: int, limit: int = 10_000) -> list[TrackFix]:
        """A device's fixes with start_ms <= fix time < end_ms, by fix time, then ordinal."""
        device = self._devices.get(device_id)
        if device is None:
            return []
        with self._readers.snapshot() as db:
            return reading.track(db, device, start_ms, end_ms, limit)

    def quarantined(self, after_id: int = 0, limit: int = 100, device_id: str | None = None) -> list[Quarantined]:
        with self._readers.snapshot() as db:
            return reading.quarantined(db, after_id, limit, device_id)

    def accounting(self) -> Accounting:
        """The account of each device and source, and their sum, as of one commit."""
        with self._readers.snapshot() as db:
            return accounting.read(db)

    @property
    def totals(self) -> Counts:
        """The sum of the accounts as of the last commit, at no cost. Not to be changed."""
        return self._totals

    def world(self, as_of_entry: int | None = None) -> list[Command]:
        """The latest command on each plan, fence and assignment in force, as of an entry (None: now), in order."""
        with self._readers.snapshot() as db:
            return world.read(db, self._last_entry_id if as_of_entry is None else as_of_entry)

    # ----------------------------------------------------------------------------------------------------- engine

    @property
    def engine_entry_id(self) -> int:
        """The last entry whose step is committed."""
        return self._engine_entry_id

    def commit_engine(self, steps: Sequence[Step], now_ms: int) -> None:
        """Writes what the engine said of entries, in order; `now_ms` is when it was said first, and stays so.

        On the disk when this returns, if there are events; verdicts alone are not worth an fsync, for a replay
        gives the same ones. A step that is committed already is ignored. Raises ValueError for events out of place,
        sqlite3.IntegrityError for a revision of a key that was said before, DiskTrouble as `append` does: try again.
        """
        with self._lock:
            fresh = [s for s in steps if s.entry_id > self._engine_entry_id]
            if not fresh:
                return
            last = fresh[-1]
            last_seq = seq_of(last.entry_id, max(0, len(last.verdicts) + len(last.events) - 1))
            with self._writing(durable=any(s.events for s in fresh)) as db:
                for each in fresh:
                    _write_step(db, each, now_ms)
                reading.set_state(db, "engine_entry_id", last.entry_id)
                reading.set_state(db, "last_seq", last_seq)
            self._engine_entry_id, self._last_seq = last.entry_id, last_seq

    def save_snapshots(self, entry_id: int, snapshots: Mapping[str, bytes], complete: bool) -> None:
        """Keeps the engine's state of some names as of an entry that is committed; empty bytes remove a name.

        `complete`: whatever changed since the last complete save is in this one or was in one before it, so a
        restart needs only the entries after `entry_id`. Costs no fsync: a lost save only makes a restart longer.
        Raises DiskTrouble.
        """
        if entry_id > self._engine_entry_id:
            raise ValueError(f"a snapshot of entry {entry_id}, but only {self._engine_entry_id} is committed")
        with self._writing(durable=False) as db:
            db.executemany("DELETE FROM snapshots WHERE name = ?", [(n,) for n, b in snapshots.items() if not b])
            rows = [(name, entry_id, body) for name, body in snapshots.items() if body]
            db.executemany("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)", rows)
            if complete:
                reading.set_state(db, "snapshot_floor", entry_id)

    def snapshots(self) -> tuple[int, dict[str, tuple[int, bytes]]]:
        """The entry after which a restart replays, and for each name the entry its state is as of, and the state."""
        with self._readers.snapshot() as db:
            rows = db.execute("SELECT name, entry, body FROM snapshots")
            return reading.state(db, "snapshot_floor"), {name: (entry, body) for name, entry, body in rows}

    # ---------------------------------------------------------------------------------------------------- readers

    def register(self, reader: str, unit: ReaderUnit = "seq", *, backlog_max_days: float | None = None) -> None:
        """Announces a reader: retention keeps what lies behind its cursor (all, as long as it has none).

        `unit`: what its positions are. A name that only ever saves a cursor counts as registered by "seq".
        """
        self._cursors.register(reader, unit, backlog_max_days)

    def forget(self, reader: str) -> None:
        """A reader that will not come back: it holds nothing any more."""
        self._cursors.forget(reader)

    def readers(self) -> list[str]:
        return self._cursors.names()

    def cursor(self, reader: str) -> Cursor | None:
        """Where a reader goes on; None if it never saved a cursor."""
        return self._cursors.get(reader)

    def save_cursor(self, reader: str, position: int, done_above: Sequence[int] = ()) -> None:
        """Costs nothing now: written with the next commit (or `retain`, or `close`)."""
        self._cursors.save(reader, position, done_above)

    def gap(self, reader: str) -> Gap | None:
        """What was removed before the reader had it. Its cursor stands behind the gap until `gap_told`."""
        return self._cursors.gap(reader)

    def gap_told(self, reader: str) -> None:
        self._cursors.gap_told(reader)

    def set_aside(self, reader: str, payload: bytes, reason: str, now_ms: int) -> None:
        """Keeps in quarantine what a reader's peer refuses for good, so that the reader can go on.

        No account changes: what it was made from is journaled. On disk no later than the cursor saved after it.
        """
        self._cursors.set_aside(reader, payload, reason, now_ms)
        with contextlib.suppress(DiskTrouble), self._writing(durable=False):
            pass  # it is written like a cursor; if not now, then with the next commit

    # -------------------------------------------------------------------------------------------------- retention

    def retain(self, now_ms: int) -> Retained:
        """Removes a bounded share of what is too old or too much; call it every few seconds, again at once if `more`.

        Also writes the cursors. Raises DiskTrouble: even removing needs some room.
        """
        with self._lock:
            with self._writing(durable=False) as db:
                floor = min(self._engine_entry_id, reading.state(db, "snapshot_floor"))
                retained = retention.step(db, self.options, self._cursors, floor, now_ms)
                # Gaps are part of the same transaction: a removed entry without its gap would be a silent loss.
                if retained.gaps:
                    self._cursors.write(db)
            scarce = free_bytes(self.path.parent) < 2 * self.options.min_free_mb * MB
            retention.shrink(self._db, 0 if scarce else retention.SLACK_BYTES)
            return retained

    @property
    def size_bytes(self) -> int:
        """Pages in use, the write-ahead log not counted."""
        with self._readers.snapshot() as db:
            return retention.size_bytes(db)

    def limit_pages(self, pages: int) -> None:
        """Makes the file full at so many pages (0: no limit). For trying out what happens on a full disk."""
        with self._lock:
            self._db.execute(f"PRAGMA max_page_count = {pages or 4_294_967_294}").fetchall()

    # ---------------------------------------------------------------------------------------------------- innards

    @contextlib.contextmanager
    def _writing(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """One transaction, with the cursors that wait. All of it or nothing, in the file and in memory.

        Without `durable` it is in the write-ahead log, in order, and reaches the disk with the next one that is.
        """
        with self._lock:
            if self._closed:
                raise JournalError(f"{self.path}: the journal is closed")
            db = self._db
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            try:
                db.execute("BEGIN IMMEDIATE")
                marks = self._cursors.write(db)
                yield db
                db.execute("COMMIT")
            except BaseException as e:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                self._recall()
                if isinstance(e, sqlite3.OperationalError):
                    raise disk_trouble(self.path, e) from e
                raise
            self._cursors.written(marks)

    def _recall(self) -> None:
        """What is held in memory of the file, as the last commit left it."""
        db = self._db
        self._seen.forget()
        self._devices = dict(db.execute("SELECT device_id, id FROM devices"))
        self._totals = accounting.total(db)
        sequence = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").fetchone()
        self._last_entry_id = int(sequence[0]) if sequence else 0
        self._engine_entry_id = reading.state(db, "engine_entry_id")
        self._last_seq = reading.state(db, "last_seq")


_QUARANTINE = (
    "INSERT INTO quarantine (received_ms, source, protocol, device_id, topic, retained, reason, records, device, raw)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def _write_quarantine(db: sqlite3.Connection, set_aside: Sequence[SetAside]) -> None:
    rows = []
    for each in set_aside:
        r = each.received
        names = (r.source, r.protocol, storable(each.device_id), storable(r.topic))
        rows.append((r.received_ms, *names, r.retained, storable(each.reason), each.records, each.device, r.frame.raw))
    db.executemany(_QUARANTINE, rows)


def _take_out(db: sqlite3.Connection, ids: Sequence[int]) -> Counts:
    """Removes frames from quarantine and from the account: they are received anew in the same transaction."""
    taken = Counts()
    for row_id in ids:
        row = db.execute("SELECT device, source, records FROM quarantine WHERE id = ?", (row_id,)).fetchone()
        if row is None:
            continue
        device, source, records = row
        db.execute("DELETE FROM quarantine WHERE id = ?", (row_id,))
        db.execute(
            "UPDATE accounts SET received = received - ?, quarantined = quarantined - ? WHERE device = ? AND source = ?",
            (records, records, device, source),
        )
        taken.add(Counts(received=-records, quarantined=-records))
    return taken


def _write_step(db: sqlite3.Connection, step: Step, now_ms: int) -> None:
    if step.verdicts:
        db.execute("INSERT INTO verdicts VALUES (?, ?)", (step.entry_id, codec.encode(step.verdicts)))
    rows = []
    for n, event in enumerate(step.events, len(step.verdicts)):
        placed = _placed(event, seq_of(step.entry_id, n))
        rows.append(
            (placed.seq, now_ms, placed.type, placed.vehicle_id, placed.key, placed.revision, codec.encode(placed))
        )
    db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def _placed(event: Event, seq: int) -> Event:
    if event.seq == seq:
        return event
    if event.seq:
        raise ValueError(f"event {event.key!r} carries seq {event.seq}, its place is {seq}")
    return msgspec.structs.replace(event, seq=seq)
