"""The live stream: nothing lost, nothing twice, in order, from any point; and whoever leaves gives their place back."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.times import rfc3339
from gateway.web import stream
from tests.survival.driving import FIX_EVERY_S
from tests.web.running import Message, Running, fix_of, listening, messages, now_ms, running, take, until, van

DAY_MS = 86_400_000


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, web="streams_max = 5") as found:
        yield found


async def toured(served: Running, number: int = 0, fixes: int = 120) -> list[dict[str, Any]]:
    """A vehicle drives its tour; every event that is kept afterwards."""
    vehicle = van(number, fixes)
    assert (await served.put(f"/v1/plans/tour-{number}", vehicle.plan())).status_code == 200
    await served.drive(vehicle, fixes)
    await served.settle()
    return await served.all_events()


def seqs(found: list[Message]) -> list[int]:
    return [int(m.id) for m in found]


async def test_from_a_cursor_it_tells_the_same_as_the_pages(served: Running) -> None:
    events = await toured(served)
    assert len(events) > 10
    async with listening(served.client, cursor="0") as told:
        found = await take(told, len(events))
    assert [m.data for m in found] == events
    assert [m.event for m in found] == [e["type"].removeprefix("fleet.").removesuffix(".v1") for e in events]
    assert seqs(found) == [e["data"]["seq"] for e in events] == sorted({e["data"]["seq"] for e in events})
    async with listening(served.client, cursor=found[4].id) as told:
        assert [m.data for m in await take(told, len(events) - 5)] == events[5:]
    async with listening(served.client, {"Last-Event-ID": found[7].id}, cursor=found[4].id) as told:
        assert (await take(told, 1))[0].data == events[8], "what the browser had last counts more than the address"


async def test_without_a_cursor_it_begins_now(served: Running) -> None:
    before = {e["id"] for e in await toured(served)}
    async with listening(served.client) as told:
        listened = asyncio.create_task(take(told, 5))
        await asyncio.sleep(0.2)
        after = [e["id"] for e in await toured(served, 1) if e["id"] not in before]
        assert [m.data["id"] for m in await listened] == after[:5]


async def test_positions_stand_between_the_events_in_their_order(served: Running) -> None:
    events = await toured(served)
    async with listening(served.client, cursor="0", positions="true") as told:
        found = await take(told, len(events) + 120)
    assert seqs(found) == sorted(set(seqs(found)))
    assert [m.data for m in found if m.event != "position.updated"] == events
    places = [m.data["data"]["position"] for m in found if m.event == "position.updated"]
    assert [p["time"] for p in places] == [f["time"] for f in await served.get("/v1/devices/van-0/track")]


async def test_filters(served: Running) -> None:
    await toured(served)
    everything = await toured(served, 1)
    async with listening(served.client, cursor="0", type="stop.arrived,stop.departed", vehicle="van-1") as told:
        wanted = [
            e for e in everything
            if e["data"]["vehicle"]["id"] == "van-1" and e["type"] in {"fleet.stop.arrived.v1", "fleet.stop.departed.v1"}
        ]  # fmt: skip
        assert [m.data for m in await take(told, len(wanted))] == wanted


async def test_a_reader_whose_line_breaks_again_and_again_loses_and_repeats_nothing(served: Running) -> None:
    for number in (0, 1):
        await served.put(f"/v1/plans/tour-{number}", van(number, 200).plan())
    driving_on = asyncio.gather(*[served.drive(van(number, 200), 200) for number in (0, 1)])
    found: list[Message] = []
    last, quiet = "0", 0
    while quiet < 2:
        async with listening(served.client, {"Last-Event-ID": last}, positions="true") as told:
            got: list[Message] = []
            try:
                async with asyncio.timeout(1.0):
                    while len(got) < 7:
                        got.append(await anext(told))
            except TimeoutError:
                quiet += driving_on.done() and not got
        found += got
        last = found[-1].id if found else last
    await driving_on
    await served.settle()
    assert seqs(found) == sorted(set(seqs(found)))
    assert [m.data for m in found if m.event != "position.updated"] == await served.all_events()
    assert sum(m.event == "position.updated" for m in found) == 400


async def test_it_survives_a_restart_of_the_gateway(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        events = await toured(served)
        async with listening(served.client, cursor="0") as told:
            last = (await take(told, 6))[-1].id
    async with running(tmp_path) as served, listening(served.client, {"Last-Event-ID": last}) as told:
        assert [m.data for m in await take(told, len(events) - 6)] == events[6:]


async def test_signs_of_life_carry_the_cursor_even_where_much_happens_that_is_not_wanted(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.3)
    async with listening(served.client, cursor="0", vehicle="nobody") as told:
        busy = asyncio.create_task(toured(served, fixes=200))
        async with asyncio.timeout(10):
            alive = [await anext(told) for _ in range(5)]
        await busy
        async with asyncio.timeout(10):
            alive += [await anext(told) for _ in range(3)]
    assert {m.data for m in alive} == {None}
    assert seqs(alive) == sorted(seqs(alive))
    assert int(alive[-1].id) == served.gateway.concluded.value


async def test_a_cursor_older_than_retention_is_told_what_it_missed(served: Running) -> None:
    events = await toured(served)
    early = events[2]["data"]["seq"]
    await served.drive(van(1, 1), 1)
    await served.settle()
    journal = served.gateway.journal
    await until(lambda: journal.snapshots()[0] == journal.engine_entry_id)
    while journal.retain(now_ms() + 40 * DAY_MS).entries:
        pass
    await toured(served, 1)
    kept = await served.all_events()
    assert kept
    assert kept[0]["data"]["seq"] > events[-1]["data"]["seq"]
    async with listening(served.client, cursor=str(early)) as told:
        gap, *rest = await take(told, 1 + len(kept))
    assert gap.event == "delivery.gap"
    missed = gap.data["data"]["measures"]
    assert missed["from_seq"] == early + 1
    assert events[-1]["data"]["seq"] <= missed["to_seq"] == int(gap.id) < kept[0]["data"]["seq"]
    assert [m.data for m in rest] == kept
    async with listening(served.client, {"Last-Event-ID": gap.id}) as told:
        assert (await take(told, 1))[0].data == kept[0], "a gap is told once"
    async with listening(served.client, cursor="0") as told:
        assert (await take(told, 1))[0].data == kept[0], "0 asks for what there is"
    page = (await served.get("/v1/events", cursor=str(early), limit=3))["events"]
    assert page[0]["type"] == "fleet.delivery.gap.v1"
    assert page[1:] == kept[:3]


async def test_places_are_limited_and_given_back_by_who_leaves(served: Running) -> None:
    opened = []
    for _ in range(5):
        request = served.client.build_request("GET", "/v1/stream")
        opened.append(await served.client.send(request, stream=True))
    assert [a.status_code for a in opened] == [200] * 5
    refused = await served.client.get("/v1/stream")
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert refused.json()["detail"] == "5 streams are open, no more are served"
    metrics = (await served.client.get("/metrics")).text
    assert "\ngateway_streams 5.0\n" in metrics
    assert "\ngateway_streams_refused_total 1.0\n" in metrics
    for answer in opened:
        await answer.aclose()
    await open_streams(served, 0)
    async with listening(served.client, cursor="0"):
        await open_streams(served, 1)
    await open_streams(served, 0)


async def open_streams(served: Running, wanted: int) -> None:
    async with asyncio.timeout(5):
        while f"\ngateway_streams {wanted}.0\n" not in (await served.client.get("/metrics")).text:
            await asyncio.sleep(0.02)


async def test_many_who_come_at_once_get_no_more_places_than_there_are(served: Running) -> None:
    async def ask() -> httpx.Response:
        return await served.client.send(served.client.build_request("GET", "/v1/stream"), stream=True)

    answers = await asyncio.gather(*[ask() for _ in range(30)])
    assert sorted(a.status_code for a in answers) == [200] * 5 + [503] * 25
    for answer in answers:
        await answer.aclose()
    await open_streams(served, 0)


async def test_a_slow_reader_is_not_read_ahead_for_and_gets_everything_when_it_reads(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixes = 20_000
    vehicle = van(0, fixes)
    for _ in range(0, fixes, 2_000):
        await served.submit([fix_of(vehicle) for _ in range(2_000)])
    await served.settle()
    reads = 0
    journal, feed = served.gateway.journal, served.gateway.journal.feed

    def counted(*given: Any, **named: Any) -> Any:
        nonlocal reads
        reads += 1
        return feed(*given, **named)

    monkeypatch.setattr(journal, "feed", counted)
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(line, ("127.0.0.1", served.gateway.server.port))
    await loop.sock_sendall(line, b"GET /v1/stream?cursor=0&positions=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
    before = -1
    while before != reads:
        before = reads
        await asyncio.sleep(0.5)
    assert 0 < reads < fixes / stream.AT_ONCE / 2, "the rest waits in the journal, not in memory"
    assert (await served.client.get("/livez")).status_code == 200
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    text = bytearray()
    newest = rfc3339(vehicle.start_ms + round((fixes - 1) * FIX_EVERY_S * 1000)).encode()
    async with asyncio.timeout(60):
        while newest not in text[-5_000:]:
            text += await loop.sock_recv(line, 1 << 20)
        while not text.endswith(b"\r\n"):
            text += await loop.sock_recv(line, 1 << 20)
    found = [int(row[4:]) for row in text.split(b"\n") if row.startswith(b"id: ")]
    assert found == sorted(set(found))
    assert text.count(b"event: position.updated\n") == fixes
    line.close()
    await open_streams(served, 0)


async def test_a_reader_that_stopped_reading_and_leaves_frees_its_place(served: Running) -> None:
    vehicle = van(0, 10_000)
    for _ in range(5):
        await served.submit([fix_of(vehicle) for _ in range(2_000)])
    await served.settle()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.gateway.server.port, limit=1024)
    writer.write(b"GET /v1/stream?cursor=0&positions=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.read(100)
    await open_streams(served, 1)
    await asyncio.sleep(0.3)
    writer.transport.abort()
    await open_streams(served, 0)


async def test_the_gateway_stops_within_moments_while_streams_are_open(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await toured(served)
        endings = []
        async with httpx.AsyncClient(base_url=served.client.base_url, timeout=20) as client:
            for n in range(10):
                request = client.build_request("GET", "/v1/stream", params={"cursor": str(n % 2)})
                endings.append(asyncio.create_task(drained(await client.send(request, stream=True))))
            await asyncio.sleep(0.3)
            before_s = time.monotonic()
            served.stop.set()
            await asyncio.gather(*endings)
            await served.serving
            took_s = time.monotonic() - before_s
        assert took_s < 4, f"it took {took_s:.1f} s"


async def drained(answer: httpx.Response) -> int:
    """To a proper end: httpx raises where an answer is cut off."""
    return len([each async for each in messages(answer)])


async def test_a_stream_is_json_that_any_reader_of_the_format_understands(served: Running) -> None:
    await toured(served)
    async with served.client.stream("GET", "/v1/stream", params={"cursor": "0"}) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        parts = answer.aiter_text()
        blocks = await anext(parts) + await anext(parts)
    first, second, *_ = blocks.split("\n\n")
    assert first == "retry: 2000"
    lines = second.split("\n")
    assert [line.partition(":")[0] for line in lines] == ["id", "event", "data"]
    assert json.loads(lines[2].removeprefix("data: "))["specversion"] == "1.0"
