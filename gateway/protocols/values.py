"""Plain values out of what nobody checked: numbers that are numbers, times within the calendar, places on the earth."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any, Final

from gateway.model import Scalar

MAX_TIME_MS: Final = 253_402_300_799_999
"""The end of the year 9999: no clock says more, and RFC 3339 cannot."""
MAX_NUMBER: Final = 1e18
"""Beyond it nothing that a vehicle reports is a quantity."""

MAX_TEXT_CHARS: Final = 256
MAX_DEVICE_ID_CHARS: Final = 128
MAX_ATTRIBUTE_NAME_CHARS: Final = 64
MAX_ATTRIBUTES: Final = 512
"""Of one message. The largest configuration of a tracker has a few hundred elements."""
MAX_NUMBER_CHARS: Final = 64
"""A longer text is no number; nor is it worth the time to try, for each row of a batch that names it."""
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""NUL, which databases end a text at, and lone surrogates, which no encoding carries."""


class Unreadable(ValueError):
    """What a device wrote cannot be meant; the text says why, in plain words."""


def number(value: Any, name: str) -> float | None:
    """A finite number, also if it came as text; None of null. Unreadable for anything else."""
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= MAX_NUMBER_CHARS and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_NUMBER:
        raise Unreadable(f"{name} is {shown(value)}, not a number")
    return value


def text(value: Any) -> str | None:
    """A text that is not empty, cut where none is longer, without what cannot be stored; None of anything else."""
    return _UNSTORABLE.sub("\ufffd", value[:MAX_TEXT_CHARS]) if isinstance(value, str) and value else None


def is_identifier(value: str) -> bool:
    """Whether a text can name a device. One that would have to be altered cannot: it might become another's name."""
    return 0 < len(value) <= MAX_DEVICE_ID_CHARS and not _UNSTORABLE.search(value)


def is_attribute_name(value: str) -> bool:
    return 0 < len(value) <= MAX_ATTRIBUTE_NAME_CHARS and not _UNSTORABLE.search(value)


def bounded(attributes: dict[str, Scalar]) -> dict[str, Scalar]:
    """The first `MAX_ATTRIBUTES`, with the count of those beyond it as `attributes_left_out`."""
    beyond = len(attributes) - MAX_ATTRIBUTES
    if beyond <= 0:
        return attributes
    return {**dict(itertools.islice(attributes.items(), MAX_ATTRIBUTES)), "attributes_left_out": beyond}


def scalar(value: Any) -> Scalar | None:
    """What may stand as an attribute as it is: a flag, a finite number, a text. None of anything else."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bool):
        return value
    return value if isinstance(value, int | float) and abs(value) <= MAX_NUMBER else None


def shown(value: Any) -> str:
    """A value in a reason: its beginning. Arrays and objects are not written out; they may be huge, and deep."""
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    text = repr(value[:40] if isinstance(value, str) else value)
    return text if len(text) <= 40 else text[:37] + "…"


def whole(value: Any, name: str) -> int | None:
    """A number without a fraction, or None of null."""
    found = number(value, name)
    if found is None:
        return None
    if found != int(found):
        raise Unreadable(f"{name} is {shown(value)}, not a whole number")
    return int(found)


def count(value: Any, name: str) -> int | None:
    """As `whole`; None of less than nothing, which devices write for "not known"."""
    found = whole(value, name)
    return None if found is None or found < 0 else found


def time_ms(value: Any, name: str, per_second: int) -> int | None:
    """Epoch time in units of which a second has `per_second` (1, 1000), as milliseconds."""
    found = number(value, name)
    if found is None:
        return None
    ms = found if per_second == 1000 else found * 1000 / per_second
    if not 0 <= ms <= MAX_TIME_MS:
        raise Unreadable(f"{name} is {shown(value)}, no time between the years 1970 and 9999")
    return round(ms)


def not_negative(value: float | None) -> float | None:
    """Devices write -1 for "not known" where a quantity cannot be negative."""
    return None if value is None or value < 0 else float(value)


def course_deg(value: float | None) -> float | None:
    return None if value is None or not 0 <= value <= 360 else math.fmod(value, 360.0)


def place(lat_deg: float | None, lon_deg: float | None) -> tuple[float, float] | None:
    """A place on the earth. None where there is no fix: null, or 0° 0°. Unreadable for a place off the earth."""
    if lat_deg is None or lon_deg is None or (lat_deg == 0 and lon_deg == 0):
        return None
    if not (-90 <= lat_deg <= 90 and -180 <= lon_deg <= 180):
        raise Unreadable(f"latitude {lat_deg}, longitude {lon_deg} is not on the earth")
    return float(lat_deg), float(lon_deg)
