"""Sentences that makers added: u-blox, Garmin, SiRF, SkyTraq, Ashtech. After their published descriptions."""

from __future__ import annotations

import math

from gateway.model import FixKind
from gateway.protocols.nmea.fields import (
    CEP_TO_68,
    MODE,
    MPS_PER_KMH,
    MPS_PER_KNOT,
    Reader,
    Statement,
    course_of,
    day_of,
    hdop_of,
    mode_of,
    number,
    place,
    scaled,
    tod_of,
)
from gateway.protocols.nmea.grammar import ANY, COUNT, DATE, METRES, NUMBER, PLACE, STATUS, TIME, Grammar, one_of

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
    said = Statement("PUBX,00", "fix", tod_of(time), fixed=fixed, fix=fix, hdop=hdop_of(hdop))
    if satellites:
        said.satellites = int(satellites)
    if fixed:
        said.accuracy_m = scaled(accuracy)
        said.speed_mps = scaled(kmh, MPS_PER_KMH)
        said.course_deg = course_of(course)
    return place(said, lat, ns, lon, ew)


_PUBX_04 = Grammar("PUBX,04", 2, ("time", TIME), ("date", DATE))


def _pubx_04(_: bytes, data: bytes) -> Statement:
    time, date = _PUBX_04.split(data)
    return Statement("PUBX,04", tod_ms=tod_of(time), day=day_of(date))


_PGRME = Grammar("PGRME", 6, *(("error", NUMBER), ("unit", METRES)) * 3)


def _pgrme(_: bytes, data: bytes) -> Statement:
    """Garmin's estimated error, a 50 % radius; a 0 is what stands for "not known"."""
    return Statement("PGRME", accuracy_m=scaled(_PGRME.split(data)[0], CEP_TO_68) or None)


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
    said = Statement("PGRMF", "fix", tod_of(time), fixed=fix in (b"1", b"2"))
    if said.fixed:
        said.fix = "2d" if fix == b"1" else "3d"
        said.day = day_of(date)
        said.speed_mps, said.course_deg = scaled(kmh, MPS_PER_KMH), course_of(course)
    return place(said, lat, ns, lon, ew)


_PGRMM = Grammar("PGRMM", 1, ("datum", ANY))


def _pgrmm(_: bytes, data: bytes) -> Statement:
    return Statement("PGRMM", datum=_PGRMM.split(data)[0].decode())


_PSRFEPE = Grammar("PSRFEPE", 4, ("time", TIME), ("status", STATUS), ("HDOP", NUMBER), ("horizontal error", NUMBER))


def _psrfepe(_: bytes, data: bytes) -> Statement:
    time, status, hdop, error = _PSRFEPE.split(data)
    accuracy = scaled(error) if status in (b"A", b"D") else None
    return Statement("PSRFEPE", "error", tod_of(time), hdop=hdop_of(hdop), accuracy_m=accuracy or None)


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
    ("mode", MODE),
)


def _psti_030(_: bytes, data: bytes) -> Statement:
    """SkyTraq recommended minimum, 3D: velocities east and north in m/s."""
    time, status, lat, ns, lon, ew, altitude, east, north, _up, date, mode = _PSTI_030.split(data)
    fixed, fix = mode_of(mode)
    said = Statement("PSTI,030", "fix", tod_of(time), fixed=status in (b"A", b"D") and fixed is not False, fix=fix)
    if said.fixed:
        said.day, said.altitude_m = day_of(date), number(altitude)
        if east and north:
            said.speed_mps = math.hypot(float(east), float(north))
    return place(said, lat, ns, lon, ew)


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
    said = Statement("PASHR,POS", "fix", tod_of(time), hdop=hdop_of(hdop), fixed=bool(lat and lon))
    if satellites:
        said.satellites = int(satellites)
    if said.fixed:
        said.speed_mps, said.course_deg = scaled(speed, MPS_PER_KNOT), course_of(course)
    return place(said, lat, ns, lon, ew)


PROPRIETARY: dict[bytes, Reader] = {
    b"PUBX,00": _pubx_00,
    b"PUBX,04": _pubx_04,
    b"PGRME": _pgrme,
    b"PGRMF": _pgrmf,
    b"PGRMM": _pgrmm,
    b"PSRFEPE": _psrfepe,
    b"PSTI,030": _psti_030,
    b"PASHR,POS": _pashr_pos,
}
