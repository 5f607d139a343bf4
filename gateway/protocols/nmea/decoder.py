"""The gateway's side of NMEA 0183: one frame with one position for each epoch, one for each sentence that cannot be read."""

from __future__ import annotations

import re

from gateway.model import Frame, Malformed, Position
from gateway.protocols.base import Context
from gateway.protocols.nmea.clock import Clock
from gateway.protocols.nmea.epoch import Assembler, Epoch
from gateway.protocols.nmea.fix import Fix, is_about_position
from gateway.protocols.nmea.framing import Framer, Sentence
from gateway.protocols.nmea.grammar import BadSentenceError
from gateway.protocols.nmea.options import NmeaOptions
from gateway.protocols.nmea.sentences import address_of, read, reader_of
from gateway.times import FIRST_MS, LAST_MS

_HEX = "0123456789ABCDEF"
_CHECKSUMS = {(a + b).encode(): int(a + b, 16) for a in _HEX + _HEX[10:].lower() for b in _HEX + _HEX[10:].lower()}
_LOOKS_MEANT = re.compile(rb"\$(?:[A-Z]{2}[A-Z]{3}|P[A-Z]{3}[A-Z0-9]*),")
_TAG_TIME = re.compile(rb"[\\,]c:(\d{10}|\d{13})[,*]")


def checksum(text: bytes) -> int:
    """XOR of up to 256 bytes, by folding one large number: half the time of a loop over them."""
    bits = int.from_bytes(text, "big")
    bits ^= bits >> 1024
    bits ^= bits >> 512
    bits ^= bits >> 256
    bits ^= bits >> 128
    bits ^= bits >> 64
    bits ^= bits >> 32
    bits ^= bits >> 16
    return (bits ^ bits >> 8) & 0xFF


class NmeaDecoder:
    """Decoder of one line or one stream of datagrams; the contract is in `gateway.protocols.base`.

    Bad sentences are frames of their own and do not touch the epoch they came in. AIS (`!AIVDM`) is a frame without
    messages. Everything else goes into the raw bytes of the epoch it came with.
    """

    def __init__(self, context: Context, options: NmeaOptions) -> None:
        self._device_id = context.device_id or "nmea"
        self._reference_ms = context.reference_ms
        self._options = options
        self._framer = Framer()
        self._epochs = Assembler()
        self._clock = Clock()
        self._takes_bare = options.checksum != "required"
        self._heard_ms = 0
        self.noise_bytes = 0

    def feed(self, data: bytes, received_ms: int) -> list[Frame]:
        frames: list[Frame] = []
        for sentence in self._framer.feed(data):
            self._take(sentence, received_ms, frames)
        self._heard_ms = received_ms
        self.noise_bytes = self._framer.noise_bytes
        return frames

    def idle(self, now_ms: int) -> list[Frame]:
        if now_ms - self._heard_ms < self._epochs.habits.silence_ms:
            return []
        frames: list[Frame] = []
        if _is_whole(self._framer.pending):  # its line end may be a burst away, or never come in datagrams
            self._flush(frames)
        frames += [self._frame(epoch) for epoch in self._epochs.silence(self._heard_ms)]
        return frames

    def end(self, now_ms: int) -> list[Frame]:
        frames: list[Frame] = []
        self._heard_ms = now_ms
        self._flush(frames)
        frames += [self._frame(epoch) for epoch in self._epochs.silence(now_ms)]
        self._epochs = Assembler()
        return frames

    def _flush(self, frames: list[Frame]) -> None:
        if sentence := self._framer.flush():
            self._take(sentence, self._heard_ms, frames)
        self.noise_bytes = self._framer.noise_bytes

    def _take(self, sentence: Sentence, received_ms: int, frames: list[Frame]) -> None:
        raw, body, _ = sentence
        try:
            text = self._checked(sentence)
            address = address_of(text)
            said = read(address, text)
        except BadSentenceError as problem:
            if _is_meant(sentence):
                frames.append(Frame(raw=raw, messages=(Malformed(reason=str(problem), device_id=self._device_id),)))
            else:
                self._framer.noise_bytes += len(raw)
            return
        if body.startswith(b"!"):
            frames.append(Frame(raw=raw, messages=()))
            return
        if raw.startswith(b"\\") and (tag_time := _TAG_TIME.search(raw)):
            received_ms = int(tag_time[1].ljust(13, b"0"))
        for epoch in self._epochs.take(address, said, raw, received_ms):
            frames.append(self._frame(epoch))

    def _checked(self, sentence: Sentence) -> bytes:
        """The text between `$` and checksum. Raises BadSentenceError where it is not what was sent."""
        body = sentence.body
        star = body.find(b"*")
        stated = _CHECKSUMS.get(body[star + 1 : star + 3]) if star > 0 else None
        if stated is not None:  # blanks or noise may follow it, up to the line end
            text = body[1:star]
            if checksum(text) != stated:
                raise BadSentenceError(
                    f"{_name(body)}: checksum is {checksum(text):02X}, the sentence says {stated:02X}"
                )
            if self._options.checksum == "learned":
                self._takes_bare = False
            return text
        if not sentence.ended:
            raise BadSentenceError(f"{_name(body)}: cut off after {len(body)} characters")
        if star > 0:
            raise BadSentenceError(f"{_name(body)}: {body[star:].decode()!r} is no checksum")
        if not self._takes_bare:
            raise BadSentenceError(f"{_name(body)}: without checksum")
        if not _LOOKS_MEANT.match(body):
            raise BadSentenceError("this is no sentence")
        return body[1:]

    def _frame(self, epoch: Epoch) -> Frame:
        messages = (self._position(epoch),) if is_about_position(epoch) else ()
        return Frame(raw=epoch.raw, messages=messages)

    def _position(self, epoch: Epoch) -> Position:
        fix = Fix(epoch, self._options.uere_m)
        time_ms, marks = self._date(epoch, fix.valid)
        speed_mps, course_deg = fix.motion()
        return Position(
            device_id=self._device_id,
            time_ms=time_ms,
            lat_deg=fix.place.lat_deg if fix.place else None,
            lon_deg=fix.place.lon_deg if fix.place else None,
            altitude_m=fix.altitude_m(),
            speed_mps=speed_mps,
            course_deg=course_deg,
            fix=fix.kind,
            valid=fix.valid,
            satellites=fix.satellites,
            hdop=fix.hdop,
            accuracy_m=fix.accuracy_m,
            attributes=fix.attributes,
            marks=marks,
        )

    def _date(self, epoch: Epoch, valid: bool) -> tuple[int | None, tuple[str, ...]]:
        """Time of the fix. Dates count only beside a fix: before it, receivers make them up."""
        received_ms = epoch.received_ms
        if valid:
            for said in epoch.statements:
                if said.day is not None and said.tod_ms is not None:
                    self._clock.says(said.day, said.tod_ms, received_ms)
                    if said.role == "fix":
                        break
        if epoch.tod_ms is None:
            return None, ()
        reference_ms = received_ms if self._reference_ms is None else self._reference_ms
        time_ms, marks = self._clock.date(epoch.tod_ms, received_ms, reference_ms)
        return (time_ms, marks) if FIRST_MS <= time_ms <= LAST_MS else (None, ())


def _name(body: bytes) -> str:
    return address_of(body[1:16].partition(b"*")[0]).decode()


def _is_meant(sentence: Sentence) -> bool:
    """Whether it was to be a sentence. Makers put binary data after `$PASHR,` and the like: cut ones count as noise."""
    if not _LOOKS_MEANT.match(sentence.body):
        return False
    return sentence.ended or reader_of(address_of(sentence.body[1:])) is not None


def _is_whole(pending: bytes) -> bool:
    pending = pending.rstrip(b"\r ")
    return pending[-3:-2] == b"*" and pending[-2:] in _CHECKSUMS
