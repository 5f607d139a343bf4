"""A tracker or receiver on a serial port. Read-only: nothing is ever written to it.

The port may be unplugged and come back under the same path (name it by `/dev/serial/by-id/…`): the partial sentence is
dropped, the decoder and the date it learnt are kept. A port that falls silent is opened anew, for ever. While the intake
is full the line's bytes wait in a bounded buffer; a serial line cannot be told to wait, so beyond it they are dropped and
counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from gateway.journal import Intake
from gateway.model import Frame, Malformed, Received
from gateway.problems import BadInput, Problem
from gateway.protocols import codec
from gateway.protocols.base import Context
from gateway.sources.backoff import Backoff
from gateway.sources.decoding import GuardedDecoder, options_for
from gateway.sources.serial_line import Chunk, Line, LineReader, Opener, SerialLine
from gateway.sources.stats import SourceStats
from gateway.times import parse_rfc3339

log = logging.getLogger(__name__)

SPEEDS_BAUD = (4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600)
IDLE_EVERY_S = 0.05
GOOD_FRAMES = 2
"""So many frames without fault, and the speed is right."""
HOPE = 4
"""A speed that gave one good frame is listened to for so many times `listen_s`: some receivers speak every two seconds."""
TRIAL_BYTES = 64 * 1024


class SerialOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[sources.serial]]`: one port. `device_id` names what hangs on it.

    `speed` is a number of baud, or "hunt": the speeds are tried in turn, from the last good one on, `listen_s` each (not
    below the device's period, or good ones are passed over). `silence_s`: without a good frame for so long the port is
    opened anew. `buffer_bytes`: what may wait while the disk is full. `reference_time` (RFC 3339): for recordings played
    through a virtual port, dates what the bytes leave open.
    """

    port: str
    device_id: str
    name: str = "serial"
    protocol: str = "nmea"
    options: dict[str, Any] = field(default_factory=dict)
    speed: Annotated[int, Meta(gt=0)] | Literal["hunt"] = "hunt"
    listen_s: Annotated[float, Meta(gt=0)] = 2.5
    silence_s: Annotated[float, Meta(gt=0)] = 60.0
    buffer_bytes: Annotated[int, Meta(ge=4096)] = 1024 * 1024
    reopen_first_s: Annotated[float, Meta(gt=0)] = 0.5
    reopen_max_s: Annotated[float, Meta(gt=0)] = 15.0
    reference_time: str | None = None


def problems(options: SerialOptions, where: str) -> list[Problem]:
    """What is wrong with a configured port before anybody opens it. A port that is not plugged in is no problem."""
    found = options_for(options.protocol, options.options, where)[1]
    if not options.port:
        found.append(Problem(f"{where}.port", "is empty", "name the port, such as /dev/serial/by-id/…"))
    if not options.device_id:
        found.append(Problem(f"{where}.device_id", "is empty", "name the device on this port"))
    if options.reference_time is not None:
        try:
            parse_rfc3339(options.reference_time)
        except ValueError as error:
            found.append(Problem(f"{where}.reference_time", str(error), "write it as 2026-11-22T10:00:00Z"))
    return found


class SerialStats(SourceStats, kw_only=True):
    """`noise_bytes`: between frames, of no meaning. `dropped_bytes`: came while nothing could be kept. `silences`: times
    the port was opened anew because nothing good was heard. `speed_baud`: 0 while not known.
    """

    noise_bytes: int = 0
    dropped_bytes: int = 0
    silences: int = 0
    opened: int = 0
    speed_baud: int = 0


class SilentError(OSError):
    """The line is there, and nothing good was heard on it for too long."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class SerialSource:
    """Reads one port until cancelled. Raises BadInput for options that are wrong."""

    def __init__(
        self,
        options: SerialOptions,
        intake: Intake,
        *,
        now_ms: Callable[[], int] = _now_ms,
        opener: Opener = SerialLine,
    ) -> None:
        if found := problems(options, f"sources.serial {options.name!r}"):
            raise BadInput(found)
        self.options = options
        self.stats = SerialStats()
        self.trouble: str | None = "not opened yet"
        self._intake = intake
        self._now_ms = now_ms
        self._opener = opener
        self._codec = codec(options.protocol)
        self._codec_options = options_for(options.protocol, options.options, options.name)[0]
        reference = options.reference_time
        self._context = Context(
            device_id=options.device_id,
            peer=options.port,
            reference_ms=None if reference is None else parse_rfc3339(reference),
        )
        self._decoder = self._new_decoder()
        self._good_baud = SPEEDS_BAUD[0] if options.speed == "hunt" else options.speed
        self._times_heard = 0
        self._dropped_before_bytes = 0

    def _new_decoder(self) -> GuardedDecoder:
        return GuardedDecoder(self._codec, self._context, self._codec_options)

    async def run(self) -> None:
        """Open, read; when the line is lost or silent, open again, for ever."""
        backoff = Backoff(self.options.reopen_first_s, self.options.reopen_max_s)
        while True:
            heard_before = self._times_heard
            try:
                await self._connection()
            except (OSError, ValueError) as error:  # pyserial: ValueError for a speed that the port cannot do
                self._lost(error)
            finally:
                self.stats.connected = self.stats.opened = 0
                self._keep(self._decoder.end(self._now_ms()), self._now_ms())
            if self._times_heard > heard_before:
                backoff.reset()
            await asyncio.sleep(backoff.wait_s())

    async def _connection(self) -> None:
        """One opening of the port, until OSError."""
        line = await asyncio.to_thread(self._opener, self.options.port, self._good_baud)
        reader = LineReader(line, self.options.buffer_bytes, self._now_ms)
        self.stats.opened = 1
        try:
            if self.options.speed == "hunt":
                await self._hunt(line, reader)
            await self._read(reader)
        finally:
            reader.close()
            line.close()
            self._dropped_before_bytes += reader.dropped_bytes

    # ------------------------------------------------------------------------------------------------- right speed

    async def _read(self, reader: LineReader) -> None:
        """Decode what comes. Silence closes what only silence closes; too much of it is an error."""
        loop = asyncio.get_running_loop()
        heard_s = loop.time()
        while True:
            if self._intake.full:
                await self._intake.room()
                heard_s = loop.time()
            chunks = await reader.take(IDLE_EVERY_S)
            good = sum(self._decode(chunk) for chunk in chunks) > 0
            if not chunks:
                now_ms = self._now_ms()
                good = self._keep(self._decoder.idle(now_ms), now_ms)
            if good:
                heard_s = loop.time()
                self._heard()
            elif loop.time() - heard_s > self.options.silence_s:
                self.stats.silences += 1
                raise SilentError(f"nothing good heard for {self.options.silence_s:g} s")
            self.stats.dropped_bytes = self._dropped_before_bytes + reader.dropped_bytes
            self.stats.noise_bytes = self._decoder.noise_bytes

    def _decode(self, chunk: Chunk) -> bool:
        """Whether the bytes gave a good frame. What follows a gap must not complete what stood before it."""
        frames = self._decoder.end(chunk.received_ms) if chunk.gap else []
        frames += self._decoder.feed(chunk.data, chunk.received_ms)
        self.stats.received_bytes += len(chunk.data)
        self.stats.last_received_ms = chunk.received_ms
        return self._keep(frames, chunk.received_ms)

    def _keep(self, frames: list[Frame], received_ms: int) -> bool:
        received = [
            Received(
                source=self.options.name,
                protocol=self.options.protocol,
                received_ms=received_ms,
                frame=frame,
                device_id=self.options.device_id,
            )
            for frame in frames
        ]
        self.stats.count(received)
        for each in received:
            self._intake.submit(each)
        return _good_frames(frames) > 0

    def _heard(self) -> None:
        if self.stats.connected:
            return
        self.stats.connected = 1
        self.stats.reconnects += self._times_heard > 0
        self.stats.speed_baud = self._good_baud
        self._times_heard += 1
        self.trouble = None
        log.info("%s: reading %s at %d baud", self.options.name, self.options.port, self._good_baud)

    def _lost(self, error: Exception) -> None:
        """Said once per cause, however often the port is tried."""
        reason = str(error) or type(error).__name__
        if reason != self.trouble:
            log.warning("%s: %s: %s; trying again", self.options.name, self.options.port, reason)
        self.trouble = reason

    # --------------------------------------------------------------------------------------------- which speed it is

    async def _hunt(self, line: Line, reader: LineReader) -> None:
        """Find the speed at which a decoder of its own gives good frames, then give the bytes to the real one.

        Garbage of wrong speeds never reaches the journal. SilentError after a round through all speeds.
        """
        speeds_baud = [self._good_baud, *(speed for speed in SPEEDS_BAUD if speed != self._good_baud)]
        for speed_baud in speeds_baud:
            try:
                line.set_speed(speed_baud)
            except ValueError:
                continue
            reader.clear()
            if (chunks := await self._listen(reader)) is not None:
                self._good_baud = speed_baud
                for chunk in chunks:
                    self._decode(chunk)
                self._heard()
                return
        self.stats.silences += 1
        raise SilentError(f"no speed from {min(SPEEDS_BAUD)} to {max(SPEEDS_BAUD)} baud gives {self.options.protocol}")

    async def _listen(self, reader: LineReader) -> list[Chunk] | None:
        """What came at this speed, once it makes sense; None when it does not in time."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        trial = self._new_decoder()
        kept: list[Chunk] = []
        good = 0
        while good < GOOD_FRAMES:
            patience_s = self.options.listen_s * (HOPE if good else 1)
            if loop.time() - started_s > patience_s or sum(len(chunk.data) for chunk in kept) > TRIAL_BYTES:
                return None
            chunks = await reader.take(IDLE_EVERY_S)
            frames = [] if chunks else trial.idle(self._now_ms())
            for chunk in chunks:
                frames += trial.feed(chunk.data, chunk.received_ms)
            good += _good_frames(frames)
            kept += chunks
        return kept


def _good_frames(frames: list[Frame]) -> int:
    return sum(not any(isinstance(message, Malformed) for message in frame.messages) for frame in frames)
