"""Decoders, fed as their transports feed them, next to the library that one would take, used as its README shows.

The naive ways read time, place, speed and course, and check nothing. Ours also keep every attribute, the raw bytes with
what was read from them, and survive what is wrong. Before the clock starts, both have found the same places.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pynmea2
from fastcrc import crc16

from benchmarks.fleet import Fleet
from benchmarks.measure import Contest, Pace, Way, repeated
from gateway.model import Frame, Position
from gateway.protocols import new_decoder, new_encoder
from gateway.protocols.base import Context
from gateway.protocols.teltonika.layout import BODIES, PACKET
from gateway.sources.topics import Router, TopicRoute

DEVICE = "van-0"
READ_BYTES = 4096
"""What a serial port or a socket hands over at once."""
RECORDS = 10
"""A Teltonika packet carries so many."""
MAPPING = {
    "time": "t",
    "time_unit": "ms",
    "lat": "pos.lat",
    "lon": "pos.lon",
    "altitude": "pos.alt",
    "speed": "kmh",
    "speed_unit": "km/h",
    "course": "dir",
    "satellites": "sats",
    "ignition": "ign",
}
KNOT_MPS = 1852 / 3600
Decode = Callable[[], list[Position]]


def contests(pace: Pace) -> Iterator[Contest]:
    fixes = Fleet(1).fixes(pace.scaled(1_000))
    for case, against, ours, naive in (
        _nmea(fixes),
        _teltonika(fixes),
        _json("teltonika_json", "Teltonika Codec JSON, a message each, with routing", fixes, _from_teltonika),
        _json("owntracks", "OwnTracks, a message each, with routing", fixes, _from_owntracks),
        _json("json", "JSON mapping of 9 keys, a message each, with routing", fixes, _from_mapping, MAPPING),
    ):
        _agree(case, ours(), naive())
        yield Contest(
            stage="decode",
            case=case,
            against=against,
            ours=_counted(ours, pace),
            naive=_counted(naive, pace),
        )


def _counted(decode: Decode, pace: Pace) -> Way:
    return repeated(lambda: len(decode()), pace.at_least_s)


def _agree(case: str, ours: list[Position], naive: list[Position]) -> None:
    """Raises ValueError where the two ways do not find the same fixes: their speed would mean nothing."""
    if len(ours) != len(naive) or not ours:
        raise ValueError(f"{case}: {len(ours)} fixes against {len(naive)}")
    for a, b in zip(ours, naive, strict=True):
        names = ("lat_deg", "lon_deg", "speed_mps", "course_deg")
        if a.time_ms != b.time_ms or any(abs(getattr(a, n) - getattr(b, n)) > 1e-6 for n in names):
            raise ValueError(f"{case}: {a} against {b}")


def _positions(frames: list[Frame]) -> list[Position]:
    return [m for frame in frames for m in frame.messages if isinstance(m, Position)]


# ------------------------------------------------------------------------------------------------------------- NMEA


def _nmea(fixes: Sequence[Position]) -> tuple[str, str, Decode, Decode]:
    data = new_encoder("nmea", {"sentences": ["RMC", "GGA", "GSA", "VTG"]}).positions(fixes)
    reads = [data[i : i + READ_BYTES] for i in range(0, len(data), READ_BYTES)]
    ended_ms = (fixes[-1].time_ms or 0) + 500

    def ours() -> list[Position]:
        decoder = new_decoder("nmea", Context(device_id=DEVICE, reference_ms=ended_ms))
        found = [frame for read in reads for frame in decoder.feed(read, ended_ms)]
        return _positions(found + decoder.end(ended_ms))

    def naive() -> list[Position]:
        found: list[Position] = []
        more: tuple[float, int, float] | None = None
        for line in data.decode().splitlines():
            sentence = pynmea2.parse(line, check=True)
            if sentence.sentence_type == "RMC":
                when = dt.datetime.combine(sentence.datestamp, sentence.timestamp)
                speed_mps, course_deg = float(sentence.spd_over_grnd) * KNOT_MPS, float(sentence.true_course)
                found.append(_position(when.timestamp(), sentence.latitude, sentence.longitude, speed_mps, course_deg))
            elif sentence.sentence_type == "GGA":
                more = sentence.altitude, int(sentence.num_sats), float(sentence.horizontal_dil)
        assert more is not None, "GGA was read too"
        return found

    return f"NMEA, 4 sentences a fix, {READ_BYTES} bytes at once", "pynmea2: one object per sentence", ours, naive


def _position(at_s: float, lat_deg: float, lon_deg: float, speed_mps: float, course_deg: float) -> Position:
    return Position(
        device_id=DEVICE,
        time_ms=round(at_s * 1000),
        lat_deg=lat_deg,
        lon_deg=lon_deg,
        speed_mps=speed_mps,
        course_deg=course_deg,
    )


# -------------------------------------------------------------------------------------------------------- Teltonika


def _teltonika(fixes: Sequence[Position]) -> tuple[str, str, Decode, Decode]:
    encoder = new_encoder("teltonika", {"codec": "8"})
    packets = [encoder.positions(fixes[i : i + RECORDS]) for i in range(0, len(fixes), RECORDS)]

    def ours() -> list[Position]:
        decoder = new_decoder("teltonika", Context(device_id=DEVICE))
        return _positions([frame for packet in packets for frame in decoder.feed(packet, 0)])

    def naive() -> list[Position]:
        found = []
        for data in packets:
            packet = PACKET.parse(data)
            if packet.crc == crc16.arc(packet.body):
                for r in BODIES["8"].parse(packet.body).records:
                    found.append(_position(r.time_ms / 1000, r.lat / 1e7, r.lon / 1e7, r.speed / 3.6, r.angle))
        return found

    return f"Teltonika Codec 8, {RECORDS} records a packet", "construct: parse per packet", ours, naive


# ------------------------------------------------------------------------------------------------------------- JSON


def _json(
    protocol: str,
    case: str,
    fixes: Sequence[Position],
    read: Callable[[dict[str, Any]], Position],
    options: dict[str, Any] | None = None,
) -> tuple[str, str, Decode, Decode]:
    encoder = new_encoder(protocol, options)
    payloads = [encoder.positions([fix]) for fix in fixes]
    route = TopicRoute(filter="fleet/+", protocol=protocol, device_id="{1}", options=options or {})
    router = Router([route])

    def ours() -> list[Position]:
        found = [each for payload in payloads for each in router.receive(f"fleet/{DEVICE}", payload, False, 0, "bench")]
        return _positions([each.frame for each in found])

    def naive() -> list[Position]:
        return [read(json.loads(payload)) for payload in payloads]

    return case, "json.loads, and five values of it", ours, naive


def _from_teltonika(document: dict[str, Any]) -> Position:
    r = document["state"]["reported"]
    lat, lon = r["latlng"].split(",")
    return _position(r["ts"] / 1000, float(lat), float(lon), r["sp"] / 3.6, float(r["ang"]))


def _from_owntracks(document: dict[str, Any]) -> Position:
    d = document
    return _position(d["tst"], d["lat"], d["lon"], d["vel"] / 3.6, d["cog"])


def _from_mapping(document: dict[str, Any]) -> Position:
    d = document
    return _position(d["t"] / 1000, d["pos"]["lat"], d["pos"]["lon"], d["kmh"] / 3.6, d["dir"])
