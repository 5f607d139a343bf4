"""Sentences for tests: with their checksum, and bursts as receivers send them."""

from __future__ import annotations

from functools import reduce
from operator import xor

from gateway.model import Frame, Malformed, Position
from gateway.protocols.base import Context
from gateway.protocols.nmea import NmeaDecoder, NmeaOptions

NOW_MS = 1_714_996_800_000  # 2024-05-06T12:00:00Z


def sentence(text: str, end: str = "\r\n") -> bytes:
    return f"${text}*{reduce(xor, text.encode()):02X}{end}".encode()


def rmc(time: str, lat: str = "5155.5000", speed: str = "1.0", talker: str = "GP") -> bytes:
    return sentence(f"{talker}RMC,{time},A,{lat},N,00434.6000,E,{speed},90.0,060524,,,A")


def gga(time: str, lat: str = "5155.5000", talker: str = "GP") -> bytes:
    return sentence(f"{talker}GGA,{time},{lat},N,00434.6000,E,1,07,1.5,5.0,M,46.0,M,,")


def gll(time: str, lat: str = "5155.5000") -> bytes:
    return sentence(f"GPGLL,{lat},N,00434.6000,E,{time},A,A")


def vtg(speed: str) -> bytes:
    return sentence(f"GPVTG,90.0,T,,M,{speed},N,,K,A")


def gsa(mode: int = 3, slots: str = "05,06,07,10,,,,,,,,", talker: str = "GP") -> bytes:
    return sentence(f"{talker}GSA,A,{mode},{slots},1.7,1.1,1.2")


GSV = sentence("GPGSV,1,1,01,10,09,057,40")


def new_decoder(options: NmeaOptions | None = None) -> NmeaDecoder:
    return NmeaDecoder(Context(), options or NmeaOptions())


def decode(*pieces: bytes) -> list[Frame]:
    decoder = new_decoder()
    return [frame for piece in pieces for frame in decoder.feed(piece, NOW_MS)] + decoder.end(NOW_MS)


def positions(frames: list[Frame]) -> list[Position]:
    return [message for frame in frames for message in frame.messages if isinstance(message, Position)]


def reasons(frames: list[Frame]) -> list[str]:
    return [message.reason for frame in frames for message in frame.messages if isinstance(message, Malformed)]


def seconds(frames: list[Frame]) -> list[float | None]:
    """Times of the positions as seconds of the minute."""
    return [None if p.time_ms is None else p.time_ms % 60_000 / 1000 for p in positions(frames)]
