"""What becomes of the records of a batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.journal import Counts, Journal, Refused, dedupe
from gateway.model import (
    Assignment,
    DevicePut,
    Fence,
    FenceRemove,
    FencesPut,
    FrameItem,
    Login,
    Malformed,
    Plan,
    PlanPut,
    PlanRemove,
    Position,
    Reply,
    Status,
    Stop,
    Tick,
)
from tests.journal.support import T0, consistent, fix, frame, opened


def items(journal: Journal) -> list[FrameItem]:
    return [i for e in journal.entries(0) for i in e.items if isinstance(i, FrameItem)]


def test_a_batch_is_one_entry_in_order(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        batch = [frame(fix("a"), raw=b"1", topic="t/a"), Tick(5), frame(fix("b"), fix("b", 1), raw=b"2", device_id="x")]
        done = journal.append(batch, T0)
        (entry,) = journal.entries(0)
        assert done.entry_id == entry.id == journal.last_entry_id == 1
        first, tick, second = entry.items
        assert isinstance(first, FrameItem)
        assert isinstance(second, FrameItem)
        assert (first.raw, first.topic, first.messages, first.ordinals) == (b"1", "t/a", (fix("a"),), (0,))
        assert tick == Tick(5)
        assert (second.raw, second.device_id, second.ordinals) == (b"2", "x", (0, 0))
        assert done.counts == Counts(received=3, journaled=3)


def test_the_same_fix_again_is_a_duplicate_whatever_its_raw_bytes_and_marks(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        journal.append([frame(fix())], T0)
        again = [frame(fix(), raw=b"other"), frame(fix(marks=("time_corrected",))), frame(fix("b"), fix())]
        assert journal.append(again, T0).counts == Counts(received=4, journaled=1, duplicate=3)
        partly, echo = journal.entries(1)[0].items
        assert isinstance(partly, FrameItem)
        assert (partly.messages, partly.duplicates, partly.raw) == ((fix("b"),), 1, b"raw")
        assert isinstance(echo, FrameItem)
        assert (echo.messages, echo.duplicates, echo.raw, echo.device_id) == ((), 2, b"", "a")
        assert len(journal.track("a", 0, T0 + 1)) == 1
        assert consistent(journal)


def test_a_storm_of_duplicates_is_one_small_item(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        journal.append([frame(fix(at_s=i)) for i in range(100)], T0)
        storm = [frame(fix(at_s=i % 100), raw=b"x" * 1000, at_s=i) for i in range(2_000)]
        journal.append(storm, T0)
        (item,) = journal.entries(1)[0].items
        assert isinstance(item, FrameItem)
        assert item.duplicates == 2_000
        assert item.received_ms == T0 + 1_999_000


def test_different_fixes_of_one_instant_get_ordinals_that_stay(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        journal.append([frame(fix(lat=1)), frame(fix(lat=2), fix(lat=3)), frame(fix("b", lat=9))], T0)
        journal.append([frame(fix(lat=2)), frame(fix(lat=4))], T0)
        found = {f.position.lat_deg: f.ordinal for f in journal.track("a", 0, T0 + 1)}
        assert found == {1: 0, 2: 1, 3: 2, 4: 3}
        assert [i.ordinals for i in items(journal)] == [(0,), (1, 2), (0,), (3,), ()]


@pytest.mark.parametrize("change", [{"hdop": 1.5}, {"attributes": {"a": -2}}, {"valid": False}, {"device_time_ms": 7}])
def test_any_decoded_content_tells_fixes_apart(tmp_path: Path, change: dict[str, object]) -> None:
    with opened(tmp_path / "j") as journal:
        journal.append([frame(fix(attributes={"a": -1}))], T0)
        assert journal.append([frame(fix(**({"attributes": {"a": -1}} | change)))], T0).counts.journaled == 1


def test_a_clock_that_stands_still_fills_the_quarantine_and_not_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedupe, "MAX_ORDINALS", 5)
    with opened(tmp_path / "j") as journal:
        journal.append([frame(fix(lat=i)) for i in range(8)], T0)
        assert journal.totals.journaled == 5
        assert "stand still" in journal.quarantined()[0].reason
        assert journal.append([frame(fix(lat=4))], T0).counts.duplicate == 1
        assert consistent(journal)


def test_state_is_kept_and_is_no_fix(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        no_fix = fix(lat_deg=None, lon_deg=None)
        batch = [
            frame(Login(device_id="a"), Reply(data=b"ok")),
            frame(Status(device_id="a", kind="heartbeat")),
            frame(no_fix),
            frame(no_fix),
            frame(fix(), retained=True),
        ]
        assert journal.append(batch, T0).counts == Counts(received=5, state_only=5)
        assert all(i.ordinals == (-1,) for i in items(journal))
        assert items(journal)[-1].retained
        assert journal.track("a", 0, T0 + 1) == []
        assert journal.append([frame(fix())], T0).counts.journaled == 1, "a retained fix is not known as a fix"
        assert consistent(journal)


def test_what_is_wrong_is_set_aside_and_its_neighbours_live(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        bad = frame(fix(at_s=1), Malformed(reason="CRC"), Malformed(reason="cut"), Malformed(reason="CRC"), raw=b"bad")
        journal.append([frame(fix()), bad, frame(fix(at_s=2))], T0)
        (row,) = journal.quarantined()
        assert (row.raw, row.reason, row.records, row.device_id) == (b"bad", "CRC; cut", 3, "a")
        assert len(journal.track("a", 0, T0 + 10_000)) == 3
        assert journal.accounting().devices[0].counts == Counts(received=6, journaled=3, quarantined=3)
        assert consistent(journal)


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        (fix(""), "no device"),
        (fix(time_ms=None), "without its time"),
        (fix(time_ms=10**15), "outside the years"),
        (fix(time_ms=-(10**15)), "outside the years"),
        (fix(lat=91.0), "not on the earth"),
        (fix(lat=float("nan")), "not on the earth"),
        (fix(lon_deg=180.5), "not on the earth"),
        (fix(attributes={"x": "\ud800"}), "cannot be stored"),
        (fix(attributes={"x": 2**70}), "cannot be stored"),
        (fix("\ud800"), "cannot be stored"),
    ],
)
def test_a_fix_that_cannot_stand_goes_to_quarantine(tmp_path: Path, position: Position, reason: str) -> None:
    with opened(tmp_path / "j") as journal:
        done = journal.append([frame(position, raw=b"r"), frame(fix("b"))], T0)
        assert done.counts == Counts(received=2, journaled=1, quarantined=1)
        (row,) = journal.quarantined()
        assert reason in row.reason
        assert row.raw == b"r"
        assert consistent(journal)


def test_names_that_no_text_can_hold_break_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        odd = frame(fix(), Status(device_id="\ud800", kind="x"), topic="t/\ud800", device_id="\udfff")
        journal.append([odd, frame(Malformed(reason="\ud800"), topic="\ud800")], T0)
        assert items(journal)[0].topic == "t/?"
        assert journal.quarantined()[1].reason == "?"
        assert consistent(journal)


def test_a_refused_frame_counts_whole(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        refused = Refused(frame(fix("x"), fix("x", 1), Reply(data=b""), raw=b"r", topic="t"), "unknown device x")
        nothing = Refused(frame(raw=b"?"), "cannot be read")
        done = journal.append([refused, nothing], T0)
        assert done.entry_id is None
        assert done.counts == journal.totals == Counts(received=3, quarantined=3)
        (account,) = journal.accounting().devices
        assert account.device_id == "", "strangers get no account of their own"
        assert consistent(journal)


def test_a_frame_without_records_counts_as_empty_only(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        done = journal.append([frame(), frame(Reply(data=b"pong"))], T0)
        assert (done.entry_id, done.counts) == (None, Counts(empty=2))


def test_last_heard_is_the_latest_and_a_retained_message_is_no_sign_of_life(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        journal.append([frame(fix(), at_s=5), frame(fix(), at_s=3), frame(fix("b"), retained=True)], T0)
        journal.append([frame(fix(), at_s=1)], T0)
        heard = {d.device_id: d.last_heard_ms for d in journal.accounting().devices}
        assert heard == {"a": T0 + 5_000, "b": None}


def test_old_buckets_are_let_go_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "j") as journal:
        monkeypatch.setattr(journal._seen, "_limit", 10)
        for i in range(50):
            journal.append([frame(fix(at_s=400 * i))], T0)
        assert len(journal._seen._buckets) < 15
        again = journal.append([frame(fix(at_s=400 * i)) for i in range(50)], T0)
        assert again.counts == Counts(received=50, duplicate=50)


def test_the_track_is_by_fix_time_whatever_the_order_of_arrival(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        for at_s in (5_000, 10, 700, 0, 1_300, 600):
            journal.append([frame(fix(at_s=at_s), at_s=9_000)], T0)
        times = [(f.position.time_ms or 0) - T0 for f in journal.track("a", T0, T0 + 10_000_000)]
        assert times == [0, 10_000, 600_000, 700_000, 1_300_000, 5_000_000]
        half_open = journal.track("a", T0 + 10_000, T0 + 1_300_000)
        assert [f.entry_id for f in half_open] == [2, 6, 3]
        assert journal.track("a", -(2**62), 2**62, limit=2) == journal.track("a", T0, T0 + 10_001)
        assert journal.track("nobody", 0, 2**62) == []


def test_entries_come_in_pieces_of_bounded_size(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        for i in range(5):
            journal.append([frame(fix(at_s=i), raw=bytes(i) * 600)], T0)
        assert [e.id for e in journal.entries(0, 2)] == [1, 2]
        assert [e.id for e in journal.entries(2, max_bytes=1)] == [3]
        assert [e.id for e in journal.entries(3)] == [4, 5]
        assert journal.entries(5) == []


STOP = Stop(stop_id="1", sequence=1, lat_deg=1, lon_deg=2)


def fence(name: str, version: int = 1) -> Fence:
    return Fence(fence_id=name, shape="circle", coordinates=((((2.0, 1.0),),),), radius_m=50, version=version)


def test_the_world_is_the_latest_word_on_each_subject(tmp_path: Path) -> None:
    plan_1 = PlanPut(1, Plan(plan_id="p", vehicle_id="v", stops=(STOP,)))
    plan_2 = PlanPut(2, Plan(plan_id="p", vehicle_id="v", stops=(STOP,), version=2))
    put = DevicePut(1, Assignment(device_id="d", vehicle_id="v"))
    later = DevicePut(3, Assignment(device_id="d", vehicle_id="w", valid_from_ms=9))
    with opened(tmp_path / "j") as journal:
        journal.append([put, plan_1, FencesPut(1, (fence("x"), fence("y")))], T0)
        journal.append([plan_2, FencesPut(2, (fence("x", 2),)), FenceRemove(2, "y"), later], T0)
        journal.append([PlanRemove(3, "p"), FencesPut(3, (fence("y", 3),))], T0)
        one = [put, plan_1, FencesPut(1, (fence("x"),)), FencesPut(1, (fence("y"),))]
        assert journal.world(1) == one
        assert journal.world(2) == [put, plan_2, FencesPut(2, (fence("x", 2),)), later]
        assert journal.world() == [put, FencesPut(2, (fence("x", 2),)), later, FencesPut(3, (fence("y", 3),))]
    with opened(tmp_path / "j") as journal:
        assert journal.world(1) == one
        assert journal.world(0) == []


def test_two_words_on_one_subject_in_one_entry(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        journal.append([FencesPut(1, (fence("x"),)), FenceRemove(1, "x"), FencesPut(1, (fence("x", 2),))], T0)
        assert journal.world() == [FencesPut(1, (fence("x", 2),))]
        journal.append([FencesPut(1, (fence("x", 3),)), FenceRemove(1, "x")], T0)
        assert journal.world() == []


def test_readmitted_frames_leave_the_quarantine_and_count_once(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        journal.append([Refused(frame(fix("x"), fix("x", 1)), "unknown device x"), frame(Malformed(reason="?"))], T0)
        ids = [q.id for q in journal.quarantined()]
        journal.readmit(ids[:1], [frame(fix("x"), fix("x", 1))], T0)
        assert journal.totals == Counts(received=3, journaled=2, quarantined=1)
        assert [q.id for q in journal.quarantined()] == ids[1:]
        journal.readmit(ids[:1], [frame(fix("x"))], T0)
        assert journal.totals == Counts(received=4, journaled=2, quarantined=1, duplicate=1), "twice takes out once"
        assert consistent(journal)
