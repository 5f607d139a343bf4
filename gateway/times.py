"""RFC 3339 outside, integer milliseconds inside."""

from __future__ import annotations

import datetime as dt

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MS = dt.timedelta(milliseconds=1)
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999: what `rfc3339` can tell."""


def rfc3339(time_ms: int) -> str:
    """`2026-11-22T10:41:32.400Z`; years 1 to 9999, beyond them OverflowError."""
    return (_EPOCH + dt.timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_rfc3339(text: str) -> int:
    """Milliseconds of an RFC 3339 instant. Raises ValueError, also for a time without zone (it is nobody's time) and
    for one that its zone moves out of the calendar (it could not be told again).
    """
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: write it with Z or an offset such as +01:00")
    time_ms = (moment - _EPOCH) // MS
    if not FIRST_MS <= time_ms <= LAST_MS:
        raise ValueError(f"{text!r} lies outside the years 1 to 9999 of UTC")
    return time_ms
