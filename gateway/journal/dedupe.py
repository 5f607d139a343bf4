"""Which fixes are already known, exactly and for as long as the journal keeps them.

A fix is known by device, fix time and decoded content. The track table is the truth; what is here is a bounded cache of
it in units of one device and time bucket, each of them complete. So a restart, or a bucket that was let go, costs one
look into the table and changes no answer.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable

import msgspec

from gateway.model import Position

BUCKET_MS = 600_000
DIGEST_BYTES = 8
MAX_ORDINALS = 1_000
"""Different fixes of one device that may share one instant: a clock that stands still must not fill memory."""
DUPLICATE = -2
TOO_MANY = -3

_encode = msgspec.msgpack.Encoder(order="deterministic").encode

Load = Callable[[int, int], Iterable[tuple[int, int, bytes]]]
"""(device, bucket) → (fix time, ordinal, digest) of every fix the track table holds there, any order."""


def digest_of(position: Position) -> bytes:
    """What two fixes of one device and instant are told apart by: all that was decoded, save our own marks.

    Raises UnicodeEncodeError or OverflowError for content that nothing can store.
    """
    if position.marks:
        position = msgspec.structs.replace(position, marks=())
    return hashlib.blake2b(_encode(position), digest_size=DIGEST_BYTES).digest()


class Seen:
    """Gives every new fix its ordinal. `limit` bounds the fix times held in memory (about 150 bytes each)."""

    def __init__(self, load: Load, limit: int = 400_000) -> None:
        self._load = load
        self._limit = limit
        self._size = 0
        self._buckets: OrderedDict[tuple[int, int], dict[int, bytes]] = OrderedDict()

    def place(self, device: int, bucket: int, time_ms: int, digest: bytes) -> int:
        """The ordinal of a new fix (0, 1, … among different fixes of its instant), or DUPLICATE, or TOO_MANY.

        A fix that was given an ordinal counts as known from then on: see `forget`.
        """
        key = (device, bucket)
        times = self._buckets.get(key)
        if times is None:
            times = self._fill(key)
        else:
            self._buckets.move_to_end(key)
        known = times.get(time_ms)
        if known is None:
            times[time_ms] = digest
            self._size += 1
            return 0
        if _contains(known, digest):
            return DUPLICATE
        ordinal = len(known) // DIGEST_BYTES
        if ordinal >= MAX_ORDINALS:
            return TOO_MANY
        times[time_ms] = known + digest
        return ordinal

    def trim(self) -> None:
        """Lets go of the buckets used longest ago. Only between transactions: the table must hold what is let go."""
        while self._size > self._limit and self._buckets:
            self._size -= len(self._buckets.popitem(last=False)[1])

    def forget(self) -> None:
        """After a transaction that failed: what it placed is not in the table, so everything is looked up anew."""
        self._buckets.clear()
        self._size = 0

    def _fill(self, key: tuple[int, int]) -> dict[int, bytes]:
        times: dict[int, bytes] = {}
        for time_ms, ordinal, digest in sorted(self._load(*key)):
            # Retention may have taken a lower ordinal of this instant: its place stays taken, by no content.
            times[time_ms] = times.get(time_ms, b"").ljust(ordinal * DIGEST_BYTES, b"\0") + digest
        self._buckets[key] = times
        self._size += len(times)
        return times


def _contains(digests: bytes, digest: bytes) -> bool:
    at = digests.find(digest)
    while at % DIGEST_BYTES and at >= 0:
        at = digests.find(digest, at + 1)
    return at >= 0
