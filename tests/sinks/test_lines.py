"""Line protocol: exact lines, and text that tries to break out of them."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Event, Position
from gateway.sinks.lines import attribute_field, escaped, event_line, position_line

FIX = Position(
    device_id="TRK 17,a=b",
    time_ms=1_790_000_000_123,
    lat_deg=46.2512345,
    lon_deg=-6.1,
    speed_mps=12,
    fix="3d",
    satellites=9,
    attributes={"ignition": True, "fuel": 3, "note": 'a "b"\\', "bad": float("nan")},
)


def test_a_position_is_one_line_with_fixed_types() -> None:
    assert position_line(FIX, 0, 1_790_000_001_000) == (
        "position,device=TRK\\ 17\\,a\\=b lat_deg=46.2512345,lon_deg=-6.1,received_s=1790000001.0,valid=1.0,"
        'speed_mps=12.0,satellites=9.0,fix="3d",ignition=1.0,fuel=3.0,note_text="a \\"b\\"\\\\" 1790000000123000000'
    )


def test_a_second_fix_of_the_same_instant_is_a_series_of_its_own() -> None:
    assert position_line(FIX, 2, 0).startswith("position,device=TRK\\ 17\\,a\\=b,n=2 ")


def test_two_events_of_one_moment_differ_in_their_nanoseconds() -> None:
    same = {"type": "geofence.entered", "time_ms": 1_790_000_000_000, "detected_ms": 0, "vehicle_id": "v"}
    first, second = (event_line(Event(key=k, seq=n, **same)) for k, n in (("a", 7), ("b", 8)))  # type: ignore[arg-type]
    assert first.rsplit(" ", 1)[1] == "1790000000000000007"
    assert second.rsplit(" ", 1)[1] == "1790000000000000008"


@given(st.text(max_size=30))
def test_no_tag_value_breaks_out_of_its_place(text: str) -> None:
    safe = escaped(text)
    assert safe
    assert "\n" not in safe
    assert not safe.endswith("\\")
    for separator in " ,=":
        assert safe.count(separator) == safe.count("\\" + separator)


def test_numbers_that_are_none_are_left_out() -> None:
    assert attribute_field("x", float("inf")) == ""
    assert attribute_field("x", 10**400) == ""
    assert attribute_field("a b", 1) == ",a\\ b=1.0"


def test_every_kind_of_event_makes_a_line(event: Callable[..., Event]) -> None:
    assert event_line(event()).startswith("event,type=stop.arrived,vehicle=TRK-1 id=")
