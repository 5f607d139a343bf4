"""Writes positions and events to InfluxDB 2, from the journal and at its own pace.

influxdb-client speaks to the server; batching, retries and what to do with a refusal are ours, because the client's
batching mode gives up on a long outage and drops a whole batch for one bad line. A batch is finished, and its cursor
saved, only when the server said that it has it: whatever happens in between, lines are written again under the same
series and time, which changes nothing. A refused batch is cut in halves until the line that is at fault stands alone;
that line is set aside, counted, and the others are in.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from influxdb_client import InfluxDBClient
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from msgspec import Struct
from urllib3.exceptions import HTTPError

from gateway.journal import Journal, Watch
from gateway.problems import BadInput, Problem
from gateway.sinks.lines import entry_lines, event_line, halves

log = logging.getLogger(__name__)

REFUSED = {400, 413, 422}
"""The server has read the batch and does not want all of it: resending it whole would go on for ever."""
DELAY_MIN_S = 0.5
PROBE = "gateway_probe ok=1.0"
"""A line that no healthy bucket refuses. It tells a bad line from a bad set-up: the first is set aside, the other waits."""


class InfluxOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[sinks.influx]`: where to write. The token comes from the environment, never from the file."""

    url: str
    bucket: str
    org: str = ""
    token_env: str = "INFLUX_TOKEN"
    batch_lines: int = 5_000
    timeout_s: float = 10.0
    retry_max_s: float = 30.0
    gzip: bool = False


class InfluxStats(Struct):
    written: int = 0
    rejected: int = 0
    failures: int = 0
    requests: int = 0
    gaps: int = 0
    position_entry: int = 0
    event_seq: int = 0
    trouble: str | None = None


class Chunk(Struct, frozen=True):
    """Lines that finish a stretch of the journal: once they are written, the reader stands at `position`."""

    lines: list[str]
    position: int


class InfluxSink:
    """Two readers of the journal, `influx.positions` (by entry) and `influx.events` (by seq), and one connection."""

    def __init__(
        self, options: InfluxOptions, journal: Journal, committed: Watch, concluded: Watch, reader: str = "influx"
    ) -> None:
        if not options.url.startswith(("http://", "https://")):
            fix = "write it as http://HOST:8086"
            raise BadInput([Problem("sinks.influx.url", f"{options.url!r} is no HTTP address", fix)])
        self.options = options
        self.stats = InfluxStats()
        self._journal, self._committed, self._concluded = journal, committed, concluded
        self._positions, self._events = f"{reader}.positions", f"{reader}.events"
        journal.register(self._positions, "entry")
        journal.register(self._events)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="influx")
        self._client = InfluxDBClient(
            url=options.url,
            token=os.environ.get(options.token_env, ""),
            org=options.org,
            timeout=int(options.timeout_s * 1000),
            enable_gzip=options.gzip,
        )
        self._api = self._client.write_api(write_options=SYNCHRONOUS)

    async def run(self) -> None:
        """Until cancelled; what was not written then is written after the next start."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write_positions(), name="influx-positions")
                group.create_task(self._write_events(), name="influx-events")
        finally:
            self._thread.shutdown(wait=True, cancel_futures=True)
            self._client.close()

    async def _write_positions(self) -> None:
        at = self._start(self._positions)
        while True:
            self.stats.position_entry = at
            await self._committed.beyond(at)
            self._mind_gap(self._positions)
            chunk = await asyncio.to_thread(self._position_chunk, at)
            at = await self._finish(self._positions, chunk)

    async def _write_events(self) -> None:
        at = self._start(self._events)
        while True:
            self.stats.event_seq = at
            await self._concluded.beyond(at)
            self._mind_gap(self._events)
            chunk = await asyncio.to_thread(self._event_chunk, at)
            at = await self._finish(self._events, chunk)

    def _mind_gap(self, reader: str) -> None:
        """What was removed before it was written is not in the database: that is told, once, and counted."""
        gap = self._journal.gap(reader)
        if gap is not None:
            self.stats.gaps += 1
            log.error("%s was too far behind: what lies from %d to %d is not written", reader, gap.after + 1, gap.upto)
            self._journal.gap_told(reader)

    def _start(self, reader: str) -> int:
        cursor = self._journal.cursor(reader)
        return cursor.position if cursor else 0

    def _position_chunk(self, after_entry: int) -> Chunk:
        lines: list[str] = []
        at = after_entry
        for entry in self._journal.entries(after_entry, limit=64):
            lines += entry_lines(entry)
            at = entry.id
            if len(lines) >= self.options.batch_lines:
                break
        return Chunk(lines, at)

    def _event_chunk(self, after_seq: int) -> Chunk:
        feed = self._journal.feed(after_seq, limit=self.options.batch_lines)
        return Chunk([event_line(stored.event) for stored in feed.said], feed.cursor)

    async def _finish(self, reader: str, chunk: Chunk) -> int:
        """Write until it is written, then remember how far we are."""
        for lines in _parts(chunk.lines, self.options.batch_lines):
            await self._deliver(lines)
        self._journal.save_cursor(reader, chunk.position)
        return chunk.position

    async def _deliver(self, lines: list[str]) -> None:
        """Until the server has every line that it can take."""
        todo = [lines]
        delay_s = DELAY_MIN_S
        while todo:
            part = todo[-1]
            try:
                await self._post(part)
            except (InfluxDBError, HTTPError, OSError) as e:
                status = e.response.status if isinstance(e, InfluxDBError) and e.response is not None else None
                if status in REFUSED and len(part) > 1:
                    todo.pop()
                    todo += reversed(list(halves(part)))
                    continue
                if status in REFUSED and await self._at_fault():
                    self._set_aside(todo.pop()[0], str(e))
                    continue
                self._in_trouble(e)
                await asyncio.sleep(_wait_s(e, delay_s))
                delay_s = min(delay_s * 2, self.options.retry_max_s)
            else:
                todo.pop()
                self.stats.written += len(part)
                delay_s = DELAY_MIN_S
                self._out_of_trouble()

    async def _at_fault(self) -> bool:
        """Whether it is the line that the server refuses, and not whatever we write there."""
        try:
            await self._post([PROBE])
        except (InfluxDBError, HTTPError, OSError):
            return False
        return True

    async def _post(self, lines: list[str]) -> None:
        self.stats.requests += 1
        await asyncio.get_running_loop().run_in_executor(self._thread, self._post_now, lines)

    def _post_now(self, lines: list[str]) -> None:
        self._api.write(
            self.options.bucket, self.options.org or None, "\n".join(lines), write_precision=WritePrecision.NS
        )

    def _set_aside(self, line: str, why: str) -> None:
        self.stats.rejected += 1
        self._journal.set_aside(
            self._positions.partition(".")[0], line.encode(), why[:500], time.time_ns() // 1_000_000
        )
        log.warning("the database refuses a line; it is set aside: %s", line[:200])

    def _in_trouble(self, error: Exception) -> None:
        self.stats.failures += 1
        if self.stats.trouble is None:
            log.warning("InfluxDB at %s does not take our writes, and waits for: %s", self.options.url, error)
        self.stats.trouble = str(error).splitlines()[0][:200] if str(error) else type(error).__name__

    def _out_of_trouble(self) -> None:
        if self.stats.trouble is not None:
            log.info("InfluxDB at %s takes our writes again", self.options.url)
        self.stats.trouble = None


def _parts(lines: list[str], at_most: int) -> Iterator[list[str]]:
    for start in range(0, len(lines), at_most):
        yield lines[start : start + at_most]


def _wait_s(error: Exception, delay_s: float) -> float:
    """What the server asks for in Retry-After, else exponential with jitter: a fleet of gateways must not march."""
    if isinstance(error, InfluxDBError) and error.retry_after is not None:
        try:
            return max(0.0, float(error.retry_after))
        except ValueError:
            pass
    return delay_s * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
