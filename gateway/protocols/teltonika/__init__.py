"""Teltonika trackers: Codec 8, 8 Extended and 16 over TCP or in MQTT payloads, texts of codecs 12 to 15.

`decoder` finds and checks packets, `records` reads what is in them, `elements` names it, `layout` declares and writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from gateway.model import Position
from gateway.protocols.base import Codec, Context
from gateway.protocols.teltonika.decoder import Decoder
from gateway.protocols.teltonika.elements import GENERATION_TYPES, LEAST_SATELLITES, VARIABLE, wire_elements
from gateway.protocols.teltonika.layout import LOGIN, packet

MAX_RECORDS = 255


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`codec`: what the encoder writes. The decoder reads all of them."""

    codec: Literal["8", "8E", "16"] = "8E"


class Encoder:
    """The device's side. Whole km/h, degrees and metres, as the format has them; what it has no place for is left out."""

    def __init__(self, options: Options) -> None:
        self._codec = options.codec

    def login(self, device_id: str) -> bytes:
        built: bytes = LOGIN.build(device_id)
        return built

    def positions(self, fixes: Sequence[Position]) -> bytes:
        """One AVL packet; ValueError for none or more than 255 fixes, or one without a time."""
        if not 0 < len(fixes) <= MAX_RECORDS:
            raise ValueError(f"a packet carries 1 to {MAX_RECORDS} records, not {len(fixes)}")
        return packet(self._codec, [self._record(fix) for fix in fixes])

    def _record(self, fix: Position) -> dict[str, Any]:
        if fix.time_ms is None:
            raise ValueError("a record carries a time")
        attributes = dict(fix.attributes) if fix.hdop is None else {**fix.attributes, "hdop": fix.hdop}
        groups: dict[int, list[dict[str, Any]]] = {1: [], 2: [], 4: [], 8: [], VARIABLE: []}
        for io_id, width_bytes, value in wire_elements(attributes, extended=self._codec != "8"):
            if width_bytes != VARIABLE or self._codec == "8E":
                groups[width_bytes].append({"id": io_id, "value": value})
        generation = str(attributes.get("generation_type", "periodical"))
        event_id = int(attributes.get("event_id", 0))
        return {
            "time_ms": fix.time_ms,
            "priority": int(attributes.get("priority", 0)),
            "lon": round((fix.lon_deg or 0.0) * 1e7),
            "lat": round((fix.lat_deg or 0.0) * 1e7),
            "altitude": max(-32_768, min(32_767, round(fix.altitude_m or 0.0))),
            "angle": round(fix.course_deg or 0.0) % 360,
            "satellites": min(255, fix.satellites or LEAST_SATELLITES) if fix.valid else 0,
            "speed": min(65_535, round((fix.speed_mps or 0.0) * 3.6)),
            "event_id": event_id if event_id < 256 or self._codec != "8" else 0,
            "generation": GENERATION_TYPES.index(generation) if generation in GENERATION_TYPES else 7,
            "total": sum(len(group) for group in groups.values()),
            "one": groups[1],
            "two": groups[2],
            "four": groups[4],
            "eight": groups[8],
            "variable": groups[VARIABLE],
        }


def _decoder(context: Context, _: Options) -> Decoder:
    return Decoder(context)


CODEC = Codec(
    name="teltonika",
    title="Teltonika Codec 8, 8 Extended and 16",
    decoder=_decoder,
    encoder=Encoder,
    options_type=Options,
    transports=("tcp", "mqtt"),
)
