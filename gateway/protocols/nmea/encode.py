"""The device's side: a position as the sentences a receiver would send in one burst. For simulators and round trips.

pynmea2 renders them, checksum included. What the format resolves: 1e-5 minutes (2 cm), 1 ms, 0.001 kn, 0.01 degree of
course, 1 cm of height, 0.01 of HDOP.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Final

import pynmea2

from gateway.model import Position
from gateway.protocols.nmea.fields import DRMS_TO_68, MPS_PER_KMH, MPS_PER_KNOT
from gateway.protocols.nmea.options import NmeaOptions

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MODE = {"estimated": "E", "network": "E", "manual": "M", "simulated": "S"}
_QUALITY = {"estimated": "6", "network": "6", "manual": "7", "simulated": "8"}
_SLOTS = 12


def _text(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def _time(fix: Position) -> str:
    if fix.time_ms is None:
        return ""
    return (_EPOCH + dt.timedelta(milliseconds=fix.time_ms)).strftime("%H%M%S.%f")[:-3]


def _date(fix: Position, pattern: str) -> str:
    return "" if fix.time_ms is None else (_EPOCH + dt.timedelta(milliseconds=fix.time_ms)).strftime(pattern)


def _angle(degrees: float | None, digits: int, hemispheres: str) -> tuple[str, str]:
    """Degrees and minutes, rounded as a whole: 59.999999 minutes are a degree."""
    if degrees is None:
        return "", ""
    units = round(abs(degrees) * 60 * 100_000)
    whole, rest = divmod(units, 60 * 100_000)
    return f"{whole:0{digits}d}{rest // 100_000:02d}.{rest % 100_000:05d}", hemispheres[degrees < 0]


def _place(fix: Position) -> tuple[str, str, str, str]:
    return (*_angle(fix.lat_deg, 2, "NS"), *_angle(fix.lon_deg, 3, "EW"))


def _speed(fix: Position, unit_mps: float) -> str:
    return "" if fix.speed_mps is None else f"{fix.speed_mps / unit_mps:.3f}"


def _mode(fix: Position) -> str:
    return _MODE.get(fix.fix or "", "A") if fix.valid else "N"


def _rmc(fix: Position) -> tuple[str, ...]:
    motion = (_speed(fix, MPS_PER_KNOT), _text(fix.course_deg, 2))
    return (_time(fix), "A" if fix.valid else "V", *_place(fix), *motion, _date(fix, "%d%m%y"), "", "", _mode(fix))


def _gga(fix: Position) -> tuple[str, ...]:
    quality = _QUALITY.get(fix.fix or "", "1") if fix.valid else "0"
    satellites = "" if fix.satellites is None else f"{fix.satellites:02d}"
    height = (_text(fix.altitude_m, 2), "M", "", "M")
    return (_time(fix), *_place(fix), quality, satellites, _text(fix.hdop, 2), *height, "", "")


def _gsa(fix: Position) -> tuple[str, ...]:
    dimension = ("3" if fix.fix == "3d" else "2") if fix.valid else "1"
    used = min(fix.satellites or 0, _SLOTS) if fix.valid else 0
    slots = [f"{number:02d}" for number in range(1, used + 1)] + [""] * (_SLOTS - used)
    return ("A", dimension, *slots, "", _text(fix.hdop, 2), "")


def _vtg(fix: Position) -> tuple[str, ...]:
    knots, kmh = _speed(fix, MPS_PER_KNOT), _speed(fix, MPS_PER_KMH)
    return (_text(fix.course_deg, 2), "T", "", "M", knots, "N", kmh, "K", _mode(fix))


def _zda(fix: Position) -> tuple[str, ...]:
    return (_time(fix), _date(fix, "%d"), _date(fix, "%m"), _date(fix, "%Y"), "00", "00")


def _gll(fix: Position) -> tuple[str, ...]:
    return (*_place(fix), _time(fix), "A" if fix.valid else "V", _mode(fix))


def _gst(fix: Position) -> tuple[str, ...]:
    error = _text(None if fix.accuracy_m is None else fix.accuracy_m / DRMS_TO_68 / 2**0.5, 3)
    return (_time(fix), "", "", "", "", error, error, "")


_SENTENCES: dict[str, Callable[[Position], tuple[str, ...]]] = {
    "RMC": _rmc,
    "GGA": _gga,
    "GSA": _gsa,
    "VTG": _vtg,
    "ZDA": _zda,
    "GLL": _gll,
    "GST": _gst,
}


class NmeaEncoder:
    """Sentences of `options.sentences`, in that order, for each fix. Raises ValueError for a type it cannot write."""

    def __init__(self, options: NmeaOptions) -> None:
        for kind in options.sentences:
            if kind not in _SENTENCES:
                raise ValueError(f"cannot write {kind!r} sentences; there are {', '.join(sorted(_SENTENCES))}")
        self._options = options

    def login(self, device_id: str) -> bytes:  # noqa: ARG002 - NMEA names no device
        return b""

    def positions(self, fixes: Sequence[Position]) -> bytes:
        return b"".join(self._burst(fix) for fix in fixes)

    def _burst(self, fix: Position) -> bytes:
        options = self._options
        lines = []
        for kind in options.sentences:
            if kind == "GSA" and fix.valid and fix.fix not in ("2d", "3d"):
                continue  # it must name a dimension
            sentence = pynmea2.TalkerSentence(options.talker, kind, _SENTENCES[kind](fix))
            lines.append(sentence.render(checksum=options.write_checksum, newline=True))
        return "".join(lines).encode("ascii")
