"""Micro-batches: what is acknowledged, when, and what happens when the disk does not take it."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import randbytes
from typing import Any

import pytest

from gateway.journal import (
    Appended,
    Counts,
    Intake,
    IntakeOptions,
    Journal,
    JournalError,
    Registry,
    Watch,
)
from gateway.journal.admission import Arrival
from gateway.model import (
    Assignment,
    DevicePut,
    Fence,
    FencesPut,
    FrameItem,
    Login,
    Malformed,
    Position,
    Reply,
    Status,
    Tick,
)
from gateway.protocols import new_decoder
from gateway.protocols.base import Context
from tests.journal.support import ROOMY, T0, consistent, fix, frame


def knows(*devices: str) -> Registry:
    return Registry(Assignment(device_id=d, vehicle_id=f"v{d}") for d in devices)


class Bench:
    """An intake that runs, on a journal whose commits a test can hold up."""

    def __init__(self, path: Path, registry: Registry, options: IntakeOptions) -> None:
        self.journal = Journal.open(path, ROOMY)
        self.watch = Watch()
        self.intake = Intake(self.journal, registry, options, now_ms=lambda: T0, committed=self.watch)
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []
        self.threads: set[int] = set()
        self._append = self.journal.append
        self.journal.append = self._gated  # type: ignore[method-assign]

    def _gated(self, batch: Sequence[Arrival], now_ms: int) -> Appended:
        self.gate.wait(10)
        self.batches.append(len(batch))
        self.threads.add(threading.get_ident())
        return self._append(batch, now_ms)


@asynccontextmanager
async def running(path: Path, registry: Registry | None = None, **options: Any) -> AsyncIterator[Bench]:
    bench = Bench(path / "j", registry or knows("a", "b"), IntakeOptions(**options))
    task = asyncio.create_task(bench.intake.run())
    try:
        yield bench
    finally:
        bench.gate.set()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        bench.journal.close()


async def test_nothing_is_acknowledged_before_its_commit(tmp_path: Path) -> None:
    async with running(tmp_path) as b:
        b.gate.clear()
        first = b.intake.submit(frame(fix()))
        await asyncio.sleep(0.05)
        assert not first.done()
        assert b.watch.value == 0
        b.gate.set()
        assert await first == 1 == b.watch.value
        assert len(b.journal.track("a", 0, 2**62)) == 1
        assert await b.intake.submit(frame(Malformed(reason="x"))) == 0, "quarantined, and no entry"


async def test_what_comes_during_a_commit_is_the_next_batch(tmp_path: Path) -> None:
    async with running(tmp_path, batch_messages=100) as b:
        b.gate.clear()
        first = b.intake.submit(frame(fix()))
        await asyncio.sleep(0.05)
        others = [b.intake.submit(frame(fix(at_s=1 + i))) for i in range(250)]
        await asyncio.sleep(0.05)
        b.gate.set()
        assert (await first, await others[0], await others[99], await others[100], await others[-1]) == (1, 2, 2, 3, 4)
        assert others[0] is others[99]
        assert b.batches == [1, 100, 100, 50]
        assert len(b.threads) == 1
        assert threading.get_ident() not in b.threads


async def test_a_lone_message_does_not_wait_for_company(tmp_path: Path) -> None:
    async with running(tmp_path, batch_ms=60_000) as b:
        await asyncio.wait_for(b.intake.submit(frame(fix())), 5)


async def test_a_batch_ends_though_messages_keep_coming(tmp_path: Path) -> None:
    async with running(tmp_path, batch_ms=30, batch_messages=10**9) as b:
        done = b.intake.submit(frame(fix()))

        async def chatter() -> None:
            for i in itertools.count(1):
                b.intake.submit(frame(fix(at_s=i)))
                await asyncio.sleep(0)

        chatting = asyncio.create_task(chatter())
        assert await asyncio.wait_for(done, 5) == 1
        chatting.cancel()


async def test_a_batch_is_bounded_by_its_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.journal.intake.BATCH_BYTES", 1_000)
    async with running(tmp_path) as b:
        done = [b.intake.submit(frame(fix(at_s=i), raw=bytes(400))) for i in range(7)]
        assert await asyncio.gather(*done) == [1, 1, 1, 2, 2, 2, 3]


async def test_a_cancelled_source_leaves_the_others_their_acknowledgement(tmp_path: Path) -> None:
    async with running(tmp_path) as b:

        async def source(at_s: int) -> int:
            return await b.intake.submit(frame(fix(at_s=at_s)))

        b.gate.clear()
        impatient, patient = asyncio.create_task(source(1)), asyncio.create_task(source(2))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.sleep(0)
        assert impatient.cancelled()
        b.gate.set()
        assert await patient == 1


async def test_unknown_devices_are_refused_and_known_ones_of_the_frame_live(tmp_path: Path) -> None:
    async with running(tmp_path, knows("a")) as b:
        mixed = frame(fix("a"), fix("x"), Reply(data=b""), Login(device_id="y"), Malformed(reason="cut"), raw=b"mixed")
        b.intake.submit(mixed)
        b.intake.submit(frame(Status(device_id="x", kind="heartbeat")))
        await b.intake.submit(frame(fix("a", 1), Reply(data=b"")))
        assert b.journal.totals == Counts(received=6, journaled=2, quarantined=4)
        reasons = [(q.reason, q.records, q.raw) for q in b.journal.quarantined()]
        assert reasons == [("cut", 1, b"mixed"), ("unknown device x, y", 2, b"mixed"), ("unknown device x", 1, b"raw")]
        assert consistent(b.journal)


async def test_unknown_devices_can_be_registered_as_they_come(tmp_path: Path) -> None:
    registry = Registry(unknown="register")
    async with running(tmp_path, registry) as b:
        b.intake.submit(frame(fix("x"), fix("x", 1)))
        await b.intake.submit(frame(fix("x", 2)))
        put, first, second = b.journal.entries(0)[0].items
        assert put == DevicePut(T0, Assignment(device_id="x", vehicle_id="x"))
        assert isinstance(first, FrameItem)
        assert isinstance(second, FrameItem)
        assert registry.vehicle_of("x", T0) == "x"
        assert b.journal.world() == [put]


async def test_there_is_an_end_to_registering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.journal.registry.MAX_REGISTERED", 2)
    async with running(tmp_path, Registry(unknown="register")) as b:
        await asyncio.gather(*(b.intake.submit(frame(fix(d))) for d in "xyzx"))
        assert b.journal.totals == Counts(received=4, journaled=2, quarantined=1, duplicate=1)


async def test_a_device_is_known_from_its_command_on(tmp_path: Path) -> None:
    async with running(tmp_path, knows()) as b:
        b.intake.submit(frame(fix()))
        b.intake.command(DevicePut(T0, Assignment(device_id="a", vehicle_id="v")))
        b.intake.submit(frame(fix(at_s=1)))
        await b.intake.command(Tick(T0))
        kinds = [type(i).__name__ for i in b.journal.entries(0)[0].items]
        assert kinds == ["DevicePut", "FrameItem", "Tick"]
        assert b.journal.totals == Counts(received=2, journaled=1, quarantined=1)
        assert b.intake.registry.knows_vehicle("v")


async def test_a_full_disk_acknowledges_nothing_and_goes_on_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.journal.intake.RETRY_FIRST_S", 0.01)
    async with running(tmp_path, queue_messages=50, batch_messages=20) as b:
        await b.intake.submit(frame(fix()))
        b.journal.limit_pages(1)
        waiting = [b.intake.submit(frame(fix(at_s=1 + i), raw=randbytes(5_000))) for i in range(49)]
        await asyncio.sleep(0.1)
        assert not b.intake.full
        waiting.append(b.intake.submit(frame(fix(at_s=100))))
        assert b.intake.full
        room = asyncio.create_task(b.intake.room())
        await asyncio.sleep(0.1)
        assert "the disk is full" in (b.intake.trouble or "")
        assert "since 2026-" in (b.intake.trouble or "")
        assert not any(f.done() for f in waiting)
        assert not room.done()
        assert b.intake.stats.retries > 1
        b.journal.limit_pages(0)
        assert await asyncio.gather(*waiting) == [2] * 20 + [3] * 20 + [4] * 10
        await asyncio.wait_for(room, 5)
        assert b.intake.trouble is None
        assert (b.intake.queued_messages, b.intake.queued_bytes) == (0, 0)
        assert consistent(b.journal)
        assert len([r for r in caplog.records if "intake waits" in r.message]) == 1, "said once, not at every try"


async def test_somebody_who_locks_the_file_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.journal.schema.LOCKED_S", 0.05)
    async with running(tmp_path) as b:
        stranger = sqlite3.connect(tmp_path / "j", isolation_level=None)
        stranger.execute("BEGIN IMMEDIATE")
        done = b.intake.submit(frame(fix()))
        await asyncio.sleep(0.2)
        assert "database is locked" in (b.intake.trouble or "")
        stranger.execute("ROLLBACK")
        stranger.close()
        assert await asyncio.wait_for(done, 5) == 1
        assert b.journal.totals == Counts(received=1, journaled=1)


async def test_bytes_fill_the_queue_too(tmp_path: Path) -> None:
    async with running(tmp_path, queue_bytes=10_000) as b:
        b.gate.clear()
        b.intake.submit(frame(fix(), raw=bytes(9_999)))
        assert not b.intake.full
        b.intake.submit(frame(fix(at_s=1), raw=bytes(1)))
        assert b.intake.full
        b.gate.set()
        await asyncio.wait_for(b.intake.room(), 5)


async def test_stopping_loses_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, batch_messages=10) as b:
        b.gate.clear()
        futures = [b.intake.submit(frame(fix(at_s=i))) for i in range(35)]
        await asyncio.sleep(0.05)
        b.gate.set()
    assert [f.result() for f in futures] == [1] * 10 + [2] * 10 + [3] * 10 + [4] * 5


async def test_stopping_with_a_full_disk_ends_and_acknowledges_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, batch_messages=10) as b:
        await b.intake.submit(frame(fix()))
        b.journal.limit_pages(1)
        futures = [b.intake.submit(frame(fix(at_s=1 + i), raw=randbytes(5_000))) for i in range(35)]
        await asyncio.sleep(0.05)
    assert all(f.cancelled() for f in futures)


async def test_drain_waits_for_all_that_was_submitted(tmp_path: Path) -> None:
    async with running(tmp_path, batch_ms=60_000) as b:
        await b.intake.drain()
        futures = [b.intake.submit(frame(fix(at_s=i))) for i in range(5)]
        await asyncio.wait_for(b.intake.drain(), 5)
        assert all(f.done() for f in futures)
        await b.intake.drain()


async def test_what_no_commit_can_hold_costs_its_neighbours_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.journal.store.MAX_BATCH_RECORDS", 2)
    async with running(tmp_path) as b:
        b.intake.submit(frame(fix()))
        b.intake.submit(frame(fix(at_s=1), fix(at_s=2), fix(at_s=3), raw=b"too much"))
        assert await b.intake.submit(frame(fix(at_s=4))) == 2
        assert b.watch.value == 2
        assert b.intake.stats.set_apart == 1
        (row,) = b.journal.quarantined()
        assert row.raw == b"too much"
        assert "too much for one entry" in row.reason
        assert len(b.journal.track("a", 0, 2**62)) == 2
        assert consistent(b.journal)


async def test_frames_come_back_from_quarantine_once_their_device_is_known(tmp_path: Path) -> None:
    async with running(tmp_path, knows()) as b:
        raw = b'{"_type":"location","lat":38.7,"lon":-9.1,"tst":1790000000}'
        came = {"raw": raw, "protocol": "owntracks", "topic": "owntracks/u/a", "at_s": 3}
        await b.intake.submit(frame(fix("u/a"), **came))
        (row,) = b.journal.quarantined()
        decoder = new_decoder(row.protocol, Context(topic=row.topic))
        frames = decoder.feed(row.raw, row.received_ms) + decoder.end(row.received_ms)
        decoded = [row.received(each) for each in frames]
        assert [(d.topic, d.received_ms, d.frame.raw) for d in decoded] == [("owntracks/u/a", T0 + 3_000, raw)]
        (position,) = decoded[0].frame.messages
        assert isinstance(position, Position)
        await b.intake.readmit([row.id], decoded)
        assert b.journal.totals == Counts(received=1, quarantined=1), "still unknown: back it goes"
        await b.intake.command(DevicePut(T0, Assignment(device_id=position.device_id, vehicle_id="v")))
        await b.intake.readmit([q.id for q in b.journal.quarantined()], decoded)
        assert b.journal.totals == Counts(received=1, journaled=1)
        assert b.journal.quarantined() == []
        assert b.watch.value == b.journal.last_entry_id


async def test_a_command_is_done_once_it_is_in_the_world(tmp_path: Path) -> None:
    fence = Fence(fence_id="f", shape="circle", coordinates=((((2.0, 1.0),),),), radius_m=5)
    async with running(tmp_path) as b:
        await b.intake.command(FencesPut(T0, (fence,)))
        assert b.journal.world() == [FencesPut(T0, (fence,))]


async def test_a_journal_that_is_closed_ends_the_task_and_says_why(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j", ROOMY)
    intake = Intake(journal, knows("a"), now_ms=lambda: T0, committed=Watch())
    task = asyncio.create_task(intake.run())
    journal.close()
    done = intake.submit(frame(fix()))
    with pytest.raises(JournalError, match="closed"):
        await asyncio.wait_for(task, 5)
    assert not done.done() or done.cancelled()
