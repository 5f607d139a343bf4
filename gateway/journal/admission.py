"""What becomes of a batch: which records are journaled, which are known already, which are set aside, and the account."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from gateway.journal import codec, dedupe
from gateway.journal.records import Counts, Refused
from gateway.model import Command, FrameItem, Item, Login, Malformed, Position, Received, Reply, Status, Tick

Arrival = Received | Refused | Command | Tick
Record = Position | Login | Status
Outcome = int | str
"""An ordinal, STATE_ONLY or dedupe.DUPLICATE; or the reason why a record must be set aside."""

STATE_ONLY = -1
NOBODY = ""
"""Stands in the accounts for what no known device sent."""
YEAR_1_MS, YEAR_9999_MS = -62_135_596_800_000, 253_402_300_799_999
MAX_REASONS = 8
UNSTORABLE = (UnicodeEncodeError, OverflowError, TypeError, ValueError)
STUCK_CLOCK = f"more than {dedupe.MAX_ORDINALS} different fixes of one instant: does the device's clock stand still?"


class Account(Struct):
    """What a batch adds to the account of a device (a row of the table, 0: nobody) and source."""

    device: int
    source: str
    journaled: int = 0
    duplicate: int = 0
    quarantined: int = 0
    state_only: int = 0
    empty: int = 0
    last_heard_ms: int | None = None

    def counts(self) -> Counts:
        received = self.journaled + self.duplicate + self.quarantined + self.state_only
        return Counts(received, self.journaled, self.duplicate, self.quarantined, self.state_only, self.empty)


class SetAside(Struct, frozen=True):
    """A frame for the quarantine: `records` of it count as quarantined, in the account of `device`."""

    received: Received
    device_id: str | None
    reason: str
    records: int
    device: int


class Admission:
    """The books of one batch. `device_row` numbers a device (`create`: if need be, else 0 for an unknown one)."""

    def __init__(self, seen: dedupe.Seen, device_row: Callable[[str, bool], int]) -> None:
        self.items: list[Item] = []
        self.track: dict[tuple[int, int], list[codec.Fix]] = {}
        """(device, bucket) → its new fixes."""
        self.quarantine: list[SetAside] = []
        self._seen = seen
        self._device_row = device_row
        self._accounts: dict[tuple[str, str], Account] = {}
        self._echoes: dict[tuple[str, str, str, str | None], FrameItem] = {}

    @property
    def accounts(self) -> list[Account]:
        return list(self._accounts.values())

    def take(self, batch: Sequence[Arrival]) -> None:
        """Called once, with the whole batch."""
        for arrival in batch:
            if type(arrival) is Received:
                self._frame(arrival)
            elif isinstance(arrival, Refused):
                self._refuse(arrival)
            elif not isinstance(arrival, Received):
                self.items.append(arrival)
        self.items.extend(self._echoes.values())

    def _frame(self, received: Received) -> None:
        kept: list[Record] = []
        ordinals: list[int] = []
        reasons: list[str] = []
        duplicates = 0
        for message in received.frame.messages:
            outcome: Outcome
            if type(message) is Position:
                outcome = self._position(message, received)
            elif isinstance(message, Login | Status):
                outcome = self._state(message, received)
            elif isinstance(message, Malformed):
                outcome = message.reason
            else:
                continue  # a reply is ours, and no record
            if isinstance(outcome, str):
                reasons.append(outcome)
            elif outcome == dedupe.DUPLICATE:
                duplicates += 1
            else:
                assert not isinstance(message, Reply | Malformed)
                kept.append(message)
                ordinals.append(outcome)
        if kept:
            self.items.append(_item(received, kept, ordinals, duplicates))
        elif duplicates:
            self._echo(received, duplicates)
        if reasons:
            self._set_aside(received, reasons, len(reasons))
        elif not kept and not duplicates:
            self._account_of(_sender(received), received.source).empty += 1

    def _position(self, position: Position, received: Received) -> Outcome:
        if received.retained or position.lat_deg is None or position.lon_deg is None:
            return self._state(position, received)
        if not position.device_id:
            return "no device is named, by the message or by its transport"
        time_ms = position.time_ms
        if time_ms is None:
            return "a fix without its time"
        if not YEAR_1_MS <= time_ms <= YEAR_9999_MS:
            return f"fix time {time_ms} ms lies outside the years 1 to 9999"
        if not (-90 <= position.lat_deg <= 90 and -180 <= position.lon_deg <= 180):
            return f"latitude {position.lat_deg}, longitude {position.lon_deg} is not on the earth"
        try:
            digest = dedupe.digest_of(position)
        except UNSTORABLE as e:
            return f"cannot be stored: {e}"
        account = self._heard(position.device_id, received)
        bucket = time_ms // dedupe.BUCKET_MS
        ordinal = self._seen.place(account.device, bucket, time_ms, digest)
        if ordinal >= 0:
            account.journaled += 1
            fix = (position, received.received_ms, ordinal, digest)
            self.track.setdefault((account.device, bucket), []).append(fix)
        elif ordinal == dedupe.DUPLICATE:
            account.duplicate += 1
        else:
            return STUCK_CLOCK
        return ordinal

    def _state(self, message: Record, received: Received) -> Outcome:
        if not message.device_id:
            return "no device is named, by the message or by its transport"
        try:
            codec.encode(message)
        except UNSTORABLE as e:
            return f"cannot be stored: {e}"
        self._heard(message.device_id, received).state_only += 1
        return STATE_ONLY

    def _heard(self, device_id: str, received: Received) -> Account:
        """The account of a device that said something that counts; it becomes a known one."""
        account = self._accounts.get((device_id, received.source))
        if account is None:
            account = Account(self._device_row(device_id, True), received.source)
            self._accounts[(device_id, received.source)] = account
        # A retained message is the broker's memory, and no sign of life.
        heard_ms = account.last_heard_ms
        if not received.retained and (heard_ms is None or heard_ms < received.received_ms):
            account.last_heard_ms = received.received_ms
        return account

    def _account_of(self, device_id: str | None, source: str) -> Account:
        """The account of a device if it is known, else nobody's: strangers do not fill the tables."""
        row = self._device_row(device_id, False) if device_id else 0
        key = (device_id if device_id and row else NOBODY, source)
        return self._accounts.setdefault(key, Account(row, source))

    def _echo(self, received: Received, duplicates: int) -> None:
        """Duplicates say that the device is alive: one item per batch and device, however many came."""
        device_id = _sender(received) or NOBODY
        key = (received.source, received.protocol, device_id, received.topic)
        if before := self._echoes.get(key):
            duplicates += before.duplicates
        self._echoes[key] = FrameItem(
            source=received.source,
            protocol=received.protocol,
            received_ms=received.received_ms,
            device_id=device_id,
            raw=b"",
            messages=(),
            ordinals=(),
            duplicates=duplicates,
            topic=storable(received.topic),
        )

    def _refuse(self, refused: Refused) -> None:
        records = sum(not isinstance(m, Reply) for m in refused.received.frame.messages)
        self._set_aside(refused.received, [refused.reason], max(1, records))

    def _set_aside(self, received: Received, reasons: Sequence[str], records: int) -> None:
        device_id = _sender(received)
        account = self._account_of(device_id, received.source)
        account.quarantined += records
        reason = "; ".join(list(dict.fromkeys(reasons))[:MAX_REASONS])
        self.quarantine.append(SetAside(received, device_id, reason, records, account.device))


def storable(text: str | None) -> str | None:
    """Text as UTF-8 can hold it, whatever a device calls itself: half a surrogate pair is no character."""
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode()


def _sender(received: Received) -> str | None:
    named = (m.device_id for m in received.frame.messages if not isinstance(m, Reply) and m.device_id)
    return received.device_id or next(named, None)


def _item(received: Received, messages: list[Record], ordinals: list[int], duplicates: int) -> FrameItem:
    return FrameItem(
        source=received.source,
        protocol=received.protocol,
        received_ms=received.received_ms,
        device_id=storable(received.device_id),
        raw=received.frame.raw,
        messages=tuple(messages),
        ordinals=tuple(ordinals),
        duplicates=duplicates,
        retained=received.retained,
        topic=storable(received.topic),
    )
