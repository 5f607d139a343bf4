"""Sentences into epochs: which of them are about one fix, and when the last of them has come.

An epoch is closed by the first of three: everything the device is known to say in an epoch has been said; a sentence of
another time comes; the line is silent. What comes for a closed epoch after all is kept as bytes, says nothing any more,
and is waited for from then on.
"""

from __future__ import annotations

from gateway.protocols.nmea.clock import DAY_MS
from gateway.protocols.nmea.fields import Statement

MAX_EPOCH_BYTES = 16 * 1024
"""Bursts are 400 bytes as a rule; the longest of a real receiver was 2,005. A frozen receiver repeats itself for ever."""

SAME_TIME_MS = 10
"""Times closer than this are one (.000, .00 and .0 beside each other): under half the period of a 50 Hz receiver."""

MEMORY_EPOCHS = 16
"""A kind of sentence that did not come for so many epochs is not waited for."""

MIN_LEARNT_EPOCHS = 3
MIN_SILENCE_MS = 50
DEFAULT_PERIOD_MS = 1_000
MAX_PERIOD_MS = 10_000


def time_apart_ms(first_ms: int, second_ms: int) -> int:
    """How much later the second time of day is, in [-12 h, 12 h)."""
    return (second_ms - first_ms + DAY_MS // 2) % DAY_MS - DAY_MS // 2


def same_time(first_ms: int, second_ms: int) -> bool:
    return abs(time_apart_ms(first_ms, second_ms)) < SAME_TIME_MS


class Epoch:
    """What was said about one instant: statements in order, and the bytes of all sentences since the last epoch."""

    __slots__ = ("counts", "raw", "received_ms", "statements", "tod_ms")

    def __init__(self, received_ms: int) -> None:
        self.received_ms = received_ms
        self.tod_ms: int | None = None
        self.statements: list[Statement] = []
        self.counts: dict[bytes, int] = {}
        self.raw = b""

    def add(self, address: bytes, said: Statement) -> int:
        """How often this address has spoken in the epoch."""
        self.statements.append(said)
        if self.tod_ms is None and said.role != "other":
            self.tod_ms = said.tod_ms
        count = self.counts[address] = self.counts.get(address, 0) + 1
        return count

    def ends_with(self, address: bytes, said: Statement) -> bool:
        """Whether the statement is about a later (or another) fix than this epoch's."""
        if said.role == "other":
            return False
        if said.tod_ms is None or self.tod_ms is None:  # a receiver without time says each thing once in a burst
            found_time = said.tod_ms is not None and any(s.fixed is False for s in self.statements)
            return said.role != "error" and (address in self.counts or found_time)
        if same_time(self.tod_ms, said.tod_ms):
            return False
        if said.role == "error":
            return time_apart_ms(self.tod_ms, said.tod_ms) > 0
        return said.role == "fix" or not self._stands_at(said)

    def _stands_at(self, said: Statement) -> bool:
        """Some receivers and multiplexers put the next second on the GLL of a position already stated."""
        return any(other.role == "fix" and same_place(said, other) for other in self.statements)


def same_place(one: Statement, other: Statement) -> bool:
    """Whether two statements differ by no more than their rounding, given their decimals of a minute."""
    if one.lat_deg is None or one.lon_deg is None or other.lat_deg is None or other.lon_deg is None:
        return False
    slack_deg = 10.0 ** -min(one.decimals, other.decimals) / 60
    return bool(abs(one.lat_deg - other.lat_deg) <= slack_deg and abs(one.lon_deg - other.lon_deg) <= slack_deg)


class Habits:
    """What a device says in each epoch, how often, and its period."""

    def __init__(self) -> None:
        self.expected = 0
        """How many sentences complete an epoch; 0 while that is not known."""
        self.per_address: dict[bytes, int] = {}
        self.opens_with = b""
        self.period_ms = DEFAULT_PERIOD_MS
        self._epochs = 0
        self._last_met: dict[bytes, int] = {}

    def learn(self, epoch: Epoch, last_tod_ms: int | None) -> None:
        """Take in a closed epoch."""
        self._epochs += 1
        if last_tod_ms is not None and epoch.tod_ms is not None:
            step_ms = time_apart_ms(last_tod_ms, epoch.tod_ms)
            if 0 < step_ms <= MAX_PERIOD_MS:
                self.period_ms = step_ms
        if self._epochs == 1:
            return  # we came into the middle of it
        for address, count in epoch.counts.items():
            if count >= self.per_address.get(address, 0):
                self.per_address[address] = count
                self._last_met[address] = self._epochs
        self.opens_with = next(iter(epoch.counts))
        self._settle()

    def missed(self, address: bytes) -> None:
        """It spoke once more than expected, after the epoch was closed."""
        self.per_address[address] = self.per_address.get(address, 0) + 1
        self._last_met[address] = self._epochs
        self._settle()

    def _settle(self) -> None:
        if self._epochs % MEMORY_EPOCHS == 0:
            oldest = self._epochs - MEMORY_EPOCHS
            self._last_met = {address: met for address, met in self._last_met.items() if met > oldest}
            self.per_address = {address: self.per_address[address] for address in self._last_met}
        self.expected = sum(self.per_address.values()) if self._epochs >= MIN_LEARNT_EPOCHS else 0

    @property
    def silence_ms(self) -> int:
        """A gap on the line that no burst has."""
        return max(MIN_SILENCE_MS, self.period_ms // 4)


class Assembler:
    """Collects sentences; hands out epochs, each once. `take` wants every sentence of the line, in order."""

    def __init__(self) -> None:
        self.habits = Habits()
        self._epoch: Epoch | None = None
        self._heard = 0
        self._raw: list[bytes] = []
        self._raw_bytes = 0
        self._closed_tod_ms: int | None = None
        self._burst_goes_on = False
        """The last epoch was closed because it was complete, and the line has not been silent since."""

    def take(self, address: bytes, said: Statement | None, raw: bytes, received_ms: int) -> list[Epoch]:
        """The epochs that the sentence completes: the one before it, and perhaps its own."""
        closed: list[Epoch] = []
        if said is not None and self._is_late(address, said):
            self.habits.missed(address)
            said = None
        if said is not None and self._epoch is not None and self._epoch.ends_with(address, said):
            self._close(closed)
        self._raw.append(raw)
        self._raw_bytes += len(raw)
        if said is not None:
            self._add(address, said, received_ms, closed)
        if self._raw_bytes > MAX_EPOCH_BYTES:
            self._close(closed, received_ms)
        return closed

    def silence(self, received_ms: int) -> list[Epoch]:
        """The line is silent, or over: nothing more comes for what is open."""
        closed: list[Epoch] = []
        if self._raw:
            self._close(closed, received_ms)
        self._burst_goes_on = False
        return closed

    def _add(self, address: bytes, said: Statement, received_ms: int, closed: list[Epoch]) -> None:
        epoch = self._epoch
        if epoch is None:
            epoch = self._epoch = Epoch(received_ms)
            self._heard = 0
            self._burst_goes_on = False
        if epoch.add(address, said) <= self.habits.per_address.get(address, 0):
            self._heard += 1
        if self._heard == self.habits.expected and self._heard:
            self._close(closed)
            self._burst_goes_on = True

    def _is_late(self, address: bytes, said: Statement) -> bool:
        if said.tod_ms is not None and said.role != "other":
            if self._closed_tod_ms is None or not same_time(self._closed_tod_ms, said.tod_ms):
                return False
            return self._epoch is None or self._epoch.tod_ms is None or not same_time(self._epoch.tod_ms, said.tod_ms)
        return self._burst_goes_on and said.role == "other" and address != self.habits.opens_with

    def _close(self, closed: list[Epoch], received_ms: int = 0) -> None:
        epoch = self._epoch or Epoch(received_ms)
        epoch.raw = b"".join(self._raw)
        self._raw.clear()
        self._raw_bytes = 0
        if self._epoch is not None:
            self.habits.learn(epoch, self._closed_tod_ms)
            self._closed_tod_ms = epoch.tod_ms if epoch.tod_ms is not None else self._closed_tod_ms
        self._epoch = None
        closed.append(epoch)
