"""Teltonika Codec JSON: what the same trackers publish over MQTT in place of Codec 8.

    {"state": {"reported": {"ts": 1700000000000, "pr": 0, "latlng": "54.671234,25.254321", "alt": 141, "ang": 259,
                            "sat": 8, "sp": 54, "evt": 239, "239": 1, "66": 12508}}}
    {"RSP": "answer to a command"}

`ts` is milliseconds, `sp` km/h; every other key is an AVL id in decimal. A value may come as number or text. The payload
names no device: the topic does. Sources: the vendor's wiki (Codec JSON) and the payloads in OpenRemote's tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from gateway.model import Malformed, Message, Position, Scalar, Status
from gateway.protocols import values
from gateway.protocols.base import Codec, Context
from gateway.protocols.jsontext import JsonDecoder, JsonEncoder, one_or_array
from gateway.protocols.teltonika.elements import BY_ID, BY_NAME, LEAST_SATELLITES

_RESERVED = {"ts", "pr", "latlng", "alt", "ang", "sat", "sp", "evt"}


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None."""


def _decoder(context: Context, _: Options) -> JsonDecoder:
    device_id = context.device_id or context.client_id

    def read(document: Any, _: int) -> Iterator[Message]:
        for each in document if isinstance(document, list) else [document]:
            try:
                yield _message(each, device_id)
            except values.Unreadable as error:
                yield Malformed(reason=str(error), device_id=device_id)

    return JsonDecoder(read, device_id)


def _message(document: Any, device_id: str | None) -> Message:
    if device_id is None:
        raise values.Unreadable("the payload names no device, and neither does its topic")
    if not isinstance(document, dict):
        raise values.Unreadable("a document of Codec JSON is an object")
    if "RSP" in document:
        return Status(device_id=device_id, kind="text", attributes={"text": values.text(document["RSP"]) or ""})
    state = document.get("state")
    reported = state.get("reported") if isinstance(state, dict) else None
    if not isinstance(reported, dict):
        raise values.Unreadable("neither state.reported nor RSP is in it")
    return _position(reported, device_id)


def _position(reported: dict[str, Any], device_id: str) -> Position:
    time_ms = values.time_ms(reported.get("ts"), "ts", per_second=1000)
    if time_ms is None:
        raise values.Unreadable("ts, the record's time, is missing")
    attributes = _attributes(reported)
    where = _place(reported.get("latlng"))
    satellites = values.count(reported.get("sat"), "sat")
    valid = where is not None and satellites != 0
    sent_kmh = values.number(reported.get("sp"), "sp")
    speed_kmh = values.not_negative(values.number(attributes.pop("speed_kmh", sent_kmh), "speed"))
    altitude_m = values.number(reported.get("alt"), "alt")
    hdop = attributes.pop("hdop", None)
    return Position(
        device_id=device_id,
        time_ms=time_ms,
        lat_deg=where[0] if where else None,
        lon_deg=where[1] if where else None,
        altitude_m=None if where is None or altitude_m is None else float(altitude_m),
        speed_mps=speed_kmh / 3.6 if valid and speed_kmh is not None else None,
        course_deg=values.course_deg(values.number(reported.get("ang"), "ang")) if valid else None,
        fix="gnss" if valid else "none",
        valid=valid,
        satellites=satellites,
        hdop=float(hdop) if hdop else None,
        attributes=values.bounded(attributes),
    )


def _place(latlng: Any) -> tuple[float, float] | None:
    if latlng is None:
        return None
    halves = latlng.split(",") if isinstance(latlng, str) else []
    if len(halves) != 2:
        raise values.Unreadable('latlng is not one text "latitude,longitude"')
    return values.place(values.number(halves[0], "latlng"), values.number(halves[1], "latlng"))


def _attributes(reported: dict[str, Any]) -> dict[str, Scalar]:
    """Elements under their documented names; what is unknown, or text where a number is documented, as `io_NNN`."""
    found: dict[str, Scalar] = {}
    for name, key in (("priority", "pr"), ("event_id", "evt")):
        value = values.whole(reported.get(key), key)
        if value is not None and (value or name == "priority"):
            found[name] = value
    for key, value in reported.items():
        if key in _RESERVED or not key.isdecimal() or len(key) > 5:
            continue
        element = BY_ID.get(int(key))
        try:
            wire = None if element is None else values.whole(value, key)
        except values.Unreadable:
            wire = None
        known = None if element is None or wire is None else element.value(wire)
        if element is not None and known is not None:
            found[element.name] = known
        elif (plain := values.scalar(value)) is not None:
            found[f"io_{int(key)}"] = plain
    return found


def _encoder(_: Options) -> JsonEncoder:
    return JsonEncoder(lambda fixes: one_or_array([{"state": {"reported": _reported(fix)}} for fix in fixes]))


def _reported(fix: Position) -> dict[str, Scalar]:
    """Whole km/h, degrees and metres, as the format has them; attributes without an element are left out."""
    if fix.time_ms is None:
        raise ValueError("a record carries a time")
    reported: dict[str, Scalar] = {
        "ts": fix.time_ms,
        "pr": fix.attributes.get("priority", 0),
        "latlng": f"{fix.lat_deg or 0.0:.6f},{fix.lon_deg or 0.0:.6f}",
        "alt": round(fix.altitude_m or 0.0),
        "ang": round(fix.course_deg or 0.0) % 360,
        "sat": (fix.satellites or LEAST_SATELLITES) if fix.valid else 0,
        "sp": round((fix.speed_mps or 0.0) * 3.6),
        "evt": fix.attributes.get("event_id", 0),
    }
    attributes = dict(fix.attributes) if fix.hdop is None else {**fix.attributes, "hdop": fix.hdop}
    for name, value in attributes.items():
        element = BY_NAME.get(name)
        wire = None if element is None else element.wire(value)
        if element is not None and wire is not None:
            reported[str(element.io_id)] = wire
        elif name.startswith("io_"):
            reported[name.removeprefix("io_")] = value
    return reported


CODEC = Codec(
    name="teltonika_json",
    title="Teltonika Codec JSON",
    decoder=_decoder,
    encoder=_encoder,
    options_type=Options,
    transports=("mqtt",),
    text=True,
)
