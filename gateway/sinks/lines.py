"""Positions and events as InfluxDB line protocol, a batch at a time.

Measurement `position`: tag `device`, and tag `n` ("1", "2" …) for a second, third … fix of one instant, so that no fix
ever overwrites another. Measurement `event`: tags `type` and `vehicle`. Field types are fixed for ever, whatever devices
send, since one wrong type makes a database refuse or drop a point: every number is a float, an attribute's boolean is
1.0 or 0.0, and its text stands under NAME_text. Coordinates are fields, never tags.
Format: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache

from gateway.cloudevents import event_id
from gateway.model import Entry, Event, FrameItem, Position, Scalar

NS_PER_MS = 1_000_000
EVENT_NS_MODULUS = 999_983
"""Two events of one vehicle, type and millisecond differ by their sequence number in the nanoseconds."""
_NUMBERS = (
    "altitude_m", "speed_mps", "course_deg", "satellites", "hdop", "accuracy_m",
)  # fmt: skip
_EVENT_NUMBERS = ("lateness_s", "confidence", "distance_to_stop_m")


@lru_cache(maxsize=65_536)
def escaped(text: str) -> str:
    """A tag value or field key. Line breaks have no escape in the format and become spaces; a backslash is itself, but
    at the end it would swallow the separator, and an empty value is not allowed: both get an underscore.
    """
    text = text.replace("\r", " ").replace("\n", " ")
    if not text or text.endswith("\\"):
        text += "_"
    return text.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


def quoted(text: str) -> str:
    """A string field's value."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\r", " ") + '"'


def entry_lines(entry: Entry) -> Iterator[str]:
    """A line for each position of the entry that is a fix of its own; state-only messages have none."""
    for item in entry.items:
        if isinstance(item, FrameItem):
            for message, ordinal in zip(item.messages, item.ordinals, strict=True):
                if ordinal >= 0 and isinstance(message, Position):
                    yield position_line(message, ordinal, item.received_ms)


def position_line(p: Position, ordinal: int, received_ms: int) -> str:
    """The line of one journaled fix. Raises ValueError when it has no time or place: the journal admits none such."""
    if p.time_ms is None or p.lat_deg is None or p.lon_deg is None:
        raise ValueError("a position without time or place is state, not a fix")
    tags = f"position,device={escaped(p.device_id)}"
    if ordinal:
        tags += f",n={ordinal}"
    fields = f"lat_deg={p.lat_deg!r},lon_deg={p.lon_deg!r},received_s={received_ms / 1000!r}"
    fields += f",valid={1.0 if p.valid else 0.0}"
    for name in _NUMBERS:
        value = getattr(p, name)
        if value is not None:
            fields += f",{name}={float(value)!r}"
    if p.fix is not None:
        fields += f',fix="{p.fix}"'
    for name, value in p.attributes.items():
        fields += attribute_field(name, value)
    return f"{tags} {fields} {p.time_ms * NS_PER_MS}"


def attribute_field(name: str, value: Scalar) -> str:
    """`,name=1.0` or `,name_text="…"`; nothing for a number that is none."""
    if isinstance(value, str):
        return f",{escaped(name)}_text={quoted(value)}"
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return ""
    return f",{escaped(name)}={number!r}" if math.isfinite(number) else ""


def event_line(event: Event) -> str:
    """The line of one event, at the time it happened."""
    e = event
    fields = f"id={quoted(event_id(e))},key={quoted(e.key)},status={quoted(e.status)},revision={float(e.revision)}"
    fields += f",seq={quoted(str(e.seq))},detected_s={e.detected_ms / 1000!r},late={1.0 if e.late else 0.0}"
    texts = {
        "plan": e.plan_id,
        "stop": e.stop.stop_id if e.stop else None,
        "fence": e.fence_id,
        "early_late": e.early_late,
        "method": e.method,
    }
    for name, text in texts.items():
        if text is not None:
            fields += f",{name}={quoted(text)}"
    for name in _EVENT_NUMBERS:
        value = getattr(e, name)
        if value is not None:
            fields += f",{name}={float(value)!r}"
    for name, value in e.measures.items():
        if value is not None:
            fields += attribute_field(name, value)
    time_ns = e.time_ms * NS_PER_MS + e.seq % EVENT_NS_MODULUS
    return f"event,type={escaped(e.type)},vehicle={escaped(e.vehicle_id)} {fields} {time_ns}"


def halves(lines: list[str]) -> Iterable[list[str]]:
    """A batch in two, for finding the line that a database refuses."""
    middle = len(lines) // 2
    return (lines[:middle], lines[middle:])
