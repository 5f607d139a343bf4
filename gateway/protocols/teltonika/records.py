"""The records of an AVL packet, read with struct: the hot path. `layout` declares the same and is its oracle in tests."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from msgspec import Struct

from gateway.model import Malformed, Position, Scalar
from gateway.protocols.teltonika.elements import BY_WIDTH, GENERATION_TYPES, Element, variable_value
from gateway.protocols.values import MAX_TIME_MS, bounded

_FIX = struct.Struct(">QBiihHBH")
_VARIABLE = struct.Struct(">HH")
_NO_ELEMENTS: dict[int, Element] = {}


class _Group(Struct, frozen=True):
    """The elements of one width: how to read id and value, and which ids are known."""

    pair: struct.Struct
    known: dict[int, Element]


class Layout(Struct, frozen=True):
    """What differs between the codecs: event id [, generation], total; the counts; the groups; variable elements."""

    head: struct.Struct
    count: struct.Struct
    groups: tuple[_Group, ...]
    generation: bool = False
    variable: bool = False


def _layout(
    head: str, count: str, io_id: str, widths: str, *, generation: bool = False, variable: bool = False
) -> Layout:
    values = {"1": "B", "2": "H", "4": "I", "8": "8s", "x": "16s"}
    groups = tuple(
        _Group(struct.Struct(f">{io_id}{values[w]}"), BY_WIDTH[int(w)] if w in "124" else _NO_ELEMENTS) for w in widths
    )
    return Layout(struct.Struct(head), struct.Struct(count), groups, generation, variable)


LAYOUTS = {
    0x08: (_layout(">BB", ">B", "B", "1248"), _layout(">BB", ">B", "B", "1248x")),
    0x8E: (_layout(">HH", ">H", "H", "1248", variable=True),),
    0x10: (_layout(">HBB", ">B", "H", "1248", generation=True),),
}
"""By codec id; where there are two, the second is tried when the packet does not fit the first. Some firmware adds a
group of 16-byte elements to Codec 8 and does not say so: only the packet's length tells."""


def read_records(body: bytes, device_id: str) -> list[Position | Malformed]:
    """The records of a packet whose CRC was right, oldest as sent: `body` is codec id … second count.

    A record that cannot be true (a place off the earth, a time beyond the calendar) is Malformed and costs no other.
    Raises ValueError, with the reason, where the packet does not fit its codec's layout.
    """
    reason = ""
    for layout in LAYOUTS[body[0]]:
        try:
            return _read(body, device_id, layout)
        except (ValueError, struct.error) as error:
            reason = reason or str(error)
    raise ValueError(f"the packet does not fit the layout of codec 0x{body[0]:02x}: {reason}")


def _read(body: bytes, device_id: str, layout: Layout) -> list[Position | Malformed]:
    at = 2
    end = len(body) - 1
    found: list[Position | Malformed] = []
    for _ in range(body[1]):
        message, at = _read_record(body, at, device_id, layout)
        if at > end:
            raise ValueError("the records go beyond its end")
        found.append(message)
    if at != end:
        raise ValueError(f"{end - at} bytes follow its last record")
    if body[end] != body[1]:
        raise ValueError(f"it announces {body[1]} records, and closes with {body[end]}")
    return found


def _read_record(body: bytes, at: int, device_id: str, layout: Layout) -> tuple[Position | Malformed, int]:
    fix = _FIX.unpack_from(body, at)
    at += _FIX.size
    head = layout.head.unpack_from(body, at)
    at += layout.head.size
    attributes: dict[str, Scalar] = {"priority": fix[1]}
    if head[0]:
        attributes["event_id"] = head[0]
    if layout.generation:
        attributes["generation_type"] = GENERATION_TYPES[head[1]] if head[1] < len(GENERATION_TYPES) else str(head[1])
    for group in layout.groups:
        (count,) = layout.count.unpack_from(body, at)
        at += layout.count.size
        end = at + count * group.pair.size
        for io_id, wire in group.pair.iter_unpack(body[at:end]):
            element = group.known.get(io_id)
            value = None if element is None else element.of_unsigned(wire)
            if element is None or value is None:
                attributes[f"io_{io_id}"] = wire if isinstance(wire, int) else wire.hex()
            else:
                attributes[element.name] = value
        at = end
    if layout.variable:
        (count,) = layout.count.unpack_from(body, at)
        at += layout.count.size
        for io_id, start, end in _variable_elements(body, at, count):
            name, text = variable_value(io_id, body[start:end])
            attributes[name] = text
            at = end
    return _position(fix, device_id, attributes), at


def _variable_elements(body: bytes, at: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Id, start and end of each."""
    for _ in range(count):
        io_id, length = _VARIABLE.unpack_from(body, at)
        start, at = at + _VARIABLE.size, at + _VARIABLE.size + length
        yield io_id, start, at


def _position(fix: tuple[int, ...], device_id: str, attributes: dict[str, Scalar]) -> Position | Malformed:
    """A position of the record's fixed part.

    Without a fix (no satellites, or 0° 0°) the coordinates are those of the last fix, and speed and angle say nothing.
    A device that sends element 24 means that speed: it comes from the source it is configured for (GNSS, OBD or CAN).
    """
    time_ms, _, lon, lat, altitude_m, angle_deg, satellites, speed_kmh = fix
    if time_ms > MAX_TIME_MS:
        return Malformed(reason=f"a record's time, {time_ms} ms, is beyond the year 9999", device_id=device_id)
    if abs(lat) > 900_000_000 or abs(lon) > 1_800_000_000:
        what = f"a record's latitude {lat / 1e7}, longitude {lon / 1e7} is not on the earth"
        return Malformed(reason=what, device_id=device_id)
    somewhere = lat != 0 or lon != 0
    valid = somewhere and satellites > 0
    hdop = attributes.pop("hdop", None)
    speed_kmh = int(attributes.pop("speed_kmh", speed_kmh))
    return Position(
        device_id=device_id,
        time_ms=time_ms,
        lat_deg=lat / 1e7 if somewhere else None,
        lon_deg=lon / 1e7 if somewhere else None,
        altitude_m=float(altitude_m) if somewhere else None,
        speed_mps=speed_kmh / 3.6 if valid else None,
        course_deg=float(angle_deg % 360) if valid and angle_deg <= 360 else None,
        fix="gnss" if valid else "none",
        valid=valid,
        satellites=satellites,
        hdop=float(hdop) if hdop else None,
        attributes=bounded(attributes),
    )
