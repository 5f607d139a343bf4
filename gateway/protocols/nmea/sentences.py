"""Sentences into what they state. One small reader per type; types not listed are recognised, and of no interest here.

pynmea2 is not in this path: parsing alone takes it twice as long as this takes with epochs and all, and it rejects types it
does not know, reads an empty position as 0.0, 0.0, calls an RMC with navigational status V (which u-blox always sends)
invalid, and hands back the raw string where a conversion fails. It writes the sentences of `encode`, and the tests hold
these readers against its parser.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Literal, TypeAlias

from msgspec import Struct

from gateway.model import FixKind
from gateway.protocols.nmea.clock import day_number, full_year
from gateway.protocols.nmea.grammar import (
    ANY,
    COUNT,
    DATE,
    EAST_WEST,
    METRES,
    NUMBER,
    PLACE,
    STATUS,
    TIME,
    BadSentenceError,
    Grammar,
    one_of,
)

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

# ------------------------------------------------------------------------------------------------------ fields


def _number(value: bytes) -> float | None:
    return float(value) if value else None


# A burst says its time and place in three or four sentences with the same characters: hence the small caches.
@functools.lru_cache(maxsize=256)
def _tod_ms(value: bytes) -> int | None:
    if not value:
        return None
    return int(value[:2]) * 3_600_000 + int(value[2:4]) * 60_000 + round(float(value[4:]) * 1000)


@functools.lru_cache(maxsize=256)
def _day(value: bytes) -> int | None:
    if len(value) != 6 or not value.isdigit():
        return None
    return day_number(full_year(int(value[4:])), int(value[2:4]), int(value[:2]))


def _hdop(value: bytes) -> float | None:
    """Receivers fill in 0, 50 or 99.99 for "none"."""
    hdop = float(value) if value else 0.0
    return hdop if 0.0 < hdop < 50.0 else None


def _course(value: bytes) -> float | None:
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


def _place(statement: Statement, lat: bytes, ns: bytes, lon: bytes, ew: bytes) -> Statement:
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


def _scaled(value: bytes, factor: float) -> float | None:
    return float(value) * factor if value else None


_MODES: dict[bytes, tuple[bool | None, FixKind | None]] = {
    b"": (None, None),  # before NMEA 2.3
    b"N": (False, None),
    b"E": (True, "estimated"),
    b"M": (True, "manual"),
    b"S": (True, "simulated"),
}


def _mode(value: bytes) -> tuple[bool | None, FixKind | None]:
    """The mode indicator of NMEA 2.3 and later; letters not listed are kinds of GNSS fix."""
    return _MODES.get(value, (True, None))


# ------------------------------------------------------------------------------------------------------ position

_MODE = one_of("A-Z")
_RMC = Grammar(
    "RMC",
    7,
    ("time", TIME),
    ("status", STATUS),
    *PLACE,
    ("speed", NUMBER),
    ("course", NUMBER),
    ("date", DATE),
    ("variation", NUMBER),
    ("variation E/W", EAST_WEST),
    ("mode", _MODE),
)


def _rmc(_: bytes, data: bytes) -> Statement:
    time, status, lat, ns, lon, ew, speed, course, date, _v, _vew, mode = _RMC.split(data)
    fixed, fix = _mode(mode)
    # The navigational status that may follow (NMEA 4.1) says nothing about the fix.
    said = Statement("RMC", "fix", _tod_ms(time), fixed=status in (b"A", b"D") and fixed is not False, fix=fix)
    if said.fixed:  # without a fix the date is the firmware's invention
        said.day = _day(date)
        said.speed_mps = _scaled(speed, MPS_PER_KNOT)
        said.course_deg = _course(course)
    return _place(said, lat, ns, lon, ew)


_GGA = Grammar(
    "GGA",
    12,
    ("time", TIME),
    *PLACE,
    ("quality", rb"\d?"),
    ("satellites", COUNT),
    ("HDOP", NUMBER),
    ("altitude", NUMBER),
    ("unit", METRES),
    ("separation", NUMBER),
    ("unit", METRES),
)
_QUALITIES: dict[int, FixKind] = {6: "estimated", 7: "manual", 8: "simulated"}


def _gga(_: bytes, data: bytes) -> Statement:
    time, lat, ns, lon, ew, quality, satellites, hdop, altitude, _u, separation, _v = _GGA.split(data)
    said = Statement("GGA", "fix", _tod_ms(time), hdop=_hdop(hdop))
    if quality:  # an empty one claims nothing
        said.quality = int(quality)
        said.fixed, said.fix = said.quality > 0, _QUALITIES.get(said.quality)
    if satellites:
        said.satellites = int(satellites)
    said.altitude_m, said.separation_m = _number(altitude), _number(separation)
    return _place(said, lat, ns, lon, ew)


_GNS = Grammar(
    "GNS",
    9,
    ("time", TIME),
    *PLACE,
    ("mode", rb"[A-Z]*"),
    ("satellites", COUNT),
    ("HDOP", NUMBER),
    ("altitude", NUMBER),
    ("separation", NUMBER),
)


def _gns(_: bytes, data: bytes) -> Statement:
    time, lat, ns, lon, ew, modes, satellites, hdop, altitude, separation = _GNS.split(data)
    said = Statement("GNS", "fix", _tod_ms(time), hdop=_hdop(hdop))
    if modes:  # one letter per satellite system
        fixes = {modes[i : i + 1] for i in range(len(modes))} - {b"N"}
        said.fixed, said.fix = bool(fixes), _mode(fixes.pop())[1] if len(fixes) == 1 else None
    if satellites:
        said.satellites = int(satellites)
    said.altitude_m, said.separation_m = _number(altitude), _number(separation)
    return _place(said, lat, ns, lon, ew)


_GLL = Grammar("GLL", 4, *PLACE, ("time", TIME), ("status", one_of("AVDN")), ("mode", _MODE))  # N,V: Magellan's swap


def _gll(_: bytes, data: bytes) -> Statement:
    lat, ns, lon, ew, time, status, mode = _GLL.split(data)
    fixed, fix = _mode(mode)
    claimed = None if not status else status in b"AD" and fixed is not False
    return _place(Statement("GLL", "gll", _tod_ms(time), fixed=claimed, fix=fix), lat, ns, lon, ew)


# ------------------------------------------------------------------------------------------- what goes with a position

_VTG = Grammar(
    "VTG",
    4,
    ("course", NUMBER),
    ("T", one_of("T")),
    ("magnetic course", NUMBER),
    ("M", one_of("M")),
    ("speed in knots", NUMBER),
    ("N", one_of("N")),
    ("speed in km/h", NUMBER),
    ("K", one_of("K")),
    ("mode", _MODE),
)


def _vtg(_: bytes, data: bytes) -> Statement:
    course, _t, _m, _mm, knots, _n, kmh, _k, mode = _VTG.split(data)
    if mode == b"N":
        return Statement("VTG")
    speed = _scaled(knots, MPS_PER_KNOT)
    if speed is None:
        speed = _scaled(kmh, MPS_PER_KMH)
    return Statement("VTG", speed_mps=speed, course_deg=_course(course))


_GSA = Grammar(
    "GSA",
    17,
    ("selection", one_of("AM")),
    ("mode", rb"[123]?"),
    *(("satellite", rb"\d{0,3}"),) * 12,
    *(("DOP", NUMBER),) * 3,
)


def _gsa(address: bytes, data: bytes) -> Statement:
    _GSA.split(data)
    fields = data.split(b",")
    # Twelve slots of satellites as a rule; CH-4701 sends 24. NMEA 4.1 puts the system's id after the DOPs.
    has_system = len(fields) % 12 == 6
    dops = fields[-4:-1] if has_system else fields[-3:]
    system = fields[-1] if has_system and fields[-1] else address
    used = frozenset([system + slot for slot in fields[2 : -4 if has_system else -3] if slot])
    return Statement("GSA", dimension=int(fields[1]) if fields[1] else None, used=used, hdop=_hdop(dops[1]))


_GST = Grammar(
    "GST",
    7,
    ("time", TIME),
    ("RMS", NUMBER),
    ("major axis", NUMBER),
    ("minor axis", NUMBER),
    ("orientation", NUMBER),
    ("latitude error", NUMBER),
    ("longitude error", NUMBER),
)


def _errors(kind: str, time: bytes, lat_error: bytes, lon_error: bytes) -> Statement:
    """Two standard deviations in metres."""
    accuracy = DRMS_TO_68 * math.hypot(float(lat_error), float(lon_error)) if lat_error and lon_error else None
    return Statement(kind, "error", _tod_ms(time), accuracy_m=accuracy)


def _gst(_: bytes, data: bytes) -> Statement:
    time, *_rest, lat_error, lon_error = _GST.split(data)
    return _errors("GST", time, lat_error, lon_error)


_GBS = Grammar(
    "GBS",
    6,
    ("time", TIME),
    ("latitude error", NUMBER),
    ("longitude error", NUMBER),
    *(("altitude error or satellite", NUMBER),) * 3,
)


def _gbs(_: bytes, data: bytes) -> Statement:
    time, lat_error, lon_error, *_rest = _GBS.split(data)
    return _errors("GBS", time, lat_error, lon_error)


_ZDA = Grammar("ZDA", 4, ("time", TIME), ("day", rb"\d{0,2}"), ("month", rb"\d{0,2}"), ("year", rb"\d{0,4}"))


def _zda(_: bytes, data: bytes) -> Statement:
    time, day, month, year = _ZDA.split(data)
    number = day_number(int(year), int(month), int(day)) if day and month and year else None
    return Statement("ZDA", tod_ms=_tod_ms(time), day=number)


_DTM = Grammar("DTM", 1, ("datum", ANY))


def _dtm(_: bytes, data: bytes) -> Statement:
    return Statement("DTM", datum=_DTM.split(data)[0].decode())


# ------------------------------------------------------------------------------------------------------ proprietary

_PUBX_00 = Grammar(
    "PUBX,00",
    18,
    ("time", TIME),
    *PLACE,
    ("height", NUMBER),
    ("status", rb"[A-Z0-9]{0,2}"),
    ("horizontal accuracy", NUMBER),
    ("vertical accuracy", NUMBER),
    ("speed", NUMBER),
    ("course", NUMBER),
    ("vertical speed", NUMBER),
    ("age", NUMBER),
    ("HDOP", NUMBER),
    ("VDOP", NUMBER),
    ("TDOP", NUMBER),
    ("satellites", COUNT),
    ("reserved", ANY),
)
_PUBX_STATUS: dict[bytes, tuple[bool, FixKind | None]] = {
    b"DR": (True, "estimated"),
    b"RK": (True, None),
    b"G2": (True, "2d"),
    b"D2": (True, "2d"),
    b"G3": (True, "3d"),
    b"D3": (True, "3d"),
}


def _pubx_00(_: bytes, data: bytes) -> Statement:
    """u-blox receiver description, PUBX 00. The height is above the ellipsoid, so it is no altitude."""
    time, lat, ns, lon, ew, _h, status, accuracy, _va, kmh, course, _vs, _age, hdop, _vd, _td, satellites, _r = (
        _PUBX_00.split(data)
    )
    fixed, fix = _PUBX_STATUS.get(status, (False, None))
    said = Statement("PUBX,00", "fix", _tod_ms(time), fixed=fixed, fix=fix, hdop=_hdop(hdop))
    if satellites:
        said.satellites = int(satellites)
    if fixed:
        said.accuracy_m = _number(accuracy)
        said.speed_mps = _scaled(kmh, MPS_PER_KMH)
        said.course_deg = _course(course)
    return _place(said, lat, ns, lon, ew)


_PUBX_04 = Grammar("PUBX,04", 2, ("time", TIME), ("date", DATE))


def _pubx_04(_: bytes, data: bytes) -> Statement:
    time, date = _PUBX_04.split(data)
    return Statement("PUBX,04", tod_ms=_tod_ms(time), day=_day(date))


_PGRME = Grammar("PGRME", 6, *(("error", NUMBER), ("unit", METRES)) * 3)


def _pgrme(_: bytes, data: bytes) -> Statement:
    """Garmin's estimated error, a 50 % radius; a 0 is what stands for "not known"."""
    accuracy = _number(_PGRME.split(data)[0])
    return Statement("PGRME", accuracy_m=accuracy * CEP_TO_68 if accuracy else None)


_PGRMF = Grammar(
    "PGRMF",
    13,
    ("week", COUNT),
    ("seconds", NUMBER),
    ("date", DATE),
    ("time", TIME),
    ("leap seconds", NUMBER),
    *PLACE,
    ("mode", one_of("AM")),
    ("fix", rb"[012]?"),
    ("speed", NUMBER),
    ("course", NUMBER),
)


def _pgrmf(_: bytes, data: bytes) -> Statement:
    _w, _s, date, time, _leap, lat, ns, lon, ew, _m, fix, kmh, course = _PGRMF.split(data)
    said = Statement("PGRMF", "fix", _tod_ms(time), fixed=fix in (b"1", b"2"))
    if said.fixed:
        said.fix = "2d" if fix == b"1" else "3d"
        said.day = _day(date)
        said.speed_mps, said.course_deg = _scaled(kmh, MPS_PER_KMH), _course(course)
    return _place(said, lat, ns, lon, ew)


_PGRMM = Grammar("PGRMM", 1, ("datum", ANY))


def _pgrmm(_: bytes, data: bytes) -> Statement:
    return Statement("PGRMM", datum=_PGRMM.split(data)[0].decode())


_PSRFEPE = Grammar("PSRFEPE", 4, ("time", TIME), ("status", STATUS), ("HDOP", NUMBER), ("horizontal error", NUMBER))


def _psrfepe(_: bytes, data: bytes) -> Statement:
    time, status, hdop, error = _PSRFEPE.split(data)
    accuracy = _number(error) if status in (b"A", b"D") else None
    return Statement("PSRFEPE", "error", _tod_ms(time), hdop=_hdop(hdop), accuracy_m=accuracy or None)


_PSTI_030 = Grammar(
    "PSTI,030",
    12,
    ("time", TIME),
    ("status", STATUS),
    *PLACE,
    ("altitude", NUMBER),
    ("east velocity", NUMBER),
    ("north velocity", NUMBER),
    ("up velocity", NUMBER),
    ("date", DATE),
    ("mode", _MODE),
)


def _psti_030(_: bytes, data: bytes) -> Statement:
    """SkyTraq recommended minimum, 3D: velocities east and north in m/s."""
    time, status, lat, ns, lon, ew, altitude, east, north, _up, date, mode = _PSTI_030.split(data)
    fixed, fix = _mode(mode)
    said = Statement("PSTI,030", "fix", _tod_ms(time), fixed=status in (b"A", b"D") and fixed is not False, fix=fix)
    if said.fixed:
        said.day, said.altitude_m = _day(date), _number(altitude)
        if east and north:
            said.speed_mps = math.hypot(float(east), float(north))
    return _place(said, lat, ns, lon, ew)


_PASHR_POS = Grammar(
    "PASHR,POS",
    17,
    ("mode", COUNT),
    ("satellites", COUNT),
    ("time", TIME),
    *PLACE,
    ("height", NUMBER),
    ("reserved", ANY),
    ("course", NUMBER),
    ("speed", NUMBER),
    ("vertical speed", NUMBER),
    ("PDOP", NUMBER),
    ("HDOP", NUMBER),
    ("VDOP", NUMBER),
    ("TDOP", NUMBER),
    ("firmware", ANY),
)


def _pashr_pos(_: bytes, data: bytes) -> Statement:
    """Ashtech position; the height is above the ellipsoid. Without a fix its position is empty."""
    _m, satellites, time, lat, ns, lon, ew, _h, _r, course, speed, _vs, _pd, hdop, *_rest = _PASHR_POS.split(data)
    said = Statement("PASHR,POS", "fix", _tod_ms(time), hdop=_hdop(hdop), fixed=bool(lat and lon))
    if satellites:
        said.satellites = int(satellites)
    if said.fixed:
        said.speed_mps, said.course_deg = _scaled(speed, MPS_PER_KNOT), _course(course)
    return _place(said, lat, ns, lon, ew)


# ------------------------------------------------------------------------------------------------------ dispatch

_STANDARD: dict[bytes, Reader] = {
    b"RMC": _rmc,
    b"GGA": _gga,
    b"GNS": _gns,
    b"GLL": _gll,
    b"VTG": _vtg,
    b"GSA": _gsa,
    b"GST": _gst,
    b"GBS": _gbs,
    b"ZDA": _zda,
    b"DTM": _dtm,
}
_PROPRIETARY: dict[bytes, Reader] = {
    b"PUBX,00": _pubx_00,
    b"PUBX,04": _pubx_04,
    b"PGRME": _pgrme,
    b"PGRMF": _pgrmf,
    b"PGRMM": _pgrmm,
    b"PSRFEPE": _psrfepe,
    b"PSTI,030": _psti_030,
    b"PASHR,POS": _pashr_pos,
}
_HAS_SUBTYPE = frozenset(name.split(b",")[0] for name in _PROPRIETARY if b"," in name)


def address_of(text: bytes) -> bytes:
    """What names the sentence: talker and type, or the maker's name for it (with its number where there are several)."""
    if text[5:6] == b"," and not text.startswith(b"P"):
        return text[:5]
    name, _, rest = text.partition(b",")
    if name in _HAS_SUBTYPE and rest:
        return name + b"," + rest.partition(b",")[0]
    return name


@functools.lru_cache(maxsize=256)
def reader_of(address: bytes) -> Reader | None:
    """What reads sentences of that address; None if they can say nothing about a position."""
    if address.startswith(b"P"):  # before the rule of the last three letters: PGRMC is no RMC
        return _PROPRIETARY.get(address)
    return _STANDARD.get(address[2:]) if len(address) == 5 else None


def read(address: bytes, text: bytes) -> Statement | None:
    """What a sentence (address, fields; without `$` and checksum) states; None for types of no interest to positions.

    Raises BadSentenceError, which names the field.
    """
    reader = reader_of(address)
    return None if reader is None else reader(address, text[len(address) + 1 :])
