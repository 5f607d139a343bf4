"""OwnTracks: the phone apps, and Queclink trackers through qtripp, over MQTT or HTTP.

A payload is a JSON object with `_type`. Only `location` is a position; what a phone concluded (`transition`), its last
will (`lwt`) and everything else is a status, so that no waypoint is ever taken for a place the phone was at. Times are
epoch seconds: `tst` of the fix, `created_at` of the message; `vel` is km/h. Absent or 0 accuracy means "not known".

Source: the OwnTracks Booklet, "JSON" (types and elements), "MQTT" (topics) and "HTTP" (headers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct

from gateway.model import Malformed, Message, Position, Scalar, Status
from gateway.protocols import values
from gateway.protocols.base import Codec, Context, HttpRequest
from gateway.protocols.jsontext import JsonDecoder, JsonEncoder, one_or_array


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None."""


def _decoder(context: Context, _: Options) -> JsonDecoder:
    bound = context.device_id or _name_of_topic(context.topic)

    def read(document: Any, _: int) -> Iterator[Message]:
        for each in document if isinstance(document, list) else [document]:
            device_id = bound or _name(each, context)
            try:
                yield _message(each, device_id)
            except values.Unreadable as error:
                yield Malformed(reason=str(error), device_id=device_id)

    return JsonDecoder(read, bound)


# ------------------------------------------------------------------------------------------- who sent it


def _name(document: Any, context: Context) -> str | None:
    """The device, from the most particular to the least: IMEI, the topic it would publish to, HTTP user, `tid`."""
    if not isinstance(document, dict):
        return context.client_id
    found = (
        _identifier(document.get("imei"))
        or _name_of_topic(document.get("topic"))
        or (None if context.http is None else _name_of_request(context.http))
        or _identifier(document.get("tid"))
    )
    return found or context.client_id


def _identifier(value: Any) -> str | None:
    return value if isinstance(value, str) and values.is_identifier(value) else None


def _name_of_topic(topic: Any) -> str | None:
    """`user-device` of owntracks/user/device[/event]; of qtripp's topics the IMEI alone."""
    levels = topic.split("/", 3) if isinstance(topic, str) else []
    if len(levels) < 3 or not levels[1] or not levels[2]:
        return None
    return _identifier(levels[2] if levels[1] == "qtripp" else f"{levels[1]}-{levels[2]}")


def _name_of_request(request: HttpRequest) -> str | None:
    headers = {name.lower(): value for name, value in request.headers.items()}
    query = parse_qs(urlsplit(request.url).query)
    user = headers.get("x-limit-u") or query.get("u", [""])[0]
    device = headers.get("x-limit-d") or query.get("d", [""])[0]
    return _identifier("-".join(part for part in (user, device) if part))


# ------------------------------------------------------------------------------------------- what it says


def _message(document: Any, device_id: str | None) -> Message:
    if not isinstance(document, dict):
        raise values.Unreadable("a document of OwnTracks is an object")
    if device_id is None:
        raise values.Unreadable("nothing names the device: neither the topic nor topic, tid or imei in the document")
    kind = document.get("_type")
    if kind == "location":
        return _location(document, device_id)
    if kind == "encrypted":
        raise values.Unreadable("encrypted: no key configured")
    if not isinstance(kind, str) or kind not in _STATUSES:
        raise values.Unreadable(f"_type {values.text(kind)!r} is none that OwnTracks documents")
    name, timed, fields = _STATUSES[kind]
    return Status(
        device_id=device_id,
        kind=name,
        time_ms=values.time_ms(document.get("tst"), "tst", per_second=1) if timed else None,
        attributes=_attributes(document, fields),
    )


def _location(document: dict[str, Any], device_id: str) -> Position:
    time_ms = values.time_ms(document.get("tst"), "tst", per_second=1)
    if time_ms is None:
        raise values.Unreadable("tst, the time of the fix, is missing")
    if "lat" not in document or "lon" not in document:
        raise values.Unreadable("lat or lon is missing")

    def number(key: str) -> float | None:
        return values.number(document.get(key), key)

    where = values.place(number("lat"), number("lon"))
    speed_kmh = values.not_negative(number("vel"))
    altitude_m = number("alt")
    attributes = _attributes(document, _LOCATION)
    if "ignition" not in attributes and attributes.get("trigger") in {"i", "I"}:
        attributes["ignition"] = attributes["trigger"] == "i"
    return Position(
        device_id=device_id,
        time_ms=time_ms,
        lat_deg=where[0] if where else None,
        lon_deg=where[1] if where else None,
        altitude_m=None if altitude_m is None else float(altitude_m),
        speed_mps=None if speed_kmh is None else speed_kmh / 3.6,
        course_deg=values.course_deg(number("cog")),
        fix=None if where else "none",
        valid=where is not None,
        accuracy_m=values.not_negative(number("acc")) or None,
        attributes=attributes,
        device_time_ms=values.time_ms(document.get("created_at"), "created_at", per_second=1),
    )


# ------------------------------------------------------------------------------------------- elements and attributes

Read = Callable[[Any], Scalar | None]
Fields = dict[str, tuple[str, Read]]
"""Element → attribute and how it is read; what does not fit is left out, for it must not cost the position."""


_FLAGS = {"1": True, "true": True, "0": False, "false": False}


def _number(value: Any) -> float | None:
    try:
        return values.number(value, "")
    except values.Unreadable:
        return None


def _quantity(value: Any) -> float | None:
    found = _number(value)
    return None if found is None else float(found)


def _metres(value: Any) -> float | None:
    found = _number(value)
    return None if found is None else found * 1000.0


def _flag(value: Any) -> bool | None:
    return None if isinstance(value, list | dict) else _FLAGS.get(str(value).lower())


def _names(value: Any) -> str | None:
    return values.text(",".join(each for each in value if isinstance(each, str))) if isinstance(value, list) else None


def _count(value: Any) -> int | None:
    return len(value) if isinstance(value, list) else None


def _attributes(document: dict[str, Any], fields: Fields) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    for element, raw in document.items():
        field = fields.get(element)
        value = None if field is None else field[1](raw)
        if field is not None and value is not None:
            found[field[0]] = value
    return found


_LOCATION: Fields = {
    "t": ("trigger", values.text),
    "batt": ("battery_pct", _quantity),
    "bs": ("battery_status", values.scalar),
    "conn": ("connection", values.text),
    "m": ("monitoring_mode", values.scalar),
    "p": ("pressure_kpa", _quantity),
    "vac": ("altitude_accuracy_m", _quantity),
    "inregions": ("regions", _names),
    "SSID": ("ssid", values.text),
    "poi": ("point_of_interest", values.text),
    "tag": ("tag", values.text),
    "tid": ("tracker_id", values.text),
    # Greenwich
    "dist": ("distance_m", _quantity),
    "trip": ("trip_odometer_m", _quantity),
    # Queclink through qtripp
    "ign": ("ignition", _flag),
    "motion": ("motion", _flag),
    "tow": ("towing", _flag),
    "odometer": ("odometer_m", _metres),
    "hmc": ("operation_s", _quantity),
    "don": ("ignition_on_s", _quantity),
    "doff": ("ignition_off_s", _quantity),
    "uext": ("external_voltage_v", _quantity),
    "ubatt": ("battery_voltage_v", _quantity),
    "aiv": ("analog_input_1_v", _quantity),
    "rpm": ("engine_rpm", _quantity),
    "fcon": ("fuel_l_per_100km", _quantity),
    "flvl": ("fuel_pct", _quantity),
    "din1": ("digital_input_1", _flag),
    "din2": ("digital_input_2", _flag),
    "dout1": ("digital_output_1", _flag),
    "dout2": ("digital_output_2", _flag),
    "mcc": ("gsm_mcc", values.scalar),
    "mnc": ("gsm_mnc", values.scalar),
    "lac": ("gsm_area_code", values.text),
    "cid": ("gsm_cell_id", values.text),
    "vin": ("vin", values.text),
    "imei": ("imei", values.text),
    "name": ("vehicle_name", values.text),
}
_REGION: Fields = {
    "desc": ("region", values.text),
    "rid": ("region_id", values.text),
    "lat": ("lat_deg", _quantity),
    "lon": ("lon_deg", _quantity),
}
_STATUSES: dict[str, tuple[str, bool, Fields]] = {
    # _type: kind, whether tst is the message's own time (else: of the connection, of the region's making), elements
    "transition": (
        "transition",
        True,
        {**_REGION, "event": ("event", values.text), "t": ("trigger", values.text), "acc": ("accuracy_m", _quantity)},
    ),
    "lwt": ("link_lost", False, {"tst": ("connected_epoch_s", values.scalar)}),
    "status": ("status", True, {}),
    "waypoint": ("waypoint", False, {**_REGION, "rad": ("radius_m", _quantity)}),
    "waypoints": ("waypoints", False, {"waypoints": ("waypoints", _count)}),
    "card": ("card", False, {"name": ("name", values.text), "tid": ("tracker_id", values.text)}),
    "steps": (
        "steps",
        True,
        {
            "steps": ("steps", values.scalar),
            "from": ("from_epoch_s", values.scalar),
            "to": ("to_epoch_s", values.scalar),
        },
    ),
    "configuration": ("configuration", False, {}),  # holds passwords: nothing of it is copied
    "cmd": ("command", False, {"action": ("action", values.text)}),
    "beacon": (
        "beacon",
        True,
        {
            "desc": ("beacon", values.text),
            "uuid": ("uuid", values.text),
            "rssi": ("rssi_dbm", _quantity),
            "prox": ("proximity", values.scalar),
        },
    ),
}


# ------------------------------------------------------------------------------------------- the device's side

_WRITTEN: dict[str, tuple[str, float]] = {
    "battery_pct": ("batt", 1.0),
    "odometer_m": ("odometer", 0.001),
    "external_voltage_v": ("uext", 1.0),
    "battery_voltage_v": ("ubatt", 1.0),
    "engine_rpm": ("rpm", 1.0),
}
"""Attribute → element and factor, of those that the encoder writes as numbers."""


def _encoder(_: Options) -> JsonEncoder:
    return JsonEncoder(lambda fixes: one_or_array([_written(fix) for fix in fixes]))


def _written(fix: Position) -> dict[str, Any]:
    """Whole seconds, metres and km/h, as the apps write them; attributes without an element are left out."""
    if fix.time_ms is None or fix.lat_deg is None or fix.lon_deg is None:
        raise ValueError("a location has a time and a place")
    document: dict[str, Any] = {
        "_type": "location",
        "tid": fix.device_id[-2:],
        "tst": fix.time_ms // 1000,
        "lat": fix.lat_deg,
        "lon": fix.lon_deg,
    }
    optional = {
        "acc": fix.accuracy_m,
        "alt": fix.altitude_m,
        "cog": fix.course_deg,
        "vel": None if fix.speed_mps is None else fix.speed_mps * 3.6,
    }
    document |= {element: round(value) for element, value in optional.items() if value is not None}
    if fix.device_time_ms is not None:
        document["created_at"] = fix.device_time_ms // 1000
    for name, value in fix.attributes.items():
        if name in _WRITTEN and not isinstance(value, str):
            element, factor = _WRITTEN[name]
            document[element] = round(value * factor, 3)
    for element, name in (("ign", "ignition"), ("t", "trigger")):
        if name in fix.attributes:
            document[element] = fix.attributes[name]
    return document


CODEC = Codec(
    name="owntracks",
    title="OwnTracks JSON",
    decoder=_decoder,
    encoder=_encoder,
    options_type=Options,
    transports=("mqtt", "http"),
    text=True,
)
