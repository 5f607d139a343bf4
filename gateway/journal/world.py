"""What commands said of plans, fences and devices: kept beyond the entries that brought them, one row per subject."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from gateway.journal import codec
from gateway.model import Command, DevicePut, FenceRemove, FencesPut, Item, Plan, PlanPut, PlanRemove

_LATEST = """
SELECT c.body FROM commands c
JOIN (SELECT kind, subject, max(entry) AS entry FROM commands WHERE entry <= :upto GROUP BY kind, subject) latest
  ON c.kind = latest.kind AND c.subject = latest.subject AND c.entry = latest.entry
WHERE NOT c.removes
  AND c.n = (SELECT max(n) FROM commands s WHERE s.kind = c.kind AND s.subject = c.subject AND s.entry = c.entry)
  AND c.entry <= :upto
ORDER BY c.entry, c.n
"""

_SUPERSEDED = """
DELETE FROM commands WHERE entry <= :upto AND (
    EXISTS (SELECT 1 FROM commands l WHERE l.kind = commands.kind AND l.subject = commands.subject
            AND l.entry <= :upto AND (l.entry, l.n) > (commands.entry, commands.n))
    OR removes)
"""

_Row = tuple[str, str, int, Command]


def rows_of(command: Command) -> Iterator[_Row]:
    """kind, subject, removes, and the command narrowed to that subject."""
    match command:
        case PlanPut():
            yield "plan", command.plan.plan_id, 0, command
        case PlanRemove():
            yield "plan", command.plan_id, 1, command
        case FencesPut():
            for fence in command.fences:
                yield "fence", fence.fence_id, 0, FencesPut(command.received_ms, (fence,))
        case FenceRemove():
            yield "fence", command.fence_id, 1, command
        case DevicePut():
            # A device's assignments follow each other: what is put anew from the same moment on replaces the old.
            a = command.assignment
            yield "device", f"{a.valid_from_ms} {a.device_id}", 0, command


def add(db: sqlite3.Connection, entry_id: int, items: Iterable[Item]) -> None:
    """Part of the transaction that writes the entry."""
    commands = (i for i in items if isinstance(i, PlanPut | PlanRemove | FencesPut | FenceRemove | DevicePut))
    rows = [row for command in commands for row in rows_of(command)]
    db.executemany(
        "INSERT INTO commands (entry, n, kind, subject, removes, body) VALUES (?, ?, ?, ?, ?, ?)",
        [(entry_id, n, kind, subject, gone, codec.encode(said)) for n, (kind, subject, gone, said) in enumerate(rows)],
    )


def read(db: sqlite3.Connection, upto_entry: int) -> list[Command]:
    """The latest word on each plan, fence and assignment that is not removed, in the order it was said."""
    return [codec.decode_command(body) for (body,) in db.execute(_LATEST, {"upto": upto_entry})]


def prune(db: sqlite3.Connection, upto_entry: int, over_before_ms: int) -> int:
    """Forgets, among commands up to an entry, what a later one replaced or removed, and plans over before a time."""
    # Superseded rows first: a removal may go only once nothing older of its subject is left.
    removed = db.execute(_SUPERSEDED, {"upto": upto_entry}).rowcount
    over = []
    for entry, n, body in db.execute(
        "SELECT entry, n, body FROM commands WHERE kind = 'plan' AND entry <= ? ORDER BY entry LIMIT 500", (upto_entry,)
    ):
        command = codec.decode_command(body)
        if isinstance(command, PlanPut) and _over_ms(command.plan, command.received_ms) < over_before_ms:
            over.append((entry, n))
    db.executemany("DELETE FROM commands WHERE entry = ? AND n = ?", over)
    return removed + len(over)


def _over_ms(plan: Plan, received_ms: int) -> int:
    """The last moment that a plan speaks of."""
    times = [received_ms, plan.start_ms]
    for stop in plan.stops:
        times += [stop.window_end_ms, stop.scheduled_arrival_ms]
    return max(t for t in times if t is not None)
