"""Line protocol for InfluxDB, next to a Point of influxdb-client for each position, with the same tags and fields."""

from __future__ import annotations

from collections.abc import Iterator

from influxdb_client import Point, WritePrecision

from benchmarks.fleet import Fleet, received
from benchmarks.measure import Contest, Pace, repeated
from gateway.model import Entry, FrameItem, Position
from gateway.sinks.lines import entry_lines

VANS = 200
FIELDS = ("lat_deg", "lon_deg", "altitude_m", "speed_mps", "course_deg", "satellites", "hdop")


def contests(pace: Pace) -> Iterator[Contest]:
    fixes = Fleet(VANS).fixes(pace.scaled(2_000))
    entry = Entry(1, tuple(journaled(fix) for fix in fixes))

    def ours() -> list[str]:
        return list(entry_lines(entry))

    def naive() -> list[str]:
        return [_point(fix).to_line_protocol() for fix in fixes]

    if any(not _same(a, b) for a, b in zip(ours(), naive(), strict=True)):
        raise ValueError("the two ways write different lines")
    yield Contest(
        stage="lines",
        case=f"line protocol, entries of {len(fixes):,} fixes, 13 fields",
        against="influxdb-client: one Point per position, to_line_protocol",
        ours=repeated(lambda: len(ours()), pace.at_least_s),
        naive=repeated(lambda: len(naive()), pace.at_least_s),
    )


def journaled(fix: Position) -> FrameItem:
    """A frame of one fix, as the journal hands it to its readers."""
    r = received(fix, b"")
    return FrameItem(
        source=r.source,
        protocol=r.protocol,
        received_ms=r.received_ms,
        device_id=r.device_id,
        raw=r.frame.raw,
        messages=(fix,),
        ordinals=(0,),
    )


def _point(fix: Position) -> Point:
    point = Point("position").tag("device", fix.device_id)
    for name in FIELDS:
        point.field(name, float(getattr(fix, name)))
    point.field("received_s", ((fix.time_ms or 0) + 500) / 1000).field("valid", 1.0 if fix.valid else 0.0)
    point.field("fix", fix.fix)
    for name, value in fix.attributes.items():
        point.field(name, float(value))
    return point.time((fix.time_ms or 0) * 1_000_000, WritePrecision.NS)


def _same(ours: str, naive: str) -> bool:
    """Their order of fields differs, and how they write a whole number."""
    return [_parts(each) for each in ours.split(" ")] == [_parts(each) for each in naive.split(" ")]


def _parts(text: str) -> list[str]:
    return sorted(f"{part}".removesuffix(".0") for part in text.split(","))
