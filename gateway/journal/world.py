"""What commands said of plans, fences and devices: kept beyond the entries that brought them, one row per subject.

A row that a later command replaced or removed names that command's entry, so that the world can be told as of any entry
within retention, and pruned without looking at what is in force.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from gateway.journal import codec
from gateway.model import Command, DevicePut, FenceRemove, FencesPut, Item, Plan, PlanPut, PlanRemove

_Row = tuple[str, str, Command]


def _rows_of(command: Command) -> Iterator[_Row]:
    """kind, subject, and the command narrowed to that subject."""
    match command:
        case PlanPut():
            yield "plan", command.plan.plan_id, command
        case PlanRemove():
            yield "plan", command.plan_id, command
        case FencesPut():
            for fence in command.fences:
                yield "fence", fence.fence_id, FencesPut(command.received_ms, (fence,))
        case FenceRemove():
            yield "fence", command.fence_id, command
        case DevicePut():
            # A device's assignments follow each other: what is put anew from the same moment on replaces the old.
            yield "device", f"{command.assignment.valid_from_ms} {command.assignment.device_id}", command


def add(db: sqlite3.Connection, entry_id: int, items: Iterable[Item]) -> None:
    """Part of the transaction that writes the entry."""
    commands = (i for i in items if isinstance(i, PlanPut | PlanRemove | FencesPut | FenceRemove | DevicePut))
    rows = (row for command in commands for row in _rows_of(command))
    for n, (kind, subject, command) in enumerate(rows):
        db.execute(
            "UPDATE commands SET gone_entry = ? WHERE kind = ? AND subject = ? AND gone_entry IS NULL",
            (entry_id, kind, subject),
        )
        gone_entry = entry_id if isinstance(command, PlanRemove | FenceRemove) else None
        over_ms = _over_ms(command.plan, command.received_ms) if isinstance(command, PlanPut) else None
        db.execute(
            "INSERT INTO commands (entry, n, kind, subject, gone_entry, over_ms, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (entry_id, n, kind, subject, gone_entry, over_ms, codec.encode(command)),
        )


def read(db: sqlite3.Connection, upto_entry: int) -> list[Command]:
    """What was in force as of an entry, in the order it was said."""
    rows = db.execute(
        "SELECT body FROM commands WHERE entry <= ? AND (gone_entry IS NULL OR gone_entry > ?) ORDER BY entry, n",
        (upto_entry, upto_entry),
    )
    return [codec.decode_command(body) for (body,) in rows]


def prune(db: sqlite3.Connection, upto_entry: int, over_before_ms: int) -> None:
    """Forgets what was replaced or removed up to an entry, and plans of such entries that were over before a time."""
    db.execute("DELETE FROM commands WHERE gone_entry <= ?", (upto_entry,))
    db.execute("DELETE FROM commands WHERE over_ms < ? AND entry <= ?", (over_before_ms, upto_entry))


def _over_ms(plan: Plan, received_ms: int) -> int:
    """The last moment that a plan speaks of."""
    times = [received_ms, plan.start_ms]
    for stop in plan.stops:
        times += [stop.window_end_ms, stop.scheduled_arrival_ms]
    return max(t for t in times if t is not None)
