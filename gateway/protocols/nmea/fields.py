"""What one sentence states, and the fields that many of them share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, TypeAlias

from msgspec import Struct

from gateway.model import FixKind
from gateway.protocols.nmea.clock import day_number, full_year
from gateway.protocols.nmea.grammar import BadSentenceError, one_of

MODE = one_of("A-Z")
MPS_PER_KNOT = 1852 / 3600
MPS_PER_KMH = 1 / 3.6

CEP_TO_68 = 1.283
"""Radius that holds 68 % over the one that holds 50 %, for a circular normal error: sqrt(ln 0.32 / ln 0.5)."""

DRMS_TO_68 = 1.068
"""The same over the root of the summed variances, when the error is circular; a little wide when it is not."""

Role: TypeAlias = Literal["fix", "gll", "error", "other"]
"""How a statement takes part in an epoch: `fix` opens and times it; `gll` does so if nothing better is there (its second is
off by one on some receivers); `error` opens it but belongs only to its own time; `other` joins what is open."""


class Statement(Struct, gc=False):
    """What one sentence says. None: it does not say. `tod_ms` is the time of day, 86,400,000 and more in a leap second.

    `fixed` is whether the sentence claims a fix, `fix` what kind beyond plain GNSS, `decimals` those of its latitude.
    `dimension` (1, 2, 3) and `used` (satellites by system and number) come from GSA.
    """

    kind: str
    role: Role = "other"
    tod_ms: int | None = None
    day: int | None = None
    lat_deg: float | None = None
    lon_deg: float | None = None
    decimals: int = 0
    fixed: bool | None = None
    fix: FixKind | None = None
    quality: int | None = None
    satellites: int | None = None
    hdop: float | None = None
    altitude_m: float | None = None
    separation_m: float | None = None
    speed_mps: float | None = None
    course_deg: float | None = None
    accuracy_m: float | None = None
    dimension: int | None = None
    used: frozenset[bytes] = frozenset()
    datum: str | None = None


Reader: TypeAlias = Callable[[bytes, bytes], Statement]
"""From (address, fields after it) to a statement; raises BadSentenceError."""


def number(value: bytes) -> float | None:
    return float(value) if value else None


# A burst says its time and place in three or four sentences with the same characters: hence the small caches.
@functools.lru_cache(maxsize=256)
def tod_of(value: bytes) -> int | None:
    if not value:
        return None
    return int(value[:2]) * 3_600_000 + int(value[2:4]) * 60_000 + round(float(value[4:]) * 1000)


@functools.lru_cache(maxsize=256)
def day_of(value: bytes) -> int | None:
    if len(value) != 6 or not value.isdigit():
        return None
    return day_number(full_year(int(value[4:])), int(value[2:4]), int(value[:2]))


def hdop_of(value: bytes) -> float | None:
    """Receivers fill in 0, 50 or 99.99 for "none"."""
    hdop = float(value) if value else 0.0
    return hdop if 0.0 < hdop < 50.0 else None


def course_of(value: bytes) -> float | None:
    if not value:
        return None
    course = float(value)
    if not 0.0 <= course <= 360.0:
        raise BadSentenceError(f"course {course} is not in 0 to 360 degrees")
    return course % 360.0


@functools.lru_cache(maxsize=256)
def _degrees(value: bytes, hemisphere: bytes, limit: int) -> float | None:
    """dddmm.mmmm to signed degrees; None beyond the globe."""
    degrees, minutes = divmod(float(value), 100.0)
    if minutes >= 60.0:
        return None
    angle = round(degrees + minutes / 60, 9)  # 0.1 mm; removes the binary dust of the subtraction
    if angle > limit:
        return None
    return -angle if hemisphere in b"SW" else angle


def place(statement: Statement, lat: bytes, ns: bytes, lon: bytes, ew: bytes) -> Statement:
    """Put the position in, if all four fields are there. Fillers are nothing without a fix and an error with one."""
    if not (lat and ns and lon and ew):
        return statement
    lat_deg, lon_deg = _degrees(lat, ns, 90), _degrees(lon, ew, 180)
    if lat_deg is None or lon_deg is None:
        if statement.fixed:
            where = b",".join((lat, ns, lon, ew)).decode()
            raise BadSentenceError(f"{statement.kind}: {where} is not on the globe, but is called a fix")
        return statement
    if lat_deg or lon_deg:  # exactly 0, 0 is what firmware sends when it has nothing
        point = lat.find(b".")
        statement.lat_deg, statement.lon_deg = lat_deg, lon_deg
        statement.decimals = len(lat) - point - 1 if point >= 0 else 0
    return statement


def scaled(value: bytes, factor: float = 1.0) -> float | None:
    """A quantity that cannot be negative, such as a speed; one that is, is not known."""
    found = float(value) * factor if value else -1.0
    return found if found >= 0 else None


_MODES: dict[bytes, tuple[bool | None, FixKind | None]] = {
    b"": (None, None),  # before NMEA 2.3
    b"N": (False, None),
    b"E": (True, "estimated"),
    b"M": (True, "manual"),
    b"S": (True, "simulated"),
}


def mode_of(value: bytes) -> tuple[bool | None, FixKind | None]:
    """The mode indicator of NMEA 2.3 and later; letters not listed are kinds of GNSS fix."""
    return _MODES.get(value, (True, None))
