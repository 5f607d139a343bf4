"""The live stream: server-sent events from any point in retention, at the reader's own pace.

A connection holds no queue: it reads the journal by its cursor, so a slow reader costs nobody anything and loses nothing.
`id:` of an event is its sequence number; a browser sends the last one back as `Last-Event-ID`.
Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from msgspec import Struct

from gateway import cloudevents
from gateway.journal import Stored
from gateway.web.state import WebState

HEARTBEAT_S = 15.0
AT_ONCE = 500


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


async def server_sent(state: WebState, after_seq: int, wanted: Filter) -> AsyncIterator[bytes]:
    """Events after a sequence number, for ever, in chunks; a comment now and then shows that the line is alive."""
    state.streams += 1
    try:
        yield b"retry: 2000\n\n"
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await state.concluded.beyond(after_seq)
            except TimeoutError:
                yield b": alive\n\n"
                continue
            feed = await asyncio.to_thread(state.journal.feed, after_seq, AT_ONCE, positions=wanted.positions)
            chunk = b"".join(message(stored, state.source) for stored in feed.said if wanted.wants(stored))
            after_seq = feed.cursor
            if chunk:
                yield chunk
    finally:
        state.streams -= 1


def message(stored: Stored, source: str) -> bytes:
    body = cloudevents.encode(stored.event, source, stored.emitted_ms)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (stored.event.seq, stored.event.type.encode(), body)
