"""What goes, what stays for a reader, and how a reader that is too far behind hears of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gateway.journal import Counts, Cursor, Gap, Journal, JournalOptions, Retained
from gateway.model import Fence, FenceRemove, FencesPut, Malformed, Plan, PlanPut, Stop, seq_of
from tests.journal.support import T0, consistent, fix, frame, opened, said_of

DAY_MS = 86_400_000
SHORT = JournalOptions(min_free_mb=0, retention_days=2, backlog_max_days=4)


def fill(journal: Journal, days: int, size: int = 10, snapshot: bool = True) -> None:
    """An entry a day, each with one event."""
    for day in range(days):
        n = journal.last_entry_id + 1
        raw, at_s = random.Random(n).randbytes(size), day * 86_400
        good, bad = frame(fix(at_s=n * 86_400), raw=raw, at_s=at_s), frame(Malformed(reason="x"), raw=raw, at_s=at_s)
        journal.append([good, bad], T0 + day * DAY_MS)
        journal.commit_engine([said_of(journal, n, f"k{n}")], T0 + day * DAY_MS)
    if snapshot:
        journal.save_snapshots(journal.engine_entry_id, {}, complete=True)


def left(journal: Journal) -> list[int]:
    ids = [e.id for e in journal.entries(0, 10_000, 1 << 40)]
    assert [f.entry_id for f in journal.track("a", 0, 2**62)] == ids
    assert [s.event.seq for s in journal.events(0)] == [seq_of(i, 1) for i in ids]
    assert [s.event.seq for s in journal.feed(0, positions=True).said] == [seq_of(i, n) for i in ids for n in (0, 1)]
    return ids


def test_what_is_too_old_goes_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    with opened(tmp_path / "j", SHORT) as journal:
        fill(journal, 6)
        assert journal.retain(T0 + 5 * DAY_MS) == Retained(entries=3, events=3, quarantined=3)
        assert left(journal) == [4, 5, 6]
        assert journal.retain(T0 + 5 * DAY_MS) == Retained()
        assert journal.totals.received == 12, "what was counted stays counted"


def test_the_engine_and_its_snapshots_hold_what_a_restart_needs(tmp_path: Path) -> None:
    with opened(tmp_path / "j", SHORT) as journal:
        fill(journal, 6, snapshot=False)
        journal.retain(T0 + 100 * DAY_MS)
        assert left(journal) == [1, 2, 3, 4, 5, 6], "without a snapshot a restart begins at the beginning"
        journal.save_snapshots(4, {}, complete=True)
        journal.append([frame(fix(at_s=86_400 * 9))], T0 + 6 * DAY_MS)
        journal.retain(T0 + 100 * DAY_MS)
        assert [e.id for e in journal.entries(0)] == [5, 6, 7]


def test_a_reader_holds_what_it_has_not_read(tmp_path: Path) -> None:
    with opened(tmp_path / "j", SHORT) as journal:
        fill(journal, 6)
        journal.register("by seq")
        journal.register("by entry", "entry")
        journal.save_cursor("by seq", seq_of(2, 0))
        journal.save_cursor("by entry", 3)
        journal.retain(T0 + 5 * DAY_MS)
        assert left(journal) == [2, 3, 4, 5, 6], "entry 2 is half read"
        journal.save_cursor("by seq", seq_of(9, 0))
        journal.retain(T0 + 5 * DAY_MS)
        assert left(journal) == [4, 5, 6]
        assert journal.gap("by seq") is None


def test_a_reader_that_never_read_holds_everything_until_it_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with opened(path, SHORT) as journal:
        fill(journal, 4)
        journal.register("new")
    with opened(path, SHORT) as journal:
        assert journal.readers() == ["new"]
        assert journal.cursor("new") is None
        journal.retain(T0 + 4 * DAY_MS)
        assert len(left(journal)) == 4
        journal.forget("new")
        journal.retain(T0 + 4 * DAY_MS)
        assert left(journal) == [3, 4]
    with opened(path, SHORT) as journal:
        assert journal.readers() == []


def test_beyond_its_cap_a_reader_gets_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with opened(path, SHORT) as journal:
        fill(journal, 8)
        for name, days in (("slow", None), ("patient", 8.0)):
            journal.register(name, backlog_max_days=days)
            journal.save_cursor(name, seq_of(1, 1), [seq_of(3, 0), seq_of(7, 0)])
        assert journal.retain(T0 + 7 * DAY_MS).gaps == ("slow",)
        assert left(journal) == [1, 2, 3, 4, 5, 6, 7, 8], "the patient one holds them still"
        assert journal.gap("slow") == Gap(seq_of(1, 1), seq_of(4, 0) - 1)
        assert journal.retain(T0 + 9 * DAY_MS).gaps == ("slow", "patient")
        assert left(journal) == [2, 3, 4, 5, 6, 7, 8]
    with opened(path, SHORT) as journal:
        assert journal.gap("slow") == Gap(seq_of(1, 1), seq_of(6, 0) - 1), (
            "one gap, from where it was to where it goes on"
        )
        assert journal.cursor("slow") == Cursor(seq_of(6, 0) - 1, (seq_of(7, 0),))
        assert journal.feed(seq_of(6, 0) - 1).said[0].event.key == "k6"
        journal.save_cursor("slow", seq_of(2, 0))
        assert journal.cursor("slow") == Cursor(seq_of(6, 0) - 1, (seq_of(7, 0),)), "what it did before it heard"
        journal.gap_told("slow")
        assert journal.gap("slow") is None
        journal.save_cursor("slow", seq_of(7, 0))
    with opened(path, SHORT) as journal:
        assert journal.gap("slow") is None
        assert journal.cursor("slow") == Cursor(seq_of(7, 0))


def test_beyond_its_size_the_oldest_go_and_readers_have_their_share(tmp_path: Path) -> None:
    options = JournalOptions(min_free_mb=0, max_size_mb=2, backlog_max_mb=1, quarantine_max_mb=100)
    with opened(tmp_path / "j", options) as journal:
        fill(journal, 30, size=50_000)
        assert journal.retain(T0) == Retained(), "three megabytes, but half of it in quarantine"
        fill(journal, 20, size=50_000)
        while journal.retain(T0).more:
            pass
        assert left(journal)[0] in range(12, 16)
        journal.register("behind", "entry")
        journal.save_cursor("behind", 0)
        remaining = left(journal)
        fill(journal, 18, size=50_000)
        assert not journal.retain(T0).gaps
        assert left(journal)[0] == remaining[0], "beyond its size, but within what a reader may hold"
        fill(journal, 6, size=50_000)
        while journal.retain(T0).more:
            pass
        gap = journal.gap("behind")
        assert gap
        assert left(journal)[0] == gap.upto + 1
        assert gap.upto in range(36, 41)


def test_one_call_does_a_bounded_share(tmp_path: Path) -> None:
    with opened(tmp_path / "j", SHORT) as journal:
        for i in range(600):
            journal.append([frame(fix(at_s=i))], T0)
        journal.commit_engine([said_of(journal, i + 1) for i in range(600)], T0)
        journal.save_snapshots(600, {}, complete=True)
        shares = [journal.retain(T0 + 3 * DAY_MS) for _ in range(4)]
        assert [s.entries for s in shares] == [256, 256, 88, 0]
        assert [s.more for s in shares] == [True, True, False, False]


def test_free_pages_go_back_to_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j"
    with opened(path, SHORT) as journal:
        monkeypatch.setattr("gateway.journal.retention.SLACK_BYTES", 0)
        fill(journal, 30, size=100_000)
    full = path.stat().st_size
    with opened(path, SHORT) as journal:
        while journal.retain(T0 + 100 * DAY_MS).more:
            pass
        assert journal.size_bytes < full / 10
    assert path.stat().st_size < full / 10


def test_the_quarantine_is_bounded_by_size(tmp_path: Path) -> None:
    options = JournalOptions(min_free_mb=0, quarantine_max_mb=1)
    with opened(tmp_path / "j", options) as journal:
        journal.append([frame(Malformed(reason="x"), raw=bytes([i]) * 100_000) for i in range(25)], T0)
        assert journal.retain(T0).quarantined == 16
        assert [q.raw[0] for q in journal.quarantined()] == list(range(16, 25))
        assert journal.retain(T0) == Retained()


def test_the_world_outlives_its_entries_but_not_what_replaced_it(tmp_path: Path) -> None:
    def fence(name: str, version: int) -> Fence:
        coordinates = ((((2.0, 1.0),),),)
        return Fence(fence_id=name, shape="circle", coordinates=coordinates, radius_m=5, version=version)

    def plan(name: str, end_ms: int | None) -> PlanPut:
        stop = Stop(stop_id="1", sequence=1, lat_deg=1, lon_deg=2, window_end_ms=end_ms)
        return PlanPut(T0, Plan(plan_id=name, vehicle_id="v", stops=(stop,)))

    old = [FencesPut(T0, (fence("x", 1), fence("y", 1))), plan("over", T0 + DAY_MS), plan("to come", T0 + 90 * DAY_MS)]
    with opened(tmp_path / "j", SHORT) as journal:
        journal.append(old, T0)
        journal.append([FencesPut(T0, (fence("x", 2),)), FenceRemove(T0, "y")], T0)
        journal.append([frame(fix())], T0 + 9 * DAY_MS)
        journal.commit_engine([said_of(journal, 3)], T0)
        journal.save_snapshots(3, {}, complete=True)
        assert journal.retain(T0 + 9 * DAY_MS).entries == 2
        assert journal.world() == [plan("to come", T0 + 90 * DAY_MS), FencesPut(T0, (fence("x", 2),))]
        assert journal._db.execute("SELECT count(*) FROM commands").fetchone() == (2,)


def test_what_a_reader_could_not_deliver_is_in_quarantine_and_in_no_account(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with opened(path) as journal:
        journal.append([frame(fix())], T0)
        journal.set_aside("hook", b"body", "HTTP 500", T0 + 5)
        (row,) = journal.quarantined()
        assert (row.source, row.raw, row.reason, row.received_ms) == ("sink.hook", b"body", "HTTP 500", T0 + 5)
        assert consistent(journal)
        journal.limit_pages(1)
        journal.set_aside("hook", bytes(100_000), "HTTP 400", T0)
        assert len(journal.quarantined()) == 1, "a full disk is no reason to stop the reader"
        journal.limit_pages(0)
    with opened(path) as journal:
        assert [len(q.raw) for q in journal.quarantined()] == [4, 100_000]
        assert journal.totals == Counts(received=1, journaled=1)


def test_cursors_need_no_commit_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with opened(path) as journal:
        changes = journal._db.total_changes
        journal.save_cursor("r", 5, (9, 2))
        assert journal.cursor("r") == Cursor(5, (9,))
        assert journal._db.total_changes == changes
        journal.append([frame(fix())], T0)
        assert journal._db.execute("SELECT position FROM readers").fetchone() == (5,)
        changes = journal._db.total_changes
        journal.retain(T0)
        assert journal._db.total_changes == changes, "what is written is not written again"
        journal.save_cursor("r", 6)
        journal.retain(T0)
        assert journal._db.execute("SELECT position FROM readers").fetchone() == (6,)
        journal.save_cursor("r", 7)
    with opened(path) as journal:
        assert journal.cursor("r") == Cursor(7)
        assert journal.cursor("other") is None


def test_what_a_reader_without_a_name_has_lost_is_told(tmp_path: Path) -> None:
    with opened(tmp_path / "j", SHORT) as journal:
        assert journal.lost(0) is None
        fill(journal, 6)
        assert journal.lost(0) is None
        journal.retain(T0 + 5 * DAY_MS)
        gone = Gap(seq_of(2, 1), seq_of(4, 0) - 1)
        assert left(journal) == [4, 5, 6]
        assert journal.lost(seq_of(2, 1)) == gone
        assert journal.lost(seq_of(4, 0) - 1) is None, "what follows is the first that is kept"
        assert journal.lost(seq_of(6, 1)) is None
        journal.retain(T0 + 100 * DAY_MS)
        assert left(journal) == []
        assert journal.lost(seq_of(2, 1)) == Gap(seq_of(2, 1), seq_of(7, 0) - 1)
        assert journal.lost(journal.last_seq) is None, "who has read all has lost nothing"
