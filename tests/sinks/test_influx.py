"""The InfluxDB sink against a real time-series database; error answers, which no healthy one gives, against a small server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.model import Event, Position
from gateway.sinks.influx import PROBE, InfluxOptions, InfluxSink
from tests.sinks.answers import Answer, Asked, answering
from tests.sinks.conftest import START_MS, Filled
from tests.timeseries import Database, database


@asynccontextmanager
async def writing(filled: Filled, **options: object) -> AsyncIterator[InfluxSink]:
    values: dict[str, object] = {"bucket": "fleet", "retry_max_s": 0.1, "timeout_s": 5.0}
    sink = InfluxSink(InfluxOptions(**(values | options)), filled.journal, filled.committed, filled.concluded)  # type: ignore[arg-type]
    task = asyncio.create_task(sink.run())
    try:
        yield sink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


def up_to_date(filled: Filled, sink: InfluxSink) -> bool:
    done_events = sink.stats.event_seq >= filled.concluded.value
    return sink.stats.position_entry == filled.journal.last_entry_id and done_events


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    with database(tmp_path / "database") as found:
        monkeypatch.setenv("INFLUX_TOKEN", found.token)
        yield found


@pytest.mark.servers
async def test_positions_and_events_are_written_once_and_found(
    filled: Filled, db: Database, fix: Callable[..., Position], event: Callable[..., Event]
) -> None:
    twin = fix(lat_deg=46.5)
    filled.add([fix(), fix("TRK 2", speed_mps=3.5), twin], [event()])
    filled.add([fix(time_ms=twin.time_ms, lat_deg=46.75)])  # another fix of the same instant
    async with writing(filled, url=db.url, org=db.org, bucket=db.bucket) as sink:
        await until(lambda: up_to_date(filled, sink))
        filled.add([fix()])
        await until(lambda: up_to_date(filled, sink))
        found = db.points("position", "lat_deg", ("device", "n"))
        assert found[("TRK 2", "")] == [(START_MS + 2000, 46.25)]
        assert [v for _, v in found[("TRK-1", "")]] == [46.5, 46.25, 46.25]
        assert found[("TRK-1", "1")] == [(twin.time_ms, 46.75)]
        assert list(db.points("event", "revision", ("type", "vehicle"))) == [("stop.arrived", "TRK-1")]
        assert sink.stats.written == 6
    async with writing(filled, url=db.url, org=db.org, bucket=db.bucket) as again:
        await until(lambda: up_to_date(filled, again))
        assert again.stats.written == 0, "a restart goes on where it was"


@pytest.mark.servers
async def test_what_came_while_the_database_was_away_is_there_when_it_is_back(
    filled: Filled, db: Database, fix: Callable[..., Position]
) -> None:
    if db.is_influx:
        pytest.skip("somebody else's InfluxDB is not ours to stop")
    db.stop()
    async with writing(filled, url=db.url, org=db.org, bucket=db.bucket) as sink:
        for _ in range(20):
            filled.add([fix() for _ in range(50)])
        await until(lambda: sink.stats.trouble is not None)
        db.start()
        await until(lambda: up_to_date(filled, sink))
        assert sink.stats.trouble is None
    assert len(db.points("position", "lat_deg", ("device",))[("TRK-1",)]) == 1000


def lines_of(asked: Asked) -> list[str]:
    return asked.body.decode().splitlines()


async def test_one_refused_line_is_set_aside_and_the_others_are_in(
    filled: Filled, fix: Callable[..., Position]
) -> None:
    """A 400 with a partial write: nothing else is lost, nothing is tried for ever."""
    taken: set[str] = set()

    def answer(asked: Asked) -> Answer:
        good = [line for line in lines_of(asked) if "device=bad" not in line]
        taken.update(good)  # InfluxDB keeps the good lines of a partial write
        if len(good) < len(lines_of(asked)):
            return Answer(400, b'{"code":"invalid","message":"partial write: field type conflict dropped=1"}')
        return Answer()

    filled.add([*(fix() for _ in range(20)), fix("bad"), *(fix() for _ in range(20))])
    with answering(answer) as server:
        async with writing(filled, url=server.url) as sink:
            await until(lambda: up_to_date(filled, sink))
            assert sink.stats.rejected == 1
    assert len(taken - {PROBE}) == 40
    [aside] = filled.journal.quarantined()
    assert aside.raw.startswith(b"position,device=bad ")
    assert "partial write" in aside.reason


async def test_a_wrong_set_up_costs_no_line(filled: Filled, fix: Callable[..., Position]) -> None:
    """When even a harmless line is refused, it is not the line's fault: everything waits."""
    healthy = False

    def answer(_: Asked) -> Answer:
        return Answer() if healthy else Answer(400, b'{"code":"invalid","message":"organization not found"}')

    filled.add([fix() for _ in range(8)])
    with answering(answer) as server:
        async with writing(filled, url=server.url) as sink:
            await until(lambda: sink.stats.failures > 2)
            assert sink.stats.rejected == 0
            healthy = True
            await until(lambda: up_to_date(filled, sink))
            assert sink.stats.written == 8


async def test_a_batch_that_is_too_large_is_halved(filled: Filled, fix: Callable[..., Position]) -> None:
    def answer(asked: Asked) -> Answer:
        return Answer(413, b"too large") if len(lines_of(asked)) > 5 else Answer()

    filled.add([fix() for _ in range(37)])
    with answering(answer) as server:
        async with writing(filled, url=server.url) as sink:
            await until(lambda: up_to_date(filled, sink))
            assert (sink.stats.written, sink.stats.rejected) == (37, 0)


@pytest.mark.parametrize("status", [429, 503, 500, 401])
async def test_a_server_that_asks_to_wait_is_waited_for(
    filled: Filled, fix: Callable[..., Position], status: int
) -> None:
    answers = iter([Answer(status, b"{}", {"Retry-After": "0"}), Answer(status, b"{}")])

    def answer(_: Asked) -> Answer:
        return next(answers, Answer())

    filled.add([fix()])
    with answering(answer) as server:
        async with writing(filled, url=server.url) as sink:
            await until(lambda: up_to_date(filled, sink))
            assert (sink.stats.written, sink.stats.failures) == (1, 2)
