"""Batches, restarts and crashes must not show in the result."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.journal import Accounting, Journal, Refused
from gateway.model import Login, Malformed, Message, Position, Received, Reply
from tests.journal.support import ROOMY, T0, consistent, fix, frame

Arrivals = list[Received | Refused]

DEVICES = st.sampled_from(["a", "b", "ä"])
FIXES = st.builds(
    fix,
    DEVICES,
    # Few instants, at the edges of buckets, so that duplicates and shared instants are common.
    st.sampled_from([0, 1, 399.999, 400, 1_000, 100_000, -5_000]),
    st.sampled_from([1, 1.0, 2.5, -0.0, 0]),
    marks=st.sampled_from([(), ("time_corrected",)]),
    hdop=st.sampled_from([None, 1, 1.0, float("nan")]),
    attributes=st.sampled_from([{}, {"i": -1}, {"i": -2}, {"i": True}, {"a": 1, "b": "x"}, {"b": "x", "a": 1}]),
)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    FIXES,
    FIXES,
    FIXES,
    st.builds(fix, DEVICES, lat_deg=st.none()),
    st.builds(fix, DEVICES, time_ms=st.none()),
    st.builds(lambda d: Login(device_id=d), DEVICES),
    st.builds(lambda r: Malformed(reason=r), st.text(st.characters(), max_size=3)),
    st.just(Reply(data=b"ok")),
)
FRAMES = st.builds(
    lambda messages, retained, at_s: frame(*messages, retained=retained, at_s=at_s),
    st.lists(MESSAGES, max_size=4),
    st.sampled_from([False, False, False, True]),
    st.integers(0, 3),
)
ARRIVALS: st.SearchStrategy[Arrivals] = st.lists(
    st.one_of(FRAMES, FRAMES, FRAMES, FRAMES.map(lambda f: Refused(f, "no"))), max_size=25
)
CUTS = st.lists(st.integers(0, 25), max_size=5)


class Scratch:
    """A journal in a folder of its own, for one example."""

    def __enter__(self) -> Path:
        self.folder = Path(tempfile.mkdtemp())
        return self.folder / "journal"

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)


def batches(arrivals: Arrivals, cuts: Sequence[int]) -> list[Arrivals]:
    edges = [0, *sorted(c for c in cuts if c <= len(arrivals)), len(arrivals)]
    return [arrivals[i:j] for i, j in itertools.pairwise(edges)]


def result(journal: Journal) -> tuple[bytes, list[object], Accounting]:
    """All that must not depend on how the arrivals were cut into batches, in a form that compares NaN as equal."""
    tracks = [(f.position, f.received_ms, f.ordinal) for d in "abä" for f in journal.track(d, -(2**62), 2**62)]
    quarantined: list[object] = [(q.raw, q.reason, q.records, q.device_id) for q in journal.quarantined(limit=1_000)]
    return msgspec.msgpack.encode(tracks), quarantined, journal.accounting()


@settings(max_examples=60, deadline=None)
@given(ARRIVALS, CUTS)
def test_splits_do_not_show(arrivals: Arrivals, cuts: list[int]) -> None:
    with Scratch() as one_path, Scratch() as other_path:
        one, other = Journal.open(one_path, ROOMY), Journal.open(other_path, ROOMY)
        one.append(arrivals, T0)
        for batch in batches(arrivals, cuts):
            other.append(batch, T0)
        assert consistent(one)
        assert consistent(other)
        assert result(one) == result(other)
        one.close()
        other.close()


@settings(max_examples=60, deadline=None)
@given(ARRIVALS, CUTS)
def test_a_restart_before_each_batch_does_not_show(arrivals: Arrivals, cuts: list[int]) -> None:
    with Scratch() as one_path, Scratch() as other_path:
        one = Journal.open(one_path, ROOMY)
        for batch in batches(arrivals, cuts):
            one.append(batch, T0)
            other = Journal.open(other_path, ROOMY)
            other.append(batch, T0)
            before = result(other), other.last_entry_id, other.totals
            other.close()
            other = Journal.open(other_path, ROOMY)
            assert (result(other), other.last_entry_id, other.totals) == before
            other.close()
        if cuts:
            other = Journal.open(other_path, ROOMY)
            assert result(one) == result(other)
            other.close()
        one.close()


@settings(max_examples=60, deadline=None)
@given(ARRIVALS, CUTS, st.booleans())
def test_everything_sent_again_changes_no_track(arrivals: Arrivals, cuts: list[int], restart: bool) -> None:
    with Scratch() as path:
        journal = Journal.open(path, ROOMY)
        journal.append(arrivals, T0)
        tracks, _, books = result(journal)
        if restart:
            journal.close()
            journal = Journal.open(path, ROOMY)
        for batch in batches(arrivals, cuts):
            journal.append(batch, T0)
        again, _, books_again = result(journal)
        assert again == tracks
        assert books_again.total.journaled == books.total.journaled
        assert consistent(journal)
        journal.close()


@settings(max_examples=40, deadline=None)
@given(ARRIVALS, CUTS)
def test_a_copy_of_the_files_at_any_moment_is_a_journal(arrivals: Arrivals, cuts: list[int]) -> None:
    """As after kill -9: the database and its write-ahead log as they lie there, while the journal is open."""
    with Scratch() as path, Scratch() as copy:
        journal = Journal.open(path, ROOMY)
        for batch in batches(arrivals, cuts):
            journal.append(batch, T0)
            for suffix in ("", "-wal"):
                shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
            survivor = Journal.open(copy, ROOMY)
            assert result(survivor) == result(journal)
            assert consistent(survivor)
            survivor.close()
        journal.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(FIXES, min_size=1, max_size=30))
def test_against_a_model_in_plain_python(fixes: list[Position]) -> None:
    known: dict[tuple[str, int | None], list[bytes]] = {}
    expected = []
    for each in fixes:
        content = msgspec.msgpack.encode(msgspec.structs.replace(each, marks=()), order="deterministic")
        contents = known.setdefault((each.device_id, each.time_ms), [])
        if content not in contents:
            expected.append((each.device_id, each.time_ms, len(contents)))
            contents.append(content)
    with Scratch() as path:
        journal = Journal.open(path, ROOMY)
        journal.append([frame(each) for each in fixes], T0)
        found = [
            (f.position.device_id, f.position.time_ms, f.ordinal)
            for d in "abä"
            for f in journal.track(d, -(2**62), 2**62)
        ]
        assert found == sorted(expected)
        journal.close()
