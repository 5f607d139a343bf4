"""The journal's append, on the disk when it returns, next to rows of a table of one's own in SQLite.

Ours de-duplicates, keeps accounts, raw bytes, a track by fix time and whole entries for its readers; the tables hold the
fix, its attributes and the raw bytes, and nothing else. Both write ahead with `synchronous=FULL`: as safe, and the
quicker of SQLite's ways.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks.fleet import Fleet, received
from benchmarks.measure import Clock, Contest, Cost, Pace
from gateway.journal import Journal
from gateway.model import Position, Received
from gateway.protocols import new_encoder

VANS = 200
INSERT = "INSERT INTO positions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def contests(pace: Pace) -> Iterator[Contest]:
    fleet = Fleet(VANS)
    many, few = pace.scaled(20_000), pace.scaled(400)
    one_by_one, in_batches = Rows(pace.folder / "single.db"), Rows(pace.folder / "batched.db")
    with closing(Journal.open(pace.folder / "bench.journal")) as journal, closing(one_by_one), closing(in_batches):
        singly = partial(_naive, one_by_one, fleet, few, 1)
        batched = partial(_naive, in_batches, fleet, many, 1_000)
        for size, against, naive in (
            (1_000, "one message, one row, one commit", singly),
            (100, "one message, one row, one commit", singly),
            (1_000, "not naive: a plain table, 1,000 rows a commit, no de-duplication, no accounts", batched),
        ):
            yield Contest(
                stage="journal",
                case=f"append, new fixes, batches of {size:,}",
                against=against,
                ours=partial(_ours, journal, fleet, many, size),
                naive=naive,
            )


def _arrivals(fleet: Fleet, count: int) -> list[Received]:
    encoder = new_encoder("owntracks")
    return [received(fix, encoder.positions([fix])) for fix in fleet.fixes(count)[:count]]


def _ours(journal: Journal, fleet: Fleet, count: int, size: int) -> Cost:
    arrivals = _arrivals(fleet, count)
    clock = Clock()
    for start in range(0, len(arrivals), size):
        batch = arrivals[start : start + size]
        journal.append(batch, batch[-1].received_ms)
    return clock.stop(len(arrivals))


def _naive(table: Rows, fleet: Fleet, count: int, size: int) -> Cost:
    arrivals = _arrivals(fleet, count)
    clock = Clock()
    for start in range(0, count, size):
        table.commit([_row(each) for each in arrivals[start : start + size]])
    return clock.stop(count)


class Rows:
    """A table of positions, a row each, found by device and time. May be used by one thread at a time, whichever."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL").fetchall()
        self._db.execute("PRAGMA synchronous = FULL")
        columns = "device, time_ms, lat, lon, altitude, speed, course, satellites, hdop, attributes, received_ms, raw"
        self._db.execute(f"CREATE TABLE positions ({columns})")
        self._db.execute("CREATE INDEX by_device ON positions (device, time_ms)")

    def close(self) -> None:
        self._db.close()

    def commit(self, rows: Sequence[tuple[object, ...]]) -> None:
        with self._db:
            self._db.executemany(INSERT, rows)


def _row(received: Received) -> tuple[object, ...]:
    (f,) = received.frame.messages
    assert isinstance(f, Position)
    place = (f.device_id, f.time_ms, f.lat_deg, f.lon_deg, f.altitude_m, f.speed_mps, f.course_deg)
    return (*place, f.satellites, f.hdop, json.dumps(f.attributes), received.received_ms, received.frame.raw)
