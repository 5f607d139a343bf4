"""Any JSON that a platform, app or bridge publishes, read by a mapping that the configuration states.

A path names a value: keys joined by dots (`pos.lat`, `gps.0.lat`), a key that itself holds dots (`position.latitude`)
counting first; or a JSON pointer (`/pos/lat`, RFC 6901). Paths start at the row; `$` starts at the document, for what
stands once round a batch (`$.imei`). Nothing is read that no path names, and no unit is guessed.

    {"id": "t-7", "rows": [{"t": 1700000000, "pos": [11.57, 48.14], "kmh": "54"}]}
    batch = "rows"   device_id = "$.id"   time = "t"   time_unit = "s"   lon_lat = "pos"   speed = "kmh"   speed_unit = "km/h"
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from msgspec import Struct

from gateway.model import Malformed, Message, Position
from gateway.protocols import values
from gateway.protocols.base import Codec, Context
from gateway.protocols.jsontext import JsonDecoder, JsonEncoder, one_or_array
from gateway.protocols.values import Unreadable
from gateway.times import parse_rfc3339, rfc3339

MPS_PER = {"m/s": 1.0, "km/h": 1 / 3.6, "kn": 1852 / 3600, "mph": 0.44704}

_YES = {"1", "true", "yes", "on", "a", "valid", "ok"}
_NO = {"0", "false", "no", "off", "v", "invalid"}


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where things stand in the document. What is None is not read."""

    batch: str | None = None
    """The array of rows. None: the document is the row, or an array of rows."""
    device_id: str | None = None
    """None: the topic, the credential or the client id names the device."""
    time: str | None = "time"
    time_unit: Literal["iso", "s", "ms", "receipt"] = "iso"
    """`iso` is RFC 3339 with a zone; `receipt` takes the receive time, and needs no `time`."""
    lat: str | None = "lat"
    lon: str | None = "lon"
    lat_lon: str | None = None
    """In place of `lat` and `lon`: one text "latitude,longitude", or an array of the two."""
    lon_lat: str | None = None
    """The same in GeoJSON's order."""
    coordinate_scale: float = 1.0
    """What one unit of latitude and longitude is in degrees: 1e-7 for integers of ten-millionths."""
    altitude: str | None = None
    speed: str | None = None
    speed_unit: Literal["m/s", "km/h", "kn", "mph"] = "m/s"
    course: str | None = None
    accuracy: str | None = None
    """Metres; the radius that holds the truth with 68 %. 0 is not known."""
    satellites: str | None = None
    hdop: str | None = None
    valid: str | None = None
    """A flag: true, 1, yes, on, A, valid, ok, or their opposites (false, 0, no, off, V, invalid)."""
    ignition: str | None = None
    attributes: dict[str, str] = {}
    """Name → path of flags, numbers and texts to keep as they are; absent ones are left out."""

    def __post_init__(self) -> None:
        if self.time is None and self.time_unit != "receipt":
            raise ValueError('time is None: write its path, or time_unit = "receipt"')
        if self.lat_lon and self.lon_lat:
            raise ValueError("lat_lon and lon_lat are both given: write the one that fits")
        if not (self.lat_lon or self.lon_lat or (self.lat and self.lon)):
            raise ValueError("nothing says where the place stands: write lat and lon, lat_lon or lon_lat")
        if len(self.attributes) >= values.MAX_ATTRIBUTES:
            raise ValueError(f"attributes names {len(self.attributes)}: write fewer than {values.MAX_ATTRIBUTES}")
        for name in self.attributes:
            if not values.is_attribute_name(name):
                most = values.MAX_ATTRIBUTE_NAME_CHARS
                raise ValueError(f"attributes: {values.shown(name)} is no name: write 1 to {most} characters")

    def __hash__(self) -> int:
        """Of some fields: equal options hash alike, and a dict (`attributes`) cannot be hashed."""
        return hash((self.batch, self.device_id, self.time, self.lat, self.lat_lon, self.lon_lat, self.speed))


_ABSENT: Any = object()


class _Path:
    """A path made ready: `find` gives the value, or `_ABSENT`."""

    def __init__(self, text: str) -> None:
        self.text = text
        relative = text.removeprefix("$") if text.startswith(("$.", "$/")) or text == "$" else None
        self._from_document = relative is not None
        rest = text if relative is None else relative.removeprefix(".")
        self._pointer = rest.startswith("/")
        split = rest[1:].split("/") if self._pointer else rest.split(".")
        self.keys = [k.replace("~1", "/").replace("~0", "~") for k in split] if self._pointer else split if rest else []

    def find(self, row: Any, document: Any) -> Any:
        value = document if self._from_document else row
        if not self._pointer and len(self.keys) > 1 and isinstance(value, dict):
            found = value.get(".".join(self.keys), _ABSENT)
            if found is not _ABSENT:
                return found
        for key in self.keys:
            if isinstance(value, dict):
                value = value.get(key, _ABSENT)
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            else:
                return _ABSENT
        return value

    def need(self, row: Any, document: Any) -> Any:
        value = self.find(row, document)
        if value is _ABSENT:
            raise Unreadable(f"path {self.text!r} names nothing in it")
        return value

    def number(self, row: Any, document: Any) -> float | None:
        """None where there is none: optional values may be absent from a row."""
        value = self.find(row, document)
        return None if value is _ABSENT else values.number(value, self.text)

    def flag(self, row: Any, document: Any) -> bool | None:
        value = self.find(row, document)
        if value is _ABSENT or value is None:
            return None
        word = (value[: values.MAX_TEXT_CHARS] if isinstance(value, str) else values.shown(value)).strip().lower()
        if word not in _YES | _NO:
            raise Unreadable(f"{self.text} is {values.shown(value)}, neither yes nor no")
        return word in _YES


def _path(text: str | None) -> _Path | None:
    return None if text is None else _Path(text)


class _Mapping:
    """The options made ready, for every sender."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._batch = _path(options.batch)
        self._device_id = _path(options.device_id)
        self._time = _path(options.time)
        self._pair = _path(options.lat_lon or options.lon_lat)
        self._lat = _path(options.lat)
        self._lon = _path(options.lon)
        self._optional = {
            name: _Path(path)
            for name in ("altitude", "speed", "course", "accuracy", "satellites", "hdop")
            if (path := getattr(options, name)) is not None
        }
        self._valid = _path(options.valid)
        self._ignition = _path(options.ignition)
        self._attributes = {name: _Path(path) for name, path in options.attributes.items()}

    def read(self, context: Context, document: Any, received_ms: int) -> Iterator[Message]:
        for row in self._rows(document):
            try:
                yield self._position(context, row, document, received_ms)
            except Unreadable as error:
                yield Malformed(reason=str(error), device_id=context.device_id)

    def _rows(self, document: Any) -> list[Any]:
        if self._batch is None:
            return document if isinstance(document, list) else [document]
        rows = self._batch.need(document, document)
        if not isinstance(rows, list):
            raise Unreadable(f"path {self._batch.text!r} names no array of rows")
        return rows

    def _position(self, context: Context, row: Any, document: Any, received_ms: int) -> Position:
        if not isinstance(row, dict | list):
            raise Unreadable("a row is neither an object nor an array")
        at = (row, document)
        where = self._place(*at)
        said_valid = None if self._valid is None else self._valid.flag(*at)
        valid = where is not None and said_valid is not False
        numbers = {name: path.number(*at) for name, path in self._optional.items()}
        speed = values.not_negative(numbers.get("speed"))
        altitude_m = numbers.get("altitude")
        receipt = self._options.time_unit == "receipt"
        return Position(
            device_id=self._name(context, *at),
            time_ms=_received_ms(context, received_ms) if receipt else self._time_ms(*at),
            lat_deg=where[0] if where else None,
            lon_deg=where[1] if where else None,
            altitude_m=None if altitude_m is None else float(altitude_m),
            speed_mps=None if speed is None else speed * MPS_PER[self._options.speed_unit],
            course_deg=values.course_deg(numbers.get("course")),
            fix=None if valid else "none",
            valid=valid,
            satellites=values.count(numbers.get("satellites"), "satellites"),
            hdop=values.not_negative(numbers.get("hdop")) or None,
            accuracy_m=values.not_negative(numbers.get("accuracy")) or None,
            attributes=self._kept(*at),
            marks=("time_from_receipt",) if receipt else (),
        )

    def _name(self, context: Context, row: Any, document: Any) -> str:
        if self._device_id is None or context.device_id is not None:
            name = context.device_id or context.client_id
            if name is None:
                raise Unreadable("nothing names the device: write the path device_id, or the topic's level")
            return name
        value = self._device_id.need(row, document)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise Unreadable(f"path {self._device_id.text!r} names no device id")
        name = str(value)
        if len(name) > values.MAX_DEVICE_ID_CHARS:
            raise Unreadable(f"the device id is longer than {values.MAX_DEVICE_ID_CHARS} characters")
        if not values.is_identifier(name):
            raise Unreadable(f"the device id is {values.shown(name)}, which cannot be stored as it is")
        return name

    def _time_ms(self, row: Any, document: Any) -> int:
        assert self._time is not None, "Options sees to it"
        value = self._time.need(row, document)
        if self._options.time_unit == "iso":
            return _iso_ms(value, self._time.text)
        time_ms = values.time_ms(value, self._time.text, per_second=1 if self._options.time_unit == "s" else 1000)
        if time_ms is None:
            raise Unreadable(f"{self._time.text} is null, and a fix has a time")
        return time_ms

    def _place(self, row: Any, document: Any) -> tuple[float, float] | None:
        if self._pair is None:
            assert self._lat is not None, "Options sees to it"
            assert self._lon is not None, "Options sees to it"
            halves: Sequence[Any] = (self._lat.need(row, document), self._lon.need(row, document))
            names = (self._lat.text, self._lon.text)
        else:
            halves = _halves(self._pair.need(row, document), self._pair.text)
            halves = halves if self._options.lat_lon else halves[::-1]
            names = (self._pair.text, self._pair.text)
        lat, lon = (values.number(half, name) for half, name in zip(halves, names, strict=True))
        if lat is None or lon is None:
            return None
        scale = self._options.coordinate_scale
        return values.place(lat, lon) if scale == 1 else values.place(round(lat * scale, 9), round(lon * scale, 9))

    def _kept(self, row: Any, document: Any) -> dict[str, Any]:
        kept = {name: values.scalar(path.find(row, document)) for name, path in self._attributes.items()}
        if self._ignition is not None:
            kept["ignition"] = self._ignition.flag(row, document)
        return {name: value for name, value in kept.items() if value is not None}


def _received_ms(context: Context, received_ms: int) -> int:
    return received_ms if context.reference_ms is None else context.reference_ms


def _iso_ms(value: Any, name: str) -> int:
    try:
        time_ms = parse_rfc3339(value if isinstance(value, str) and len(value) <= values.MAX_NUMBER_CHARS else "")
    except (ValueError, OverflowError):
        raise Unreadable(f"{name} is {values.shown(value)}, no time in RFC 3339 with a zone") from None
    found = values.time_ms(time_ms, name, per_second=1000)
    assert found is not None, "a number is"
    return found


def _halves(value: Any, name: str) -> tuple[Any, Any]:
    """The two numbers of a place; a GeoJSON position may carry a third, the height, which no path asked for."""
    if value is None:
        return None, None
    parts = value.split(",") if isinstance(value, str) and len(value) <= values.MAX_TEXT_CHARS else value
    if not isinstance(parts, list) or len(parts) not in {2, 3}:
        raise Unreadable(f"{name} is neither a text of two numbers nor an array of them")
    return parts[0], parts[1]


@functools.lru_cache(maxsize=256)
def _mapping(options: Options) -> _Mapping:
    """A payload has a decoder of its own, and many payloads one mapping: it is made once for each route's options."""
    return _Mapping(options)


def _decoder(context: Context, options: Options) -> JsonDecoder:
    return JsonDecoder(functools.partial(_mapping(options).read, context), context.device_id)


def _encoder(options: Options) -> JsonEncoder:
    return JsonEncoder(_Writer(options).write)


class _Writer:
    """A document that the mapping reads; several fixes are a batch. What no path names is left out."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def write(self, fixes: Sequence[Position]) -> Any:
        document: dict[str, Any] = {}
        rows = [self._row(fix, document) for fix in fixes]
        if self._options.batch is None:
            return one_or_array(rows)
        _put(document, document, self._options.batch, rows)
        return document

    def _row(self, fix: Position, document: dict[str, Any]) -> dict[str, Any]:
        o = self._options
        scale = o.coordinate_scale
        lat, lon = (
            None if deg is None else deg if scale == 1 else round(deg / scale) for deg in (fix.lat_deg, fix.lon_deg)
        )
        unit_ms = {"s": 1000, "ms": 1}.get(o.time_unit)
        ms = fix.time_ms or 0
        pair = o.lat_lon or o.lon_lat
        written: list[tuple[str | None, Any]] = [
            (o.device_id, fix.device_id),
            (None if o.time_unit == "receipt" else o.time, rfc3339(ms) if unit_ms is None else ms / unit_ms),
            (pair, None if lat is None else [lat, lon] if o.lat_lon else [lon, lat]),
            (None if pair else o.lat, lat),
            (None if pair else o.lon, lon),
            (o.altitude, fix.altitude_m),
            (o.speed, None if fix.speed_mps is None else fix.speed_mps / MPS_PER[o.speed_unit]),
            (o.course, fix.course_deg),
            (o.accuracy, fix.accuracy_m),
            (o.satellites, fix.satellites),
            (o.hdop, fix.hdop),
            (o.valid, fix.valid),
            (o.ignition, fix.attributes.get("ignition")),
            *((path, fix.attributes.get(name)) for name, path in o.attributes.items()),
        ]
        row: dict[str, Any] = {}
        for path, value in written:
            if path is not None:
                _put(row, row if o.batch is None else document, path, value)
        return row


def _put(row: dict[str, Any], document: dict[str, Any], path: str, value: Any) -> None:
    """Write a value where `path` will find it; array indices become keys, which a path finds too."""
    into = document if path.startswith("$") else row
    *way, last = _Path(path).keys
    for key in way:
        into = into.setdefault(key, {})
    into[last] = value


CODEC = Codec(
    name="json",
    title="JSON by a mapping",
    decoder=_decoder,
    encoder=_encoder,
    options_type=Options,
    transports=("mqtt", "http", "tcp"),
    text=True,
)
