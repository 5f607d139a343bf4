"""A recording of a tracker's bytes, played through its decoder into the intake: in its own rhythm, or as fast as it goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from gateway.journal import Intake
from gateway.model import Frame, Position, Received
from gateway.problems import BadInput
from gateway.protocols import codec
from gateway.protocols.base import Context
from gateway.sources.decoding import GuardedDecoder, options_for
from gateway.sources.stats import SourceStats
from gateway.times import parse_rfc3339

CHUNK_BYTES = 64 * 1024


class RecordingOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`pace`: 1 plays the fixes in the rhythm of their times, 10 ten times as fast, None without waiting; no wait is
    longer than `wait_max_s`. `reference_time` (RFC 3339) dates what the bytes leave open, instead of now.
    """

    path: str
    device_id: str
    name: str = "recording"
    protocol: str = "nmea"
    options: dict[str, Any] = field(default_factory=dict)
    pace: Annotated[float, Meta(gt=0)] | None = None
    wait_max_s: Annotated[float, Meta(gt=0)] = 30.0
    reference_time: str | None = None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class RecordingSource:
    """Plays one file once. Raises BadInput for options that are wrong, OSError for a file that cannot be read."""

    def __init__(self, options: RecordingOptions, intake: Intake, *, now_ms: Callable[[], int] = _now_ms) -> None:
        codec_options, found = options_for(options.protocol, options.options, f"recording {options.path}")
        if found:
            raise BadInput(found)
        reference = options.reference_time
        context = Context(
            device_id=options.device_id, reference_ms=None if reference is None else parse_rfc3339(reference)
        )
        self.options = options
        self.stats = SourceStats()
        self._decoder = GuardedDecoder(codec(options.protocol), context, codec_options)
        self._intake = intake
        self._now_ms = now_ms
        self._fix_ms: int | None = None
        self._due_s = 0.0

    async def run(self) -> None:
        """Returns once all of it is on disk."""
        committed: asyncio.Future[int] | None = None
        self._due_s = asyncio.get_running_loop().time()
        self.stats.connected = 1
        with await asyncio.to_thread(Path(self.options.path).open, "rb") as file:
            while data := await asyncio.to_thread(file.read, CHUNK_BYTES):
                self.stats.received_bytes += len(data)
                committed = await self._play(self._decoder.feed(data, self._now_ms())) or committed
        committed = await self._play(self._decoder.end(self._now_ms())) or committed
        if committed is not None:
            await asyncio.wait({committed})
        self.stats.connected = 0

    async def _play(self, frames: list[Frame]) -> asyncio.Future[int] | None:
        committed: asyncio.Future[int] | None = None
        for frame in frames:
            if self.options.pace is not None:
                await self._wait_for(frame, self.options.pace)
            if self._intake.full:
                await self._intake.room()
            received = Received(
                source=self.options.name,
                protocol=self.options.protocol,
                received_ms=self._now_ms(),
                frame=frame,
                device_id=self.options.device_id,
            )
            self.stats.count((received,))
            self.stats.last_received_ms = received.received_ms
            committed = self._intake.submit(received)
        return committed

    async def _wait_for(self, frame: Frame, pace: float) -> None:
        """Until the frame's fix is due; a frame without a fix, or with an older one, is due at once."""
        times_ms = [m.time_ms for m in frame.messages if isinstance(m, Position) and m.time_ms is not None]
        if not times_ms:
            return
        if self._fix_ms is not None and times_ms[0] > self._fix_ms:
            self._due_s += min((times_ms[0] - self._fix_ms) / 1000 / pace, self.options.wait_max_s)
        self._fix_ms = times_ms[0]
        await asyncio.sleep(self._due_s - asyncio.get_running_loop().time())
