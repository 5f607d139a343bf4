"""The account of every record that came in, kept in the transaction that keeps the record."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from msgspec.structs import astuple

from gateway.journal.admission import Account
from gateway.journal.records import Accounting, Counts, DeviceAccount

_ADD = """
INSERT INTO accounts (device, source, received, journaled, duplicate, quarantined, state_only, empty, last_heard_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (device, source) DO UPDATE SET
    received = received + excluded.received, journaled = journaled + excluded.journaled,
    duplicate = duplicate + excluded.duplicate, quarantined = quarantined + excluded.quarantined,
    state_only = state_only + excluded.state_only, empty = empty + excluded.empty,
    last_heard_ms = max(coalesce(last_heard_ms, excluded.last_heard_ms), coalesce(excluded.last_heard_ms, last_heard_ms))
"""

_COLUMNS = ("received", "journaled", "duplicate", "quarantined", "state_only", "empty")


def add(db: sqlite3.Connection, accounts: Iterable[Account]) -> Counts:
    """Books a batch; returns its sum. Part of the caller's transaction."""
    sum_ = Counts()
    rows = []
    for account in accounts:
        counts = account.counts()
        sum_.add(counts)
        rows.append((account.device, account.source, *astuple(counts), account.last_heard_ms))
    db.executemany(_ADD, rows)
    return sum_


def total(db: sqlite3.Connection) -> Counts:
    sums = ", ".join(f"coalesce(sum({c}), 0)" for c in _COLUMNS)
    return Counts(*db.execute(f"SELECT {sums} FROM accounts").fetchone())  # noqa: S608


def read(db: sqlite3.Connection) -> Accounting:
    rows = db.execute(
        "SELECT coalesce(d.device_id, ''), a.source, a.received, a.journaled, a.duplicate, a.quarantined, a.state_only,"
        " a.empty, a.last_heard_ms FROM accounts a LEFT JOIN devices d ON d.id = a.device ORDER BY 1, 2"
    )
    devices = [DeviceAccount(device_id, source, Counts(*counts), heard) for device_id, source, *counts, heard in rows]
    sum_ = Counts()
    for each in devices:
        sum_.add(each.counts)
    return Accounting(sum_, devices)
