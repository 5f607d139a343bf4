"""RFC 3339 outside, integer milliseconds inside."""

from __future__ import annotations

import datetime as dt

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MS = dt.timedelta(milliseconds=1)


def rfc3339(time_ms: int) -> str:
    """`2026-11-22T10:41:32.400Z`; years 1 to 9999, beyond them OverflowError."""
    return (_EPOCH + dt.timedelta(milliseconds=time_ms)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3].rjust(23, "0") + "Z"


def parse_rfc3339(text: str) -> int:
    """Milliseconds of an RFC 3339 instant. A time without zone is refused: it is nobody's time. Raises ValueError."""
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: write it with Z or an offset such as +01:00")
    return (moment - _EPOCH) // MS
