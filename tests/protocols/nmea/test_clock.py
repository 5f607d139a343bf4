"""Dates: from the receiver, from what it said last, from the receive time; midnight, rollover, and firmware's inventions."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.base import Context
from gateway.protocols.nmea import NmeaDecoder, NmeaOptions
from gateway.protocols.nmea.clock import DAY_MS, ROLLOVER_MS, ROLLOVER_WINDOW_MS, Clock, day_number, nearest
from tests.protocols.nmea.wire import NOW_MS, gga, positions, sentence

MIDNIGHT_MS = NOW_MS // DAY_MS * DAY_MS


@given(st.integers(0, DAY_MS - 1), st.integers(0, 4_000_000_000_000))
def test_the_nearest_instant_of_a_time_of_day(tod_ms: int, reference_ms: int) -> None:
    found = nearest(tod_ms, reference_ms)
    assert found % DAY_MS == tod_ms
    assert -DAY_MS // 2 <= found - reference_ms <= DAY_MS // 2


@given(st.integers(1, 9999), st.integers(0, 99), st.integers(0, 99))
def test_a_day_that_does_not_exist_is_none(year: int, month: int, day: int) -> None:
    number = day_number(year, month, day)
    try:
        exists = 1980 <= dt.date(year, month, day).year < 2100
    except ValueError:
        exists = False
    assert (number is not None) == exists
    if number is not None:
        assert dt.date(1970, 1, 1) + dt.timedelta(days=number) == dt.date(year, month, day)


@given(st.integers(-3, 3), st.integers(-2 * ROLLOVER_WINDOW_MS, 2 * ROLLOVER_WINDOW_MS))
def test_a_date_is_moved_by_whole_rollovers_and_only_close_to_the_reference(rollovers: int, off_ms: int) -> None:
    true_ms = NOW_MS + off_ms
    said_ms = true_ms - rollovers * ROLLOVER_MS
    clock = Clock()
    clock.says(said_ms // DAY_MS, said_ms % DAY_MS, NOW_MS)
    time_ms, marks = clock.date(said_ms % DAY_MS, NOW_MS, NOW_MS)
    if rollovers and abs(off_ms) <= ROLLOVER_WINDOW_MS:
        assert (time_ms, marks) == (true_ms, ("time_corrected",))
    else:
        assert (time_ms, marks) == (said_ms, ())


def test_times_of_day_alone_carry_the_date_on_for_days() -> None:
    """A live stream: receive time passes; a recording: it stands still. Both follow over three midnights."""
    for passes in (1, 0):
        clock = Clock()
        clock.says(MIDNIGHT_MS // DAY_MS, 0, NOW_MS)
        for hours in range(0, 72, 5):
            received_ms = NOW_MS + passes * hours * 3_600_000
            time_ms, marks = clock.date(hours * 3_600_000 % DAY_MS, received_ms, received_ms)
            assert (time_ms, marks) == (MIDNIGHT_MS + hours * 3_600_000, ())


def test_after_a_pause_of_days_the_receive_time_tells_the_day() -> None:
    clock = Clock()
    clock.says(MIDNIGHT_MS // DAY_MS, 0, NOW_MS)
    later_ms = NOW_MS + 3 * DAY_MS + 60_000
    assert clock.date(60_000, later_ms, later_ms)[0] == MIDNIGHT_MS + 3 * DAY_MS + 60_000


def test_without_a_date_the_receive_time_gives_it_and_says_so() -> None:
    decoder = NmeaDecoder(Context(), NmeaOptions())
    received_ms = MIDNIGHT_MS + 5_000
    frames = decoder.feed(gga("235958") + gga("000001"), received_ms) + decoder.end(received_ms)
    assert [p.time_ms for p in positions(frames)] == [MIDNIGHT_MS - 2_000, MIDNIGHT_MS + 1_000]
    assert {p.marks for p in positions(frames)} == {("date_from_receipt",)}


@given(st.text("0123456789-", max_size=7), st.text("0123456789.", max_size=10), st.sampled_from("AV"))
def test_no_date_or_time_raises(date: str, time: str, status: str) -> None:
    decoder = NmeaDecoder(Context(), NmeaOptions())
    decoder.feed(sentence(f"GPRMC,{time},{status},5155.5,N,00434.6,E,1.0,90.0,{date},,,A"), NOW_MS)
    decoder.feed(sentence(f"GPZDA,{time},{date[:2]},{date[2:4]},{date[4:]},00,00"), NOW_MS)
    for position in positions(decoder.end(NOW_MS)):
        assert position.time_ms is None or abs(position.time_ms) < 4_200_000_000_000
