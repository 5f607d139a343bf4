"""Who may touch the file: one process, one writing connection at a time, and a reading connection for each thread."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gateway.journal import schema
from gateway.journal.records import DiskTrouble, JournalError


class OwnerLock:
    """One process owns a journal: two engines would say everything twice. The lock ends with the process."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self._path.open("a+b")
        except OSError as e:
            raise JournalError(f"{self._path}: cannot be written: {e.strerror}; check the folder and its rights") from e
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            self._file.seek(0)
            owner = self._file.read(20).decode("ascii", "replace").strip() or "unknown"
            self._file.close()
            what = f"another gateway owns this journal (process {owner})"
            raise JournalError(f"{path}: {what}; stop it, or name another file") from e
        self._file.truncate(0)
        self._file.write(str(os.getpid()).encode())
        self._file.flush()

    def release(self) -> None:
        self._file.close()


class Readers:
    """A reading connection per thread, all closed together."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own = threading.local()
        self._lock = threading.Lock()
        self._all: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """One state of the journal for all queries within; keep it short, the write-ahead log grows meanwhile."""
        db: sqlite3.Connection | None = getattr(self._own, "db", None)
        if db is None or self._closed:
            db = self._own.db = self._open()
        db.execute("BEGIN")
        try:
            yield db
        finally:
            db.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for db in self._all:
                db.close()
            self._all.clear()

    def _open(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise JournalError(f"{self._path}: the journal is closed")
            db = schema.open_reader(self._path)
            self._all.append(db)
            return db


def disk_trouble(path: Path, error: sqlite3.OperationalError) -> DiskTrouble:
    """What the operator should know when the file could not be written, now, through no fault of what was to be."""
    name = error.sqlite_errorname
    if name == "SQLITE_FULL":
        return DiskTrouble(f"{path}: the disk is full; make room, and intake goes on by itself")
    return DiskTrouble(f"{path}: cannot be written ({name}: {error}); intake goes on by itself once it can")


def free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
