"""What the engine says: events, positions derived from entries, snapshots."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cloudevents import position_updated
from gateway.journal import Journal, Stored
from gateway.model import Event, FrameItem, Step, seq_of
from tests.journal.support import ROOMY, T0, event, fix, frame, opened, said_of
from tests.journal.test_properties import Scratch


def test_events_follow_the_verdicts_of_their_entry(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        journal.append([frame(fix("a"), fix("b"))], T0)
        journal.append([frame(fix("a", 1))], T0)
        journal.commit_engine([said_of(journal, 1, "k1", "k2"), said_of(journal, 2)], T0 + 9)
        assert [(s.event.key, s.event.seq, s.emitted_ms) for s in journal.events(0)] == [
            ("k1", seq_of(1, 2), T0 + 9),
            ("k2", seq_of(1, 3), T0 + 9),
        ]
        feed = journal.feed(0, positions=True)
        assert [s.event.seq for s in feed.said] == [
            seq_of(1, 0),
            seq_of(1, 1),
            seq_of(1, 2),
            seq_of(1, 3),
            seq_of(2, 0),
        ]
        assert feed.cursor == journal.last_seq == seq_of(2, 0)
        (first, *_) = feed.said
        item = journal.entries(0)[0].items[0]
        assert isinstance(item, FrameItem)
        step = said_of(journal, 1)
        assert first == Stored(position_updated(item, step.verdicts[0], seq_of(1, 0)), item.received_ms)


def test_a_feed_without_positions_moves_on_though_nothing_was_said(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        assert journal.feed(0) == journal.feed(0, positions=True)
        assert journal.feed(0).cursor == 0
        for i in range(3):
            journal.append([frame(fix(at_s=i))], T0)
        journal.commit_engine([said_of(journal, 1), Step(entry_id=2, verdicts=(), events=())], T0)
        feed = journal.feed(0)
        assert (feed.said, feed.cursor) == ([], seq_of(2, 0))
        assert journal.feed(feed.cursor).cursor == seq_of(2, 0)
        assert journal.feed(seq_of(9, 0)).cursor == seq_of(9, 0), "a cursor never goes back"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8),
    st.integers(1, 7),
    st.booleans(),
)
def test_pieces_of_any_size_make_the_whole(entries: list[tuple[int, int]], limit: int, positions: bool) -> None:
    with Scratch() as path:
        journal = Journal.open(path, ROOMY)
        expected = []
        for n, (fixes, events) in enumerate(entries):
            journal.append([frame(fix("x", lat_deg=None)), *(frame(fix(at_s=10 * n + i)) for i in range(fixes))], T0)
            keys = [f"{n}/{i}" for i in range(events)]
            journal.commit_engine([said_of(journal, n + 1, *keys)], T0)
            if positions:
                expected += [seq_of(n + 1, i) for i in range(fixes)]
            expected += [seq_of(n + 1, fixes + i) for i in range(events)]
        cursor, seqs = 0, []
        while (feed := journal.feed(cursor, limit, positions=positions)).cursor > cursor:
            assert len(feed.said) <= limit
            seqs += [s.event.seq for s in feed.said]
            cursor = feed.cursor
        assert seqs == expected
        assert cursor == journal.last_seq
        journal.close()


def test_events_by_type_vehicle_and_range(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        said = [event(f"k{i}", vehicle="ab"[i % 2], kind=("x", "y", "z")[i % 3]) for i in range(12)]
        journal.append([frame(fix())], T0)
        journal.commit_engine([Step(entry_id=1, verdicts=(), events=tuple(said))], T0)

        def keys(after: int, **more: Any) -> list[str]:
            return [s.event.key for s in journal.events(after, **more)]

        assert keys(0, limit=2) == ["k0", "k1"]
        assert keys(seq_of(1, 9)) == ["k10", "k11"]
        assert keys(0, types=["x", "y"], vehicle_id="b") == ["k1", "k3", "k7", "k9"]
        assert keys(seq_of(1, 1), before_seq=seq_of(1, 4)) == ["k2", "k3"]
        assert keys(0, types=[]) == []


def test_a_key_has_each_revision_once(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        for i in range(3):
            journal.append([frame(fix(at_s=i))], T0)
        journal.commit_engine([Step(entry_id=1, verdicts=(), events=(event("k"),))], T0)
        revised = Step(entry_id=2, verdicts=(), events=(event("k", revision=2), event("other")))
        journal.commit_engine([revised], T0)
        again = Step(entry_id=3, verdicts=(), events=(event("fine"), event("k", revision=2)))
        with pytest.raises(sqlite3.IntegrityError):
            journal.commit_engine([again], T0)
        assert journal.engine_entry_id == 2, "all of a step or nothing"
        assert len(journal.events(0)) == 3


def test_events_out_of_place_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        journal.append([frame(fix())], T0)
        placed = event("k", seq=seq_of(1, 0))
        with pytest.raises(ValueError, match="its place is"):
            journal.commit_engine([Step(entry_id=1, verdicts=(), events=(event("j"), placed))], T0)
        journal.commit_engine([Step(entry_id=1, verdicts=(), events=(placed,))], T0)
        assert journal.events(0)[0].event == placed


def test_steps_that_are_committed_are_ignored_among_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with opened(path) as journal:
        for i in range(3):
            journal.append([frame(fix(at_s=i))], T0)
        steps = [said_of(journal, i + 1, f"k{i}") for i in range(3)]
        journal.commit_engine(steps[:2], T0)
    with opened(path) as journal:
        assert journal.engine_entry_id == 2
        journal.commit_engine(steps, T0)
        assert [s.event.key for s in journal.events(0)] == ["k0", "k1", "k2"]
        journal.commit_engine([], T0)
        assert journal.engine_entry_id == 3


def test_events_come_back_as_they_were(tmp_path: Path) -> None:
    full = Event(
        type="stop.arrived",
        key="k",
        time_ms=T0,
        detected_ms=T0,
        vehicle_id="v",
        position=fix(hdop=1.5),
        measures={"dwell_s": 3, "eta_ms": T0, "why": None, "share": 0.5},
    )
    with opened(tmp_path / "j") as journal:
        journal.append([frame(fix())], T0)
        journal.commit_engine([Step(entry_id=1, verdicts=(), events=(full,))], T0)
        (stored,) = journal.events(0)
        assert stored.event == Event(**{**{f: getattr(full, f) for f in full.__struct_fields__}, "seq": seq_of(1, 0)})


def test_snapshots_by_name_and_the_entry_from_which_to_replay(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        assert journal.snapshots() == (0, {})
        for i in range(5):
            journal.append([frame(fix(at_s=i))], T0)
        with pytest.raises(ValueError, match="snapshot of entry 1"):
            journal.save_snapshots(1, {}, complete=True)
        journal.commit_engine([said_of(journal, i + 1) for i in range(5)], T0)
        journal.save_snapshots(2, {"a": b"2", "b": b"2"}, complete=True)
        journal.save_snapshots(4, {"b": b"4"}, complete=False)
        assert journal.snapshots() == (2, {"a": (2, b"2"), "b": (4, b"4")})
        journal.save_snapshots(5, {"c": b"5", "a": b""}, complete=True)
        assert journal.snapshots() == (5, {"b": (4, b"4"), "c": (5, b"5")})


def test_readers_share_what_was_decoded_last(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        journal.append([frame(fix())], T0)
        assert journal.entries(0)[0] is journal.entries(0)[0]
        journal._decoded._limit_bytes = 0
        journal.append([frame(fix(at_s=1))], T0)
        assert journal.entries(1)[0] is not journal.entries(1)[0]
