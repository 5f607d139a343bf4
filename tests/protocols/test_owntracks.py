"""OwnTracks: only a location is a position; who sent it; what must not pass. Exact values are in the vectors."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.model import Malformed, Message, Position, Status
from gateway.protocols import new_decoder, new_encoder
from gateway.protocols.base import Context, HttpRequest

LOCATION = {"_type": "location", "tst": 1_700_000_000, "lat": 52.1, "lon": 4.3}


def messages(document: Any, context: Context | None = None) -> list[Message]:
    decoder = new_decoder("owntracks", context or Context(device_id="p"))
    data = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return [m for frame in decoder.feed(data, 0) + decoder.end(0) for m in frame.messages]


def position(document: Any, context: Context | None = None) -> Position:
    (found,) = messages(document, context)
    assert isinstance(found, Position), found
    return found


@pytest.mark.parametrize(
    ("document", "context", "name"),
    [
        ({}, Context(device_id="bound", topic="owntracks/jane/phone"), "bound"),
        ({"topic": "owntracks/a/b"}, Context(topic="owntracks/jane/phone"), "jane-phone"),
        ({"tid": "ne"}, Context(topic="owntracks/jane/phone/event"), "jane-phone"),
        ({"tid": "ne", "topic": "owntracks/jane/phone"}, Context(), "jane-phone"),
        ({"topic": "owntracks/qtripp/865284041968706"}, Context(), "865284041968706"),
        ({"imei": "865284041968706", "topic": "owntracks/jane/phone"}, Context(), "865284041968706"),
        ({"tid": "ne"}, Context(http=HttpRequest(headers={"X-Limit-U": "jane", "X-Limit-D": "phone"})), "jane-phone"),
        ({"tid": "ne"}, Context(http=HttpRequest(url="/pub?u=jane&d=phone")), "jane-phone"),
        ({"tid": "ne"}, Context(http=HttpRequest(url="/pub")), "ne"),
        ({}, Context(client_id="c-9"), "c-9"),
    ],
)
def test_who_sent_it(document: dict[str, Any], context: Context, name: str) -> None:
    assert position({**LOCATION, **document}, context).device_id == name


def test_nobody_is_malformed() -> None:
    (found,) = messages(LOCATION, Context())
    assert isinstance(found, Malformed)
    assert "names the device" in found.reason


@pytest.mark.parametrize(
    "kind", ["transition", "lwt", "status", "waypoint", "waypoints", "card", "steps", "cmd", "beacon"]
)
def test_no_other_type_is_a_position_whatever_it_carries(kind: str) -> None:
    (found,) = messages({**LOCATION, "_type": kind})
    assert isinstance(found, Status)


def test_a_configuration_keeps_its_secrets() -> None:
    (found,) = messages({"_type": "configuration", "password": "secret", "username": "jane", "host": "h"})
    assert isinstance(found, Status)
    assert found.attributes == {}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"_type": "encrypted", "data": "AAEC"}, "no key configured"),
        ({"_type": "hologram"}, "hologram"),
        ({"_type": None}, "_type"),
        ({"_type": ["location"]}, "_type"),
        ({"tst": None}, "tst"),
        ({"tst": -5}, "tst"),
        ({"tst": 1e15}, "tst"),
        ({"lat": "north"}, "lat"),
        ({"lat": 91}, "not on the earth"),
        ({"lon": True}, "lon"),
        ({"acc": {}}, "acc"),
    ],
)
def test_what_cannot_be_meant_is_told(change: dict[str, Any], what: str) -> None:
    (found,) = messages({**LOCATION, **change})
    assert isinstance(found, Malformed)
    assert what in found.reason
    assert found.device_id == "p"


@pytest.mark.parametrize("document", [b"7", b'"location"', b"null", b"[7]", b"{", b'{"_type":"location","tst":1e999}'])
def test_what_is_no_document(document: bytes) -> None:
    (found,) = messages(document)
    assert isinstance(found, Malformed)


@pytest.mark.parametrize("change", [{"lat": 0, "lon": 0}, {"lat": None, "lon": None}])
def test_no_fix(change: dict[str, Any]) -> None:
    found = position({**LOCATION, **change})
    assert (found.valid, found.fix, found.lat_deg) == (False, "none", None)


@pytest.mark.parametrize("sent", [{}, {"acc": 0, "vel": -1, "cog": -1}, {"acc": None, "vel": None}, {"acc": -1}])
def test_unknown_is_never_zero(sent: dict[str, Any]) -> None:
    found = position({**LOCATION, **sent})
    assert (found.accuracy_m, found.speed_mps, found.course_deg) == (None, None, None)


@pytest.mark.parametrize(
    ("sent", "ignition"), [({"t": "i"}, True), ({"t": "I"}, False), ({"t": "I", "ign": True}, True), ({"t": "u"}, None)]
)
def test_ignition_by_flag_or_else_by_trigger(sent: dict[str, Any], ignition: bool | None) -> None:
    assert position({**LOCATION, **sent}).attributes.get("ignition") is ignition


def test_an_extra_that_does_not_fit_does_not_cost_the_position() -> None:
    found = position({**LOCATION, "batt": "low", "ign": "perhaps", "odometer": [], "inregions": 3, "unknown": 1})
    assert found.attributes == {}


def test_a_batch_spares_the_neighbours_of_a_bad_document() -> None:
    assert [type(m) for m in messages([LOCATION, {"_type": "?"}, 5, LOCATION])] == [
        Position,
        Malformed,
        Malformed,
        Position,
    ]
    assert messages([]) == []


def test_the_encoder_writes_what_the_apps_write() -> None:
    sent = Position(
        device_id="van 7",
        time_ms=1_700_000_000_000,
        lat_deg=-33.856784,
        lon_deg=151.215297,
        speed_mps=15.0,
        accuracy_m=8.0,
        attributes={"odometer_m": 1_234_500, "ignition": True, "trigger": "t", "battery_pct": 66, "note": "left out"},
        device_time_ms=1_700_000_007_000,
    )
    data = new_encoder("owntracks").positions([sent])
    assert msgspec.json.decode(data) == {
        "_type": "location",
        "tid": " 7",
        "tst": 1_700_000_000,
        "created_at": 1_700_000_007,
        "lat": -33.856784,
        "lon": 151.215297,
        "acc": 8,
        "vel": 54,
        "odometer": 1234.5,
        "batt": 66,
        "ign": True,
        "t": "t",
    }
    with pytest.raises(ValueError, match="place"):
        new_encoder("owntracks").positions([Position(device_id="p", time_ms=1, lat_deg=None, lon_deg=None)])
