"""The live stream: server-sent events from any point in retention, at the reader's own pace.

A connection holds no queue: it reads the journal by its cursor, so a slow reader costs nobody anything and loses nothing.
`id:` of an event is its sequence number; a browser sends the last one back as `Last-Event-ID`.
Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Scope, Send
from msgspec import Struct

from gateway import cloudevents
from gateway.journal import Gap, Stored
from gateway.model import Event
from gateway.web.state import WebState

HEARTBEAT_S = 15.0
PAUSE_S = 0.05
"""After it caught up a stream rests this long: what comes meanwhile is one read, however many commits it was."""
AT_ONCE = 200
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # or nginx keeps events back until a buffer is full
]


class Filter(Struct, frozen=True):
    """Which events a reader wants: all when empty. Positions are asked for by their own switch."""

    types: frozenset[str] = frozenset()
    vehicle_id: str | None = None
    positions: bool = False

    def wants(self, stored: Stored) -> bool:
        event = stored.event
        if self.vehicle_id is not None and event.vehicle_id != self.vehicle_id:
            return False
        return not self.types or event.type in self.types or event.type == "position.updated"


class EventStream:
    """The answer: an ASGI application that tells until its reader leaves, or the gateway stops."""

    def __init__(self, state: WebState, after_seq: int, wanted: Filter) -> None:
        self._state, self._after_seq, self._wanted = state, after_seq, wanted

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        with self._state.streams.place():
            start: HTTPResponseStartEvent = {"type": "http.response.start", "status": 200, "headers": HEADERS}
            await send(start)
            telling = asyncio.create_task(self._tell(send))
            ends = [asyncio.create_task(_left(receive)), asyncio.create_task(self._state.streams.ended.wait())]
            try:
                await asyncio.wait([telling, *ends], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (telling, *ends):
                    task.cancel()
                outcome = (await asyncio.gather(telling, *ends, return_exceptions=True))[0]
            if isinstance(outcome, Exception):
                raise outcome
            last: HTTPResponseBodyEvent = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(last)

    async def _tell(self, send: Send) -> None:
        async for chunk in server_sent(self._state, self._after_seq, self._wanted):
            event: HTTPResponseBodyEvent = {"type": "http.response.body", "body": chunk, "more_body": True}
            await send(event)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def server_sent(state: WebState, after_seq: int, wanted: Filter) -> AsyncIterator[bytes]:
    """Events after a sequence number, for ever, in chunks. A sign of life now and then carries the cursor, too, so that
    a reader who wants little of much goes on where it was.
    """
    yield b"retry: 2000\n\n"
    told_s = time.monotonic()
    while True:
        quiet_s = time.monotonic() - told_s
        if quiet_s >= HEARTBEAT_S:
            yield b": alive\nid: %d\n\n" % after_seq
            told_s, quiet_s = time.monotonic(), 0.0
        try:
            async with asyncio.timeout(HEARTBEAT_S - quiet_s):
                await state.concluded.beyond(after_seq)
        except TimeoutError:
            continue
        chunk, after_seq = await asyncio.to_thread(_read, state, after_seq, wanted)
        if chunk:
            yield chunk
            told_s = time.monotonic()
        if after_seq >= state.concluded.value:
            await asyncio.sleep(PAUSE_S)


def _read(state: WebState, after_seq: int, wanted: Filter) -> tuple[bytes, int]:
    """What is to be told next, encoded, and the cursor after it."""
    feed = state.journal.feed(after_seq, AT_ONCE, positions=wanted.positions)
    said = told(state, after_seq, [stored for stored in feed.said if wanted.wants(stored)])
    return b"".join(message(stored, state.source) for stored in said), feed.cursor


def told(state: WebState, after_seq: int, said: list[Stored]) -> list[Stored]:
    """What was read after a cursor, with what retention removed before told as an event in its place, `delivery.gap`.

    Cursor 0 asks for what is kept, and misses nothing.
    """
    # Asked after the reading, since removal may come between the two; what it took then counts as not read.
    gap = state.journal.lost(after_seq) if after_seq else None
    if gap is None:
        return said
    now_ms = state.now_ms()
    return [Stored(_gap_event(gap, now_ms), now_ms), *(s for s in said if s.event.seq > gap.upto)]


def _gap_event(gap: Gap, now_ms: int) -> Event:
    return Event(
        type="delivery.gap",
        key=f"delivery/api/gap/{gap.upto}",
        time_ms=now_ms,
        detected_ms=now_ms,
        vehicle_id="*",
        seq=gap.upto,
        measures={"from_seq": gap.after + 1, "to_seq": gap.upto},
    )


def message(stored: Stored, source: str) -> bytes:
    body = cloudevents.encode(stored.event, source, stored.emitted_ms)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (stored.event.seq, stored.event.type.encode(), body)
