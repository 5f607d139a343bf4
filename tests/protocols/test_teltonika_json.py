"""Teltonika Codec JSON: types that vary, records without a fix, what is no record. Exact values are in the vectors."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.model import Malformed, Message, Position
from gateway.protocols import new_decoder, new_encoder
from gateway.protocols.base import Context

REPORTED = {"ts": 1_700_000_000_000, "latlng": "54.671234,-25.254321", "alt": 141, "ang": 259, "sat": 8, "sp": 54}


def messages(document: Any, context: Context | None = None) -> list[Message]:
    decoder = new_decoder("teltonika_json", context or Context(device_id="t"))
    data = msgspec.json.encode(document)
    return [m for frame in decoder.feed(data, 0) + decoder.end(0) for m in frame.messages]


def position(**change: Any) -> Position:
    (found,) = messages({"state": {"reported": {**REPORTED, **change}}})
    assert isinstance(found, Position), found
    return found


def test_text_and_number_mean_the_same() -> None:
    as_text = {key: str(value) for key, value in REPORTED.items()}
    assert position(**as_text, **{"239": "1", "66": "12508"}) == position(**{"239": 1, "66": 12_508})
    assert position().speed_mps == 15.0


@pytest.mark.parametrize("change", [{"latlng": "0.000000,0.000000"}, {"latlng": "0,0"}, {"latlng": None}, {"sat": "0"}])
def test_no_fix(change: dict[str, Any]) -> None:
    found = position(**change)
    assert (found.valid, found.fix, found.speed_mps, found.course_deg) == (False, "none", None, None)


@pytest.mark.parametrize("change", [{"latlng": "54.6"}, {"latlng": [54, 25]}, {"latlng": "91,5"}, {"ts": None}, {"ts": "x"}, {"sat": 2.5}, {"sp": "fast"}])  # fmt: skip
def test_what_cannot_be_meant_is_malformed(change: dict[str, Any]) -> None:
    (found,) = messages({"state": {"reported": {**REPORTED, **change}}})
    assert isinstance(found, Malformed)


@pytest.mark.parametrize("document", [7, {}, {"state": None}, {"state": {"reported": []}}, {"state": {"desired": {}}}])
def test_what_is_no_record(document: Any) -> None:
    (found,) = messages(document)
    assert isinstance(found, Malformed)


def test_unknown_elements_keep_their_number_and_others_their_documented_range() -> None:
    found = position(**{"238": "0x00AB", "113": 140, "72": -185, "24": "60", "999999": 1, "x": 2, "70": [1]})
    assert found.attributes == {"io_238": "0x00AB", "io_113": 140, "temperature_1_c": -18.5}
    assert found.speed_mps == pytest.approx(60 / 3.6)


def test_the_topic_names_the_device() -> None:
    (found,) = messages({"state": {"reported": REPORTED}}, Context())
    assert isinstance(found, Malformed)
    (found,) = messages({"state": {"reported": REPORTED}}, Context(client_id="c"))
    assert isinstance(found, Position)


def test_a_bad_record_in_an_array_spares_its_neighbours() -> None:
    good = {"state": {"reported": REPORTED}}
    assert [type(m) for m in messages([good, {}, good])] == [Position, Malformed, Position]


def test_the_encoder_carries_elements_and_no_fix() -> None:
    sent = Position(
        device_id="t",
        time_ms=1_700_000_000_000,
        lat_deg=None,
        lon_deg=None,
        valid=False,
        hdop=0.7,
        attributes={"ignition": True, "external_voltage_v": 12.508, "io_238": "0x00AB", "note": "left out"},
    )
    document = msgspec.json.decode(new_encoder("teltonika_json").positions([sent]))
    reported = document["state"]["reported"]
    assert (reported["latlng"], reported["sat"], reported["239"], reported["66"]) == ("0.000000,0.000000", 0, 1, 12_508)
    assert (reported["238"], reported["182"]) == ("0x00AB", 7)
    (got,) = messages(document)
    assert isinstance(got, Position)
    assert not got.valid
