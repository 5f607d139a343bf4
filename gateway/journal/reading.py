"""The journal's queries. Each works on one snapshot, holds little in memory, and touches only the rows it tells of."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator

from gateway.cloudevents import position_updated
from gateway.journal import codec
from gateway.journal.dedupe import BUCKET_MS
from gateway.journal.records import Feed, Gap, Quarantined, Stored, TrackFix
from gateway.model import Entry, FrameItem, entry_of, seq_of

MAX_BUCKET = 253_402_300_799_999 // BUCKET_MS


class DecodedEntries:
    """The entries decoded last: engine and sinks follow the tail, and read the same ones within moments.

    Entries are handed out decoded from disk, never as they came in, so that a replay sees the very same values.
    """

    def __init__(self, limit_bytes: int = 1_000_000) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[Entry, int]] = OrderedDict()
        self._limit_bytes = limit_bytes
        self._bytes = 0

    def get(self, entry_id: int, body: bytes) -> Entry:
        with self._lock:
            kept = self._kept.get(entry_id)
            if kept is not None:
                return kept[0]
        entry = Entry(entry_id, codec.decode_items(body))
        with self._lock:
            if entry_id not in self._kept:
                self._kept[entry_id] = (entry, len(body))
                self._bytes += len(body)
            while self._bytes > self._limit_bytes:
                self._bytes -= self._kept.popitem(last=False)[1][1]
        return entry


def state(db: sqlite3.Connection, name: str) -> int:
    row = db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def set_state(db: sqlite3.Connection, name: str, value: int) -> None:
    db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))


def entries(db: sqlite3.Connection, decoded: DecodedEntries, after_id: int, limit: int, max_bytes: int) -> list[Entry]:
    found: list[Entry] = []
    size = 0
    rows = db.execute("SELECT id, body FROM entries WHERE id > ? ORDER BY id LIMIT ?", (after_id, limit))
    for entry_id, body in rows:
        size += len(body)
        if found and size > max_bytes:
            break
        found.append(decoded.get(entry_id, body))
    rows.close()
    return found


def events(
    db: sqlite3.Connection,
    after_seq: int,
    limit: int,
    types: Collection[str] | None = None,
    vehicle_id: str | None = None,
    before_seq: int | None = None,
) -> list[Stored]:
    """Events by rising seq, between the two (both exclusive)."""
    where, values = ["seq > ?"], [after_seq]
    extra: list[str] = []
    if before_seq is not None:
        where.append("seq < ?")
        values.append(before_seq)
    if vehicle_id is not None:
        where.append("vehicle_id = ?")
        extra.append(vehicle_id)
    if types is not None:
        where.append(f"type IN ({', '.join('?' * len(types))})")
        extra += types
    query = f"SELECT emitted_ms, body FROM events WHERE {' AND '.join(where)} ORDER BY seq LIMIT ?"  # noqa: S608
    rows = db.execute(query, (*values, *extra, limit))
    return [Stored(codec.decode_event(body), emitted_ms) for emitted_ms, body in rows]


def feed(db: sqlite3.Connection, decoded: DecodedEntries, after_seq: int, limit: int, positions: bool) -> Feed:
    """Events and, if asked, positions, up to the last thing said in this snapshot."""
    said: list[Stored] = []
    upto = state(db, "last_seq")
    if positions:
        for stored in _positions(db, decoded, after_seq):
            said.append(stored)
            if len(said) == limit:
                upto = stored.event.seq
                break
    found = events(db, after_seq, limit, before_seq=upto + 1)
    if found:
        said = sorted(said + found, key=lambda s: s.event.seq)[:limit]
    cursor = said[-1].event.seq if len(said) == limit else upto
    return Feed(said, max(after_seq, cursor))


def lost(db: sqlite3.Connection, after_seq: int) -> Gap | None:
    """The part of what follows that retention removed. An entry counts as a whole: what it said last is not known."""
    (first,) = db.execute(
        "SELECT coalesce((SELECT min(id) FROM entries), (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'entries'), 1)"
    ).fetchone()
    if after_seq >= state(db, "last_seq") or max(1, entry_of(after_seq + 1)) >= first:
        return None
    return Gap(after_seq, seq_of(first, 0) - 1)


def _positions(db: sqlite3.Connection, decoded: DecodedEntries, after_seq: int) -> Iterator[Stored]:
    rows = db.execute(
        "SELECT v.entry, v.body, e.body FROM verdicts v JOIN entries e ON e.id = v.entry WHERE v.entry >= ?"
        " ORDER BY v.entry",
        (entry_of(after_seq),),
    )
    try:
        for entry_id, verdicts, body in rows:
            items = decoded.get(entry_id, body).items
            first = seq_of(entry_id, 0)
            skip = max(0, after_seq + 1 - first)
            for n, verdict in enumerate(codec.decode_verdicts(verdicts)[skip:], skip):
                item = items[verdict.item]
                assert isinstance(item, FrameItem)
                yield Stored(position_updated(item, verdict, first + n), item.received_ms)
    finally:
        rows.close()


def track(db: sqlite3.Connection, device: int, start_ms: int, end_ms: int, limit: int) -> list[TrackFix]:
    """The fixes of one device with start <= fix time < end, by fix time and ordinal."""
    first, last = max(start_ms // BUCKET_MS, -MAX_BUCKET), min((end_ms - 1) // BUCKET_MS, MAX_BUCKET)
    rows = db.execute(
        "SELECT bucket, id, fixes FROM track WHERE device = ? AND bucket BETWEEN ? AND ? ORDER BY bucket, id",
        (device, first, last),
    )
    found: list[TrackFix] = []
    bucket: int | None = None
    current: list[TrackFix] = []
    for row_bucket, row_id, fixes in rows:
        if row_bucket != bucket:
            found += sorted(current, key=_by_time)
            if len(found) >= limit:
                current = []
                break
            bucket, current = row_bucket, []
        for position, received_ms, ordinal, _ in codec.decode_fixes(fixes):
            assert position.time_ms is not None
            if start_ms <= position.time_ms < end_ms:
                current.append(TrackFix(position, received_ms, ordinal, entry_of(row_id)))
    rows.close()
    found += sorted(current, key=_by_time)
    return found[:limit]


def _by_time(fix: TrackFix) -> tuple[int, int]:
    return fix.position.time_ms or 0, fix.ordinal


def known_fixes(db: sqlite3.Connection, device: int, bucket: int) -> Iterator[tuple[int, int, bytes]]:
    """Fix time, ordinal and digest of all that one bucket of a device holds: see `dedupe.Load`."""
    for (fixes,) in db.execute("SELECT fixes FROM track WHERE device = ? AND bucket = ?", (device, bucket)):
        for position, _, ordinal, digest in codec.decode_fixes(fixes):
            yield position.time_ms or 0, ordinal, digest


_QUARANTINED = "id, received_ms, source, protocol, device_id, topic, retained, reason, records, raw"


def quarantined(db: sqlite3.Connection, after_id: int, limit: int, device_id: str | None = None) -> list[Quarantined]:
    query = f"SELECT {_QUARANTINED} FROM quarantine WHERE id > ? AND (? IS NULL OR device_id = ?) ORDER BY id LIMIT ?"  # noqa: S608
    rows = db.execute(query, (after_id, device_id, device_id, limit))
    return [
        Quarantined(i, received_ms, source, protocol, device, topic, bool(retained), reason, records, raw)
        for i, received_ms, source, protocol, device, topic, retained, reason, records, raw in rows
    ]
