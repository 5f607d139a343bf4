"""Which day a time of day belongs to, and which 1,024 weeks."""

from __future__ import annotations

import datetime as dt

SECOND_MS = 1_000
DAY_MS = 86_400 * SECOND_MS
ROLLOVER_MS = 1024 * 7 * DAY_MS
"""GPS counts weeks modulo 1,024; old firmware falls back by that much."""

ROLLOVER_WINDOW_MS = 7 * DAY_MS
"""A date is moved by rollovers only if it then lies this close to the reference. "Whatever is nearest" would move every
genuine old recording by 19.6 years; by chance a date meets the window once in 500."""

_UNIX_EPOCH = dt.date(1970, 1, 1)


def day_number(year: int, month: int, day: int) -> int | None:
    """Days since 1970 of a date after GPS began; None for one that does not exist or was filled in by the firmware."""
    if not 1980 <= year < 2100:
        return None
    try:
        return (dt.date(year, month, day) - _UNIX_EPOCH).days
    except ValueError:
        return None


def full_year(two_digits: int) -> int:
    """80 to 99 are the last century's (then mostly a week rollover), the rest this one's."""
    return two_digits + (1900 if two_digits >= 80 else 2000)


def nearest(tod_ms: int, reference_ms: int) -> int:
    """The instant with that time of day within 12 h of the reference."""
    return reference_ms + (tod_ms - reference_ms + DAY_MS // 2) % DAY_MS - DAY_MS // 2


class Clock:
    """Dates epochs: by the receiver's own date, else by the last one it gave, else by the reference."""

    def __init__(self) -> None:
        self._said_ms: int | None = None
        self._said_at_ms = 0

    def says(self, day: int, tod_ms: int, received_ms: int) -> None:
        """A receiver that has a fix states date and time."""
        self._said_ms = day * DAY_MS + tod_ms
        self._said_at_ms = received_ms

    def date(self, tod_ms: int, received_ms: int, reference_ms: int) -> tuple[int, tuple[str, ...]]:
        """UTC milliseconds of a time of day, and marks of what was done to find it."""
        if self._said_ms is None:
            return nearest(tod_ms, reference_ms), ("date_from_receipt",)
        time_ms = nearest(tod_ms, self._said_ms + received_ms - self._said_at_ms)
        self._said_ms, self._said_at_ms = time_ms, received_ms  # it follows days on which only times of day come
        rollovers = round((reference_ms - time_ms) / ROLLOVER_MS)
        corrected = time_ms + rollovers * ROLLOVER_MS
        if rollovers and abs(corrected - reference_ms) <= ROLLOVER_WINDOW_MS:
            return corrected, ("time_corrected",)
        return time_ms, ()
