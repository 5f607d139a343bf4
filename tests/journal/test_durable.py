"""The file: who may open it, what survives, and what happens when the disk is full."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway.journal import Cursor, DiskTrouble, Journal, JournalError, JournalOptions, schema
from tests.journal.support import ROOMY, T0, consistent, event, fix, frame, opened, said_of


def test_one_process_owns_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "j"
    with opened(path):
        with pytest.raises(JournalError, match=r"another gateway owns this journal \(process \d+\)"):
            Journal.open(path)
        code = f"import pathlib; from gateway.journal import Journal; Journal.open(pathlib.Path({str(path)!r}))"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "another gateway owns this journal" in other.stderr
    with opened(path) as journal:
        assert journal.last_entry_id == 0


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with opened(path):
        pass
    db = sqlite3.connect(path)
    asked = ("application_id", "user_version", "auto_vacuum", "journal_mode")
    assert [db.execute(f"PRAGMA {name}").fetchone()[0] for name in asked] == [schema.APPLICATION_ID, 1, 2, "wal"]
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(JournalError, match=r"newer gateway \(version 99 of the file, 1 is known here\)"):
        Journal.open(path)


def test_what_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no database" * 1_000)
    with pytest.raises(JournalError, match="is not a journal"):
        Journal.open(text)
    assert text.read_text() == "no database" * 1_000
    other = tmp_path / "other"
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE mine (x)")
    db.close()
    with pytest.raises(JournalError, match="not a gateway's journal"):
        Journal.open(other)
    with pytest.raises(JournalError, match="cannot be"):
        Journal.open(tmp_path / "text" / "below")


def test_an_older_file_is_brought_up_to_date_in_one_step_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j"
    with opened(path) as journal:
        journal.append([frame(fix())], T0)
    monkeypatch.setattr(schema, "VERSION", 3)
    monkeypatch.setattr(schema, "_MIGRATIONS", {1: "CREATE TABLE two (x);", 2: "CREATE TABLE three (x); nonsense;"})
    with pytest.raises(JournalError):
        Journal.open(path)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (2,), "a step that works stays"
    assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'three'").fetchall()
    db.close()
    monkeypatch.setattr(schema, "_MIGRATIONS", {2: "CREATE TABLE three (x);"})
    with opened(path) as journal:
        assert journal.append([frame(fix())], T0).counts.duplicate == 1


def test_everything_is_there_after_closing(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with opened(path) as journal:
        journal.append([frame(fix())], T0)
        journal.commit_engine([said_of(journal, 1, "k")], T0 + 7)
        journal.save_cursor("sink", 5, [9, 7, 3])
        journal.save_snapshots(1, {"v": b"state"}, complete=True)
        before = (journal.entries(0), journal.feed(0, positions=True), journal.last_seq, journal.accounting())
    with opened(path) as journal:
        assert (journal.entries(0), journal.feed(0, positions=True), journal.last_seq, journal.accounting()) == before
        assert journal.cursor("sink") == Cursor(5, (7, 9))
        assert journal.snapshots() == (1, {"v": (1, b"state")})
        assert journal.append([frame(fix())], T0).counts.duplicate == 1
    with pytest.raises(JournalError, match="closed"):
        journal.entries(0)
    with pytest.raises(JournalError, match="closed"):
        journal.append([frame(fix())], T0)
    journal.close()


def test_a_cut_write_ahead_log_costs_whole_commits_only(tmp_path: Path) -> None:
    path, copy = tmp_path / "j", tmp_path / "copy"
    journal = Journal.open(path, ROOMY)
    sizes = []
    for i in range(20):
        journal.append([frame(fix(at_s=60 * i), raw=bytes(3_000))], T0)
        sizes.append(Path(f"{path}-wal").stat().st_size)
    kept_before = 0
    for cut in (*range(sizes[5], sizes[8], 1_511), sizes[-1] - 1):
        shutil.copy(path, copy)
        wal = Path(f"{path}-wal").read_bytes()[:cut]
        Path(f"{copy}-wal").write_bytes(wal)
        Path(f"{copy}-shm").unlink(missing_ok=True)
        with opened(copy) as survivor:
            kept = survivor.last_entry_id
            assert kept == sum(size <= cut for size in sizes)
            assert kept >= kept_before
            assert len(survivor.track("a", 0, 2**62)) == kept
            assert consistent(survivor)
            repeated = survivor.append([frame(fix(at_s=60 * i)) for i in range(20)], T0)
            assert repeated.counts.journaled == 20 - kept
        kept_before = kept
    journal.close()


def test_a_full_disk_changes_nothing_and_intake_goes_on_once_there_is_room(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        journal.append([frame(fix(raw_seed), raw=bytes(100)) for raw_seed in ("a", "b")], T0)
        journal.limit_pages(40)
        batch = [frame(fix("new", at_s=i), raw=i.to_bytes(2, "big") * 40_000) for i in range(300)]
        with pytest.raises(DiskTrouble, match=r"the disk is full; make room"):
            journal.append(batch, T0)
        assert journal.last_entry_id == 1
        assert journal.track("new", 0, 2**62) == []
        assert consistent(journal)
        journal.limit_pages(0)
        done = journal.append(batch, T0)
        assert (done.entry_id, done.counts.journaled) == (2, 300)
        assert consistent(journal)


def test_intake_stops_above_the_floor_of_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"bytes": 150_000_000}
    monkeypatch.setattr("gateway.journal.store.free_bytes", lambda _: free["bytes"])
    with opened(tmp_path / "j", JournalOptions(min_free_mb=200)) as journal:
        with pytest.raises(DiskTrouble, match="only 150 MB are free, and min_free_mb is 200"):
            journal.append([frame(fix())], T0)
        journal.retain(T0)  # what makes room still works
        free["bytes"] = 250_000_000
        assert journal.append([frame(fix())], T0).entry_id == 1


def test_a_broken_batch_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "j") as journal:
        monkeypatch.setattr("gateway.journal.store.MAX_BATCH_RECORDS", 2)
        with pytest.raises(ValueError, match="too much for one entry"):
            journal.append([frame(fix(at_s=i)) for i in range(3)], T0)
        monkeypatch.undo()
        assert journal.append([frame(fix(at_s=i)) for i in range(3)], T0).counts.journaled == 3
        assert consistent(journal)


def test_entry_ids_are_never_used_twice(tmp_path: Path) -> None:
    path = tmp_path / "j"
    options = JournalOptions(min_free_mb=0, retention_days=1)
    with opened(path, options) as journal:
        for i in range(3):
            journal.append([frame(fix(at_s=i))], T0)
            journal.commit_engine([said_of(journal, i + 1)], T0)
        journal.save_snapshots(3, {}, complete=True)
        assert journal.retain(T0 + 2 * 86_400_000).entries == 3
    with opened(path, options) as journal:
        assert journal.entries(0) == []
        assert journal.last_entry_id == 3
        assert journal.append([frame(fix())], T0).entry_id == 4


def test_many_threads_read_while_one_writes(tmp_path: Path) -> None:
    failures: list[BaseException] = []
    with opened(tmp_path / "j") as journal:
        done = threading.Event()

        def follow() -> None:
            try:
                after = seen = 0
                while not (done.is_set() and after == journal.last_entry_id):
                    for entry in journal.entries(after):
                        assert entry.id == after + 1
                        after, seen = entry.id, seen + len(entry.items)
                    books = journal.accounting().total
                    assert books.received == books.journaled >= seen
            except BaseException as e:
                failures.append(e)

        readers = [threading.Thread(target=follow) for _ in range(3)]
        for each in readers:
            each.start()
        for i in range(60):
            journal.append([frame(fix(at_s=i)), frame(fix("b", at_s=i))], T0)
        done.set()
        for each in readers:
            each.join(20)
    assert not failures


def test_what_must_be_on_disk_is_synced_and_nothing_else(tmp_path: Path) -> None:
    """The settings of each transaction; that they reach fdatasync is SQLite's own promise."""
    with opened(tmp_path / "j") as journal:
        said: list[str] = []
        journal._db.set_trace_callback(said.append)

        def transactions() -> list[str]:
            found = [s.removeprefix("PRAGMA synchronous = ") for s in said if s.startswith(("PRAGMA sync", "COMMIT"))]
            said.clear()
            return found

        journal.append([frame(fix())], T0)
        journal.append([frame(fix(at_s=1))], T0)
        assert transactions() == ["FULL", "COMMIT"] * 2
        journal.commit_engine([said_of(journal, 1)], T0)
        assert transactions() == ["NORMAL", "COMMIT"]
        journal.commit_engine([said_of(journal, 2, "k")], T0)
        assert transactions() == ["FULL", "COMMIT"]
        journal.save_cursor("r", 1)
        assert transactions() == []
        journal.save_snapshots(2, {"v": b"x"}, complete=True)
        journal.retain(T0)
        assert transactions() == ["NORMAL", "COMMIT"] * 2


def test_emitted_at_is_fixed_by_the_first_commit(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with opened(path) as journal:
        journal.append([frame(fix())], T0)
        step = said_of(journal, 1, "k")
        journal.commit_engine([step], T0 + 1)
        journal.commit_engine([step], T0 + 2)
    with opened(path) as journal:
        journal.commit_engine([step], T0 + 3)
        assert [s.emitted_ms for s in journal.events(0)] == [T0 + 1]
        assert journal.events(0)[0].event.key == event("k").key
