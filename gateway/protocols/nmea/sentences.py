"""Sentences into what they state. One small reader per type; types not listed are recognised, and of no interest here.

pynmea2 is not in this path: parsing alone takes it 1.6 times what this takes with epochs and all, and it rejects types it
does not know, reads an empty position as 0.0, 0.0, calls an RMC with navigational status V (which u-blox always sends)
invalid, and hands back the raw string where a conversion fails. It writes the sentences of `encode`, and the tests hold
these readers against its parser.
"""

from __future__ import annotations

import functools
import math
import re

from gateway.model import FixKind
from gateway.protocols.nmea.clock import day_number
from gateway.protocols.nmea.fields import (
    DRMS_TO_68,
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
from gateway.protocols.nmea.proprietary import PROPRIETARY

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
    ("mode", MODE),
)


def _rmc(_: bytes, data: bytes) -> Statement:
    time, status, lat, ns, lon, ew, speed, course, date, _v, _vew, mode = _RMC.split(data)
    fixed, fix = mode_of(mode)
    # The navigational status that may follow (NMEA 4.1) says nothing about the fix.
    said = Statement("RMC", "fix", tod_of(time), fixed=status in (b"A", b"D") and fixed is not False, fix=fix)
    if said.fixed:  # without a fix the date is the firmware's invention
        said.day = day_of(date)
        said.speed_mps = scaled(speed, MPS_PER_KNOT)
        said.course_deg = course_of(course)
    return place(said, lat, ns, lon, ew)


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
    said = Statement("GGA", "fix", tod_of(time), hdop=hdop_of(hdop))
    if quality:  # an empty one claims nothing
        said.quality = int(quality)
        said.fixed, said.fix = said.quality > 0, _QUALITIES.get(said.quality)
    if satellites:
        said.satellites = int(satellites)
    said.altitude_m, said.separation_m = number(altitude), number(separation)
    return place(said, lat, ns, lon, ew)


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
    said = Statement("GNS", "fix", tod_of(time), hdop=hdop_of(hdop))
    if modes:  # one letter per satellite system
        fixes = {modes[i : i + 1] for i in range(len(modes))} - {b"N"}
        said.fixed, said.fix = bool(fixes), mode_of(fixes.pop())[1] if len(fixes) == 1 else None
    if satellites:
        said.satellites = int(satellites)
    said.altitude_m, said.separation_m = number(altitude), number(separation)
    return place(said, lat, ns, lon, ew)


_GLL = Grammar("GLL", 4, *PLACE, ("time", TIME), ("status", one_of("AVDN")), ("mode", MODE))  # N,V: Magellan's swap


def _gll(_: bytes, data: bytes) -> Statement:
    lat, ns, lon, ew, time, status, mode = _GLL.split(data)
    fixed, fix = mode_of(mode)
    claimed = None if not status else status in b"AD" and fixed is not False
    return place(Statement("GLL", "gll", tod_of(time), fixed=claimed, fix=fix), lat, ns, lon, ew)


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
    ("mode", MODE),
)


def _vtg(_: bytes, data: bytes) -> Statement:
    course, _t, _m, _mm, knots, _n, kmh, _k, mode = _VTG.split(data)
    if mode == b"N":
        return Statement("VTG")
    speed = scaled(knots, MPS_PER_KNOT)
    if speed is None:
        speed = scaled(kmh, MPS_PER_KMH)
    return Statement("VTG", speed_mps=speed, course_deg=course_of(course))


_GSA = Grammar(
    "GSA",
    17,
    ("selection", one_of("AM")),
    ("mode", rb"[123]?"),
    *(("satellite", rb"\d{0,3}"),) * 12,
    *(("DOP", NUMBER),) * 3,
)


_IS_NUMBER = re.compile(NUMBER).fullmatch


def _gsa(address: bytes, data: bytes) -> Statement:
    _GSA.split(data)
    fields = data.split(b",")
    # Twelve slots of satellites as a rule; CH-4701 sends 24. NMEA 4.1 puts the system's id after the DOPs.
    has_system = len(fields) % 12 == 6
    dops = fields[-4:-1] if has_system else fields[-3:]
    if not _IS_NUMBER(dops[1]):  # with more slots it stands beyond what the grammar has seen
        raise BadSentenceError(f"GSA: HDOP is {dops[1].decode()!r}")
    system = fields[-1] if has_system and fields[-1] else address
    used = frozenset([system + slot for slot in fields[2 : -4 if has_system else -3] if slot])
    return Statement("GSA", dimension=int(fields[1]) if fields[1] else None, used=used, hdop=hdop_of(dops[1]))


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
    return Statement(kind, "error", tod_of(time), accuracy_m=accuracy)


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
    day_found = day_number(int(year), int(month), int(day)) if day and month and year else None
    return Statement("ZDA", tod_ms=tod_of(time), day=day_found)


_DTM = Grammar("DTM", 1, ("datum", ANY))


def _dtm(_: bytes, data: bytes) -> Statement:
    return Statement("DTM", datum=_DTM.split(data)[0].decode())


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
_HAS_SUBTYPE = frozenset(name.split(b",")[0] for name in PROPRIETARY if b"," in name)


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
        return PROPRIETARY.get(address)
    return _STANDARD.get(address[2:]) if len(address) == 5 else None


def read(address: bytes, text: bytes) -> Statement | None:
    """What a sentence (address, fields; without `$` and checksum) states; None for types of no interest to positions.

    Raises BadSentenceError, which names the field.
    """
    reader = reader_of(address)
    return None if reader is None else reader(address, text[len(address) + 1 :])
