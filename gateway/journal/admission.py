"""What becomes of a batch: which records are journaled, which are known already, which are set aside, and the account."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from gateway.journal import codec, dedupe
from gateway.journal.records import Counts, Refused
from gateway.model import Command, FrameItem, Item, Login, Malformed, Position, Received, Reply, Status, Tick

Arrival = Received | Refused | Command | Tick
Record = Position | Login | Status

YEAR_1_MS, YEAR_9999_MS = -62_135_596_800_000, 253_402_300_799_999
STATE_ONLY = -1
MAX_REASONS = 8
UNSTORABLE = (UnicodeEncodeError, OverflowError, TypeError, ValueError)


class Account(Struct):
    """What a batch adds to the account of one device and source."""

    counts: Counts
    last_heard_ms: int | None = None


class QuarantineRow(Struct, frozen=True):
    received: Received
    device_id: str | None
    reason: str
    records: int
    account: int

    def columns(self) -> tuple[int, str, str, str | None, str | None, bool, str, int, int, bytes]:
        r = self.received
        device_id = r.device_id or self.device_id
        return (
            r.received_ms,
            r.source,
            r.protocol,
            _text(device_id),
            _text(r.topic),
            r.retained,
            _text(self.reason) or "",
            self.records,
            self.account,
            r.frame.raw,
        )


class Admission:
    """The books of one batch. `device_row` numbers a device (`create`: if need be, else 0 for an unknown one)."""

    def __init__(self, seen: dedupe.Seen, device_row: Callable[[str, bool], int]) -> None:
        self.items: list[Item] = []
        self.track: dict[tuple[int, int], list[codec.Fix]] = {}
        self.quarantine: list[QuarantineRow] = []
        self.accounts: dict[tuple[int, str], Account] = {}
        self._seen = seen
        self._device_row = device_row
        self._echoes: dict[tuple[str, str, str, str | None], FrameItem] = {}

    def take(self, batch: Sequence[Arrival]) -> None:
        for arrival in batch:
            if type(arrival) is Received:
                _Frame(self, arrival).take()
            elif isinstance(arrival, Refused):
                self._refuse(arrival)
            elif not isinstance(arrival, Received):
                self.items.append(arrival)
        self.items.extend(self._echoes.values())

    def account(self, device: int, source: str) -> Account:
        found = self.accounts.get((device, source))
        if found is None:
            found = self.accounts[(device, source)] = Account(Counts())
        return found

    def row(self, device_id: str) -> int:
        return self._device_row(device_id, True)

    def row_if_known(self, device_id: str | None) -> int:
        return self._device_row(device_id, False) if device_id else 0

    def place(self, device: int, position: Position, received_ms: int) -> int:
        """Ordinal of a fix that is to be journaled (its row of the track table is noted), or what speaks against it."""
        time_ms = position.time_ms
        assert time_ms is not None
        digest = dedupe.digest_of(position)
        ordinal = self._seen.place(device, time_ms, digest)
        if ordinal >= 0:
            fix = (position, received_ms, ordinal, digest)
            self.track.setdefault((device, time_ms // dedupe.BUCKET_MS), []).append(fix)
        return ordinal

    def echo(self, received: Received, device_id: str, duplicates: int) -> None:
        """Duplicates say that the device is alive: one item per batch and device, however many came."""
        key = (received.source, received.protocol, device_id, received.topic)
        before = self._echoes.get(key)
        self._echoes[key] = FrameItem(
            source=received.source,
            protocol=received.protocol,
            received_ms=received.received_ms,
            device_id=device_id,
            raw=b"",
            messages=(),
            ordinals=(),
            duplicates=duplicates + (before.duplicates if before else 0),
            topic=_text(received.topic),
        )

    def set_aside(self, received: Received, reasons: Sequence[str], records: int, device_id: str | None) -> None:
        account_row = self.row_if_known(device_id)
        account = self.account(account_row, received.source).counts
        account.received += records
        account.quarantined += records
        reason = "; ".join(list(dict.fromkeys(reasons))[:MAX_REASONS])
        self.quarantine.append(QuarantineRow(received, device_id, reason, records, account_row))

    def _refuse(self, refused: Refused) -> None:
        received = refused.received
        records = sum(1 for m in received.frame.messages if not isinstance(m, Reply))
        self.set_aside(received, (refused.reason,), max(1, records), _sender(received))


def _text(text: str | None) -> str | None:
    """Text that can be stored, whatever the device called itself: half a surrogate pair is no character."""
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode()


def _sender(received: Received) -> str | None:
    named = (m.device_id for m in received.frame.messages if not isinstance(m, Reply) and m.device_id)
    return next(named, received.device_id)


class _Frame:
    """One frame on its way through the books."""

    def __init__(self, books: Admission, received: Received) -> None:
        self.books = books
        self.received = received
        self.kept: list[Record] = []
        self.ordinals: list[int] = []
        self.duplicates = 0
        self.echo_of = ""
        self.reasons: list[str] = []
        self.culprit: str | None = None

    def take(self) -> None:
        received = self.received
        records = 0
        for message in received.frame.messages:
            if type(message) is Reply:
                continue
            records += 1
            if type(message) is Malformed:
                self._object(message.reason, message.device_id)
                continue
            assert not isinstance(message, Reply | Malformed)
            reason = self._record(message)
            if reason:
                self._object(reason, message.device_id)
        if not records:
            self.books.account(self.books.row_if_known(received.device_id), received.source).counts.empty += 1
        if self.reasons:
            self.books.set_aside(received, self.reasons, len(self.reasons), self.culprit or received.device_id)
        if self.kept:
            self.books.items.append(self._item())
        elif self.duplicates:
            self.books.echo(received, self.echo_of, self.duplicates)

    def _object(self, reason: str, device_id: str | None) -> None:
        self.reasons.append(reason)
        self.culprit = self.culprit or device_id

    def _record(self, message: Record) -> str | None:
        """Keeps a record, or counts it as a duplicate, or returns why it must be set aside."""
        if not message.device_id:
            return "no device is named, by the message or by its transport"
        try:
            if type(message) is Position and not self.received.retained and message.lat_deg is not None:
                return self._position(message)
            codec.encode(message)
            row = self.books.row(message.device_id)
        except UNSTORABLE as e:
            return f"cannot be stored: {e}"
        self._keep(message, STATE_ONLY)
        self._heard(row).state_only += 1
        return None

    def _position(self, position: Position) -> str | None:
        if position.lon_deg is None or position.lat_deg is None:
            return "a latitude without a longitude"
        if position.time_ms is None:
            return "a fix without its time"
        if not YEAR_1_MS <= position.time_ms <= YEAR_9999_MS:
            return f"fix time {position.time_ms} ms lies outside the years 1 to 9999"
        if not (-90 <= position.lat_deg <= 90 and -180 <= position.lon_deg <= 180):
            return f"latitude {position.lat_deg}, longitude {position.lon_deg} is not on the earth"
        row = self.books.row(position.device_id)
        ordinal = self.books.place(row, position, self.received.received_ms)
        if ordinal == dedupe.TOO_MANY:
            return (
                f"more than {dedupe.MAX_ORDINALS} different fixes of one instant: does the device's clock stand still?"
            )
        counts = self._heard(row)
        if ordinal == dedupe.DUPLICATE:
            counts.duplicate += 1
            self.duplicates += 1
            self.echo_of = position.device_id
        else:
            counts.journaled += 1
            self._keep(position, ordinal)
        return None

    def _keep(self, message: Record, ordinal: int) -> None:
        self.kept.append(message)
        self.ordinals.append(ordinal)

    def _heard(self, row: int) -> Counts:
        account = self.books.account(row, self.received.source)
        account.counts.received += 1
        # A retained message is the broker's memory, and no sign of life.
        if not self.received.retained:
            heard_ms = account.last_heard_ms
            account.last_heard_ms = (
                self.received.received_ms if heard_ms is None else max(heard_ms, self.received.received_ms)
            )
        return account.counts

    def _item(self) -> FrameItem:
        received = self.received
        return FrameItem(
            source=received.source,
            protocol=received.protocol,
            received_ms=received.received_ms,
            device_id=_text(received.device_id),
            raw=received.frame.raw,
            messages=tuple(self.kept),
            ordinals=tuple(self.ordinals),
            duplicates=self.duplicates,
            retained=received.retained,
            topic=_text(received.topic),
        )
