"""What goes into the journal and what comes out of it, beside the words of `gateway.model`; and how it can fail."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from gateway.model import Event, Frame, Position, Received

MB = 1_000_000


class JournalError(Exception):
    """The journal cannot do its work; the text is for the operator."""


class DiskTrouble(JournalError):
    """Nothing was written: the disk is full or fails, or somebody locks the file. The same call works once it can."""


class JournalOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is kept. What the engine still needs stays in any case."""

    retention_days: float = 30.0
    """Entries, fixes and events older than this go."""
    max_size_mb: float = 10_000.0
    """The oldest entries go, whatever their age, once the journal (its quarantine aside) holds more than this."""
    backlog_max_days: float = 7.0
    """What a reader has not read outlives the two limits above until it is this old; then the reader gets a gap."""
    backlog_max_mb: float = 10_000.0
    """… or until the journal holds this much beyond `max_size_mb`."""
    quarantine_max_mb: float = 500.0
    """What the quarantine may hold; the oldest goes first."""
    min_free_mb: float = 200.0
    """Intake stops when the file system has less than this left, so that retention can still run."""


class Refused(Struct, frozen=True):
    """A frame that must not count, such as an unknown device's: goes to quarantine whole, for `reason`."""

    received: Received
    reason: str


class Counts(Struct):
    """Decoded records (an undecodable frame is one); at every commit
    `received == journaled + duplicate + quarantined + state_only`. Frames that hold no record count as `empty` only.
    """

    received: int = 0
    journaled: int = 0
    duplicate: int = 0
    quarantined: int = 0
    state_only: int = 0
    empty: int = 0

    def add(self, other: Counts) -> None:
        self.received += other.received
        self.journaled += other.journaled
        self.duplicate += other.duplicate
        self.quarantined += other.quarantined
        self.state_only += other.state_only
        self.empty += other.empty


class DeviceAccount(Struct, frozen=True):
    """The account of one device and source. `device_id` is "" for what no known device sent."""

    device_id: str
    source: str
    counts: Counts
    last_heard_ms: int | None


class Accounting(Struct, frozen=True):
    total: Counts
    devices: list[DeviceAccount]


class Appended(Struct, frozen=True):
    """What became of a batch. `entry_id` is None when nothing of it was to be kept as an entry."""

    entry_id: int | None
    counts: Counts


class Stored(Struct, frozen=True):
    """An event as it was first said; `emitted_ms` does not change on a repeat (a position's is its receive time)."""

    event: Event
    emitted_ms: int


class Feed(Struct, frozen=True):
    """A piece of what was said, by rising seq. `cursor` is where to go on; it moves even if nothing was said."""

    said: list[Stored]
    cursor: int


class TrackFix(Struct, frozen=True):
    position: Position
    received_ms: int
    ordinal: int
    entry_id: int


class Quarantined(Struct, frozen=True):
    """A frame that was set aside, wholly or in part: `records` of it, for `reason`. `raw` is the whole frame."""

    id: int
    received_ms: int
    source: str
    protocol: str
    device_id: str | None
    topic: str | None
    retained: bool
    reason: str
    records: int
    raw: bytes

    def received(self, frame: Frame) -> Received:
        """A frame that its bytes decode to now, as it came: to take it in again (`Intake.readmit`)."""
        return Received(
            source=self.source,
            protocol=self.protocol,
            received_ms=self.received_ms,
            frame=frame,
            device_id=self.device_id,
            retained=self.retained,
            topic=self.topic,
        )


ReaderUnit: TypeAlias = Literal["seq", "entry"]


class Cursor(Struct, frozen=True):
    """All up to `position` (a seq, or an entry id: the reader's unit) is done, and of what follows `done_above`."""

    position: int
    done_above: tuple[int, ...] = ()


class Gap(Struct, frozen=True):
    """A reader was too far behind: what lies in (`after`, `upto`], in its unit, was removed without it."""

    after: int
    upto: int


class Retained(Struct, frozen=True):
    """What one call of `retain` removed. `more`: it stopped at its share of work, and there is more to remove."""

    entries: int = 0
    quarantined: int = 0
    events: int = 0
    gaps: tuple[str, ...] = ()
    more: bool = False
