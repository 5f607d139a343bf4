"""The mapping: what its options promise, and what it refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.model import Malformed, Message, Position
from gateway.protocols import new_decoder, new_encoder
from gateway.protocols.base import Context
from gateway.protocols.json_mapping import Options, _mapping
from gateway.times import parse_rfc3339

NOW_MS = parse_rfc3339("2026-03-02T12:00:00Z")
ROW = {"time": "2026-03-02T09:00:00Z", "lat": 48.137154, "lon": -11.576124}


def messages(document: Any, context: Context | None = None, **options: Any) -> list[Message]:
    decoder = new_decoder("json", context or Context(device_id="v"), options)
    data = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return [m for frame in decoder.feed(data, NOW_MS) + decoder.end(NOW_MS) for m in frame.messages]


def position(document: Any, context: Context | None = None, **options: Any) -> Position:
    (found,) = messages(document, context, **options)
    assert isinstance(found, Position), found
    return found


def reason(document: Any, context: Context | None = None, **options: Any) -> str:
    (found,) = messages(document, context, **options)
    assert isinstance(found, Malformed), found
    return found.reason


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("a.b", {"a": {"b": 15}}),
        ("a.1.b", {"a": [0, {"b": "15"}]}),
        ("a.b.c", {"a.b.c": 15, "a": {"b": {"c": 1}}}),
        ("/a.b/c~1d/0", {"a.b": {"c/d": [15.0]}}),
        ("/x~01", {"x~1": 15}),
        ("$.a", {"a": 15}),
        ("$/a", {"a": 15}),
    ],
)
def test_paths(path: str, document: dict[str, Any]) -> None:
    assert position({**ROW, **document}, speed=path).speed_mps == 15


@pytest.mark.parametrize("path", ["a.c", "a.2", "a.-1", "b.x", "time.x", "/a/01x", "$.z"])
def test_paths_that_name_nothing_are_named(path: str) -> None:
    document = {**ROW, "a": [1, 2], "b": 5}
    assert repr(path) in reason(document, lat=path)
    assert position(document, speed=path).speed_mps is None, "what is optional may be absent"


@pytest.mark.parametrize(("unit", "sent"), [("m/s", 15), ("km/h", 54), ("kn", 29.158), ("mph", 33.554)])
def test_speed_units(unit: str, sent: float) -> None:
    assert position({**ROW, "v": sent}, speed="v", speed_unit=unit).speed_mps == pytest.approx(15, abs=1e-3)


@pytest.mark.parametrize(
    ("unit", "sent"),
    [("s", 1772442000.5), ("s", "1772442000.5"), ("ms", 1772442000500), ("iso", "2026-03-02T10:00:00.5+01:00")],
)
def test_time_units(unit: str, sent: Any) -> None:
    assert position({**ROW, "time": sent}, time_unit=unit).time_ms == parse_rfc3339("2026-03-02T09:00:00.5Z")


@pytest.mark.parametrize(
    ("unit", "sent"), [("s", None), ("s", "x"), ("ms", -1), ("iso", "2026-03-02T10:00:00"), ("iso", 5), ("iso", "")]
)
def test_times_that_are_none(unit: str, sent: Any) -> None:
    assert "time" in reason({**ROW, "time": sent}, time_unit=unit)


def test_the_receive_time_is_marked_and_a_recording_has_its_own() -> None:
    found = position(ROW, time=None, time_unit="receipt")
    assert (found.time_ms, found.marks) == (NOW_MS, ("time_from_receipt",))
    recorded = Context(device_id="v", reference_ms=5_000)
    assert position(ROW, recorded, time_unit="receipt").time_ms == 5_000


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"lat_lon": "p"}, "48.137154,-11.576124"),
        ({"lat_lon": "p"}, [48.137154, "-11.576124"]),
        ({"lon_lat": "p"}, [-11.576124, 48.137154, 519]),
        ({"lon_lat": "p", "coordinate_scale": 1e-7}, [-115761240, 481371540]),
    ],
)
def test_places_in_one_value(options: dict[str, Any], value: Any) -> None:
    found = position({"time": ROW["time"], "p": value}, **options)
    assert (found.lat_deg, found.lon_deg, found.valid) == (48.137154, -11.576124, True)


@pytest.mark.parametrize("value", [None, [0, 0], "0.000000,0.000000", [None, None]])
def test_no_fix(value: Any) -> None:
    found = position({"time": ROW["time"], "p": value}, lat_lon="p")
    assert (found.lat_deg, found.lon_deg, found.valid, found.fix) == (None, None, False, "none")


@pytest.mark.parametrize("value", ["48", "a,b", [1], [1, 2, 3, 4], {"lat": 1}, [91, 0], 7])
def test_places_that_are_none(value: Any) -> None:
    assert reason({"time": ROW["time"], "p": value}, lat_lon="p")


@pytest.mark.parametrize(("said", "valid"), [(1, True), ("A", True), ("Valid", True), (False, False), ("V", False)])
def test_validity(said: Any, valid: bool) -> None:
    assert position({**ROW, "ok": said}, valid="ok").valid is valid
    assert "neither" in reason({**ROW, "ok": "perhaps"}, valid="ok")


def test_who_it_is() -> None:
    anonymous = Context()
    assert position({**ROW, "id": 77}, anonymous, device_id="id").device_id == "77"
    assert position(ROW, Context(client_id="c-9")).device_id == "c-9"
    assert position({**ROW, "id": "x"}, Context(device_id="bound"), device_id="id").device_id == "bound"
    assert "'id'" in reason(ROW, anonymous, device_id="id")
    assert "device id" in reason({**ROW, "id": {}}, anonymous, device_id="id")
    assert "device" in reason(ROW, anonymous)
    assert "128" in reason({**ROW, "id": "x" * 129}, anonymous, device_id="id")


def test_a_wrong_row_spares_its_neighbours() -> None:
    rows = [ROW, {**ROW, "lat": "north"}, 7, {**ROW, "lat": None}, ROW]
    got = messages(rows)
    assert [type(m) for m in got] == [Position, Malformed, Malformed, Position, Position]
    assert [type(m) for m in messages({"rows": rows, "lat": 1}, batch="rows")] == [type(m) for m in got]


@pytest.mark.parametrize("document", [{}, {"rows": {}}, {"rows": None}, [1]])
def test_a_batch_that_is_none(document: Any) -> None:
    assert "'rows'" in reason(document, batch="rows")


def test_nothing_is_read_that_no_path_names() -> None:
    found = position({**ROW, "speed": 99, "course": 9, "altitude": 9, "hdop": 1, "ignition": True})
    assert found == Position(
        device_id="v", time_ms=parse_rfc3339("2026-03-02T09:00:00Z"), lat_deg=48.137154, lon_deg=-11.576124
    )


def test_attributes_are_kept_as_they_are() -> None:
    document = {**ROW, "io": {"fuel": 61.5, "door": False, "driver": "ann", "list": [1], "none": None}}
    paths = {name: f"io.{name}" for name in ("fuel", "door", "driver", "list", "none", "absent")}
    assert position(document, attributes=paths).attributes == {"fuel": 61.5, "door": False, "driver": "ann"}


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"latt": "x"}, "latt"),
        ({"lat_lon": "a", "lon_lat": "b"}, "both"),
        ({"lat": None}, "nothing says where"),
        ({"time": None}, "receipt"),
        ({"speed_unit": "furlong"}, "speed_unit"),
    ],
)
def test_wrong_options_are_refused_with_what_to_write(options: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        new_decoder("json", Context(), options)


def test_the_encoder_writes_what_the_same_mapping_reads() -> None:
    options: dict[str, Any] = {
        "batch": "/data/rows",
        "device_id": "$.data.id",
        "time": "t",
        "time_unit": "s",
        "lat": "p.1",
        "lon": "p.0",
        "coordinate_scale": 1e-7,
        "speed": "v",
        "speed_unit": "kn",
        "ignition": "io.ign",
        "attributes": {"fuel_pct": "io.fuel"},
    }
    sent = Position(
        device_id="van 7",
        time_ms=1_772_442_000_500,
        lat_deg=48.137154,
        lon_deg=-11.576124,
        speed_mps=15.0,
        attributes={"ignition": True, "fuel_pct": 61.5},
    )
    data = new_encoder("json", options).positions([sent, sent])
    assert messages(data, Context(), **options) == [sent, sent]


def test_the_mapping_is_made_once_for_equal_options_and_carries_no_sender() -> None:
    options = {"attributes": {"fuel_pct": "fuel"}, "speed": "v"}
    one, other = (msgspec.convert(options, Options) for _ in range(2))
    assert hash(one) == hash(other)
    assert _mapping(one) is _mapping(other)
    assert _mapping(one) is not _mapping(msgspec.convert({**options, "attributes": {"fuel_pct": "f"}}, Options))
    assert [position(ROW, Context(device_id=name), **options).device_id for name in ("a", "b")] == ["a", "b"]
