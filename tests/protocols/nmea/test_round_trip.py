"""The device's side against ours, and both against pynmea2's parser."""

from __future__ import annotations

import pynmea2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Position
from gateway.protocols import new_encoder
from gateway.protocols.base import Context
from gateway.protocols.nmea import NmeaDecoder, NmeaEncoder, NmeaOptions
from tests.protocols.nmea.wire import NOW_MS, positions

ALL = ("RMC", "VTG", "GGA", "GSA", "GLL", "ZDA", "GST")
HALF_MINUTE_DEG = 0.5e-5 / 60 + 1e-9


def maybe(values: st.SearchStrategy[float]) -> st.SearchStrategy[float | None]:
    return st.none() | values


@st.composite
def fixes(draw: st.DrawFn) -> Position:
    kind = draw(st.sampled_from(["2d", "3d", "estimated", "manual", "simulated"]))
    lat, lon = draw(st.floats(-90, 90)), draw(st.floats(-180, 180))
    return Position(
        device_id="nmea",
        time_ms=draw(st.integers(NOW_MS - 86_400_000, NOW_MS + 86_400_000)),
        lat_deg=lat if abs(lat) > 1e-6 else 1e-3,
        lon_deg=lon,
        altitude_m=draw(maybe(st.floats(-400, 9000))),
        speed_mps=draw(maybe(st.floats(0, 400))),
        course_deg=draw(maybe(st.floats(0, 359.99))),
        fix=kind,
        satellites=draw(st.integers(3, 30)),
        hdop=draw(maybe(st.floats(0.3, 49))),
        accuracy_m=draw(maybe(st.floats(0.1, 500))),
    )


def round_trip(sent: list[Position], options: NmeaOptions) -> list[Position]:
    decoder = NmeaDecoder(Context(reference_ms=NOW_MS), options)
    data = NmeaEncoder(options).positions(sent)
    return positions(decoder.feed(data, NOW_MS) + decoder.end(NOW_MS))


@given(fixes(), st.sampled_from(["GN", "GP", "GL", "BD", "II"]), st.booleans())
@settings(deadline=None)
def test_what_is_sent_is_read_within_the_resolution_of_the_format(fix: Position, talker: str, checked: bool) -> None:
    (got,) = round_trip([fix], NmeaOptions(talker=talker, sentences=ALL, write_checksum=checked))
    assert (got.time_ms, got.fix, got.valid, got.marks) == (fix.time_ms, fix.fix, True, ())
    assert got.satellites == fix.satellites
    for name, tolerance in (
        ("lat_deg", HALF_MINUTE_DEG),
        ("lon_deg", HALF_MINUTE_DEG),
        ("altitude_m", 0.00501),
        ("speed_mps", 0.00026),
        ("course_deg", 0.00501),
        ("hdop", 0.00501),
        ("accuracy_m", 0.002),
    ):
        want, have = getattr(fix, name), getattr(got, name)
        if want is not None:
            assert have == pytest.approx(want, abs=tolerance), name
        elif name != "accuracy_m":
            assert have is None, name


@given(fixes())
@settings(deadline=None, max_examples=50)
def test_pynmea2_reads_the_same(fix: Position) -> None:
    lines = NmeaEncoder(NmeaOptions(sentences=("RMC", "GGA"))).positions([fix]).decode().splitlines()
    theirs = [pynmea2.parse(line, check=True) for line in lines]
    (ours,) = round_trip([fix], NmeaOptions(sentences=("RMC", "GGA")))
    for sentence in theirs:
        assert ours.lat_deg == pytest.approx(sentence.latitude, abs=1e-9)
        assert ours.lon_deg == pytest.approx(sentence.longitude, abs=1e-9)
    rmc, gga = theirs
    assert ours.time_ms == round(rmc.datetime.timestamp() * 1000)
    assert ours.speed_mps == (None if rmc.spd_over_grnd is None else pytest.approx(rmc.spd_over_grnd * 1852 / 3600))
    assert ours.course_deg == rmc.true_course
    assert ours.altitude_m == gga.altitude
    assert ours.satellites == int(gga.num_sats)


def test_fixes_follow_each_other_and_a_lost_one_is_told() -> None:
    good = Position(device_id="nmea", time_ms=NOW_MS, lat_deg=-33.5, lon_deg=-70.25, fix="3d", satellites=9, hdop=1.0)
    lost = Position(device_id="nmea", time_ms=NOW_MS + 1000, lat_deg=None, lon_deg=None, fix="none", valid=False)
    got = round_trip([good, lost], NmeaOptions())
    assert [(p.time_ms, p.valid, p.fix) for p in got] == [(NOW_MS, True, "3d"), (NOW_MS + 1000, False, "none")]


def test_a_carry_into_the_next_minute_and_degree() -> None:
    fix = Position(device_id="nmea", time_ms=NOW_MS, lat_deg=9.99999999, lon_deg=-99.99999999, fix="2d", satellites=3)
    data = NmeaEncoder(NmeaOptions(sentences=("GLL",))).positions([fix])
    assert data.startswith(b"$GNGLL,1000.00000,N,10000.00000,W,120000.000,A,A*")


def test_an_encoder_writes_only_what_it_knows() -> None:
    with pytest.raises(ValueError, match="cannot write 'XYZ' sentences; there are GGA, GLL"):
        new_encoder("nmea", {"sentences": ["RMC", "XYZ"]})
