"""The journal's file: its tables, its version, and the settings that every connection needs."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from gateway.journal.records import JournalError

APPLICATION_ID = 0x47544A31  # "GTJ1": tells this file from any other SQLite database
VERSION = 1
LOCKED_S = 1.0
"""How long a stranger (someone who looks into the file with a tool) may hold it before intake is in trouble."""
CACHE_KIB = 32 * 1024
WAL_PAGES = 4_000
WAL_KEPT_BYTES = 64 * 1024 * 1024

_TABLES = """
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

-- AUTOINCREMENT: an id is never used twice, even after retention removed the newest row.
CREATE TABLE entries (id INTEGER PRIMARY KEY AUTOINCREMENT, received_ms INTEGER NOT NULL, body BLOB NOT NULL);

CREATE TABLE devices (id INTEGER PRIMARY KEY, device_id TEXT NOT NULL UNIQUE);

-- One row for the fixes of one device and time bucket in one entry. id = (entry << 18) + n: rows are appended in order,
-- and retention removes them by a range of ids.
CREATE TABLE track (
    id INTEGER PRIMARY KEY, device INTEGER NOT NULL, bucket INTEGER NOT NULL, fixes BLOB NOT NULL
);
CREATE INDEX track_of_device ON track (device, bucket);

CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT, received_ms INTEGER NOT NULL, source TEXT NOT NULL, protocol TEXT NOT NULL,
    device_id TEXT, topic TEXT, retained INTEGER NOT NULL, reason TEXT NOT NULL, records INTEGER NOT NULL,
    device INTEGER NOT NULL, raw BLOB NOT NULL
);

-- How much the quarantine holds, so that nobody has to count: bytes as they came, and 256 for each row.
INSERT INTO state VALUES ('quarantine_bytes', 0);
CREATE TRIGGER quarantine_grows AFTER INSERT ON quarantine BEGIN
    UPDATE state SET value = value + length(new.raw) + 256 WHERE name = 'quarantine_bytes';
END;
CREATE TRIGGER quarantine_shrinks AFTER DELETE ON quarantine BEGIN
    UPDATE state SET value = value - length(old.raw) - 256 WHERE name = 'quarantine_bytes';
END;

-- device 0: what no known device sent.
CREATE TABLE accounts (
    device INTEGER NOT NULL, source TEXT NOT NULL, received INTEGER NOT NULL, journaled INTEGER NOT NULL,
    duplicate INTEGER NOT NULL, quarantined INTEGER NOT NULL, state_only INTEGER NOT NULL, empty INTEGER NOT NULL,
    last_heard_ms INTEGER, PRIMARY KEY (device, source)
) WITHOUT ROWID;

-- gone_entry: the entry whose command replaced or removed this one (for a removal: its own). over_ms: the last moment
-- that a plan speaks of.
CREATE TABLE commands (
    entry INTEGER NOT NULL, n INTEGER NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, gone_entry INTEGER,
    over_ms INTEGER, body BLOB NOT NULL, PRIMARY KEY (entry, n)
) WITHOUT ROWID;
CREATE UNIQUE INDEX commands_in_force ON commands (kind, subject) WHERE gone_entry IS NULL;
CREATE INDEX commands_gone ON commands (gone_entry) WHERE gone_entry IS NOT NULL;
CREATE INDEX commands_over ON commands (over_ms) WHERE over_ms IS NOT NULL;

CREATE TABLE verdicts (entry INTEGER PRIMARY KEY, body BLOB NOT NULL);

CREATE TABLE events (
    seq INTEGER PRIMARY KEY, emitted_ms INTEGER NOT NULL, type TEXT NOT NULL, vehicle_id TEXT NOT NULL,
    key TEXT NOT NULL, revision INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE UNIQUE INDEX events_of_key ON events (key, revision);
CREATE INDEX events_of_vehicle ON events (vehicle_id, seq);

CREATE TABLE snapshots (name TEXT PRIMARY KEY, entry INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE readers (
    name TEXT PRIMARY KEY, unit TEXT NOT NULL, max_days REAL, position INTEGER, done_above BLOB,
    gap_after INTEGER, gap_upto INTEGER
) WITHOUT ROWID;
"""

_MIGRATIONS: dict[int, str] = {}
"""version → the statements that lead from it to the next one."""


def open_writer(path: Path) -> sqlite3.Connection:
    """The connection that writes: makes the file, or brings an older one up to date. JournalError says what is wrong."""
    try:
        db = sqlite3.connect(path, timeout=LOCKED_S, isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError as e:
        raise JournalError(f"{path}: the journal cannot be opened: {e}; check the folder and its rights") from e
    try:
        _prepare(db, path)
    except sqlite3.DatabaseError as e:
        db.close()
        raise JournalError(f"{path}: is not a journal that can be read: {e}; move it away or name another") from e
    except JournalError:
        db.close()
        raise
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA query_only = ON")
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    version = _number(db, "PRAGMA user_version")
    empty = _number(db, "SELECT count(*) FROM sqlite_master") == 0
    if not (empty and version == 0):
        if _number(db, "PRAGMA application_id") != APPLICATION_ID:
            raise JournalError(f"{path}: is a database, but not a gateway's journal; name another file")
        if version > VERSION:
            what = f"was written by a newer gateway (version {version} of the file, {VERSION} is known here)"
            raise JournalError(f"{path}: {what}; run that gateway, or name another file")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has effect only before the first table
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    db.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
    if empty and version == 0:
        _run(db, _TABLES, VERSION)
    for each in range(max(version, 1), VERSION):
        if version:
            _run(db, _MIGRATIONS[each], each + 1)


def _run(db: sqlite3.Connection, statements: str, version: int) -> None:
    """All of it or nothing: `executescript` commits what is open first, so the transaction is part of the script."""
    head = f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};"
    try:
        db.executescript(f"{head} {statements} COMMIT;")
    except sqlite3.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _number(db: sqlite3.Connection, query: str) -> int:
    return int(db.execute(query).fetchone()[0])
