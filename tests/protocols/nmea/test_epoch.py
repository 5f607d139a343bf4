"""Which sentences are about one fix, and when it is told: once, and as soon as nothing more is due."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest

from gateway.model import Frame
from gateway.protocols.nmea.epoch import MAX_EPOCH_BYTES, MEMORY_EPOCHS, MIN_LEARNT_EPOCHS
from tests.protocols.nmea.wire import (
    GSV,
    NOW_MS,
    decode,
    gga,
    gll,
    gsa,
    new_decoder,
    positions,
    rmc,
    seconds,
    sentence,
    vtg,
)


def place(second: int) -> str:
    return f"5155.{5000 + second}"


def burst(order: str, second: int, step: float = 1.0) -> bytes:
    """One letter a sentence: Rmc, Gga, Vtg, S for GSA, V for GSV (v), L for GLL, E for GST, Z for ZDA."""
    at = second * step
    time = f"12{int(at) // 60:02d}{at % 60:06.3f}"
    makers: dict[str, Callable[[], bytes]] = {
        "R": lambda: rmc(time, place(second), speed=f"{second}.0"),
        "G": lambda: gga(time, place(second)),
        "V": lambda: vtg(f"{second}.0"),
        "S": gsa,
        "v": lambda: GSV,
        "L": lambda: gll(time, place(second)),
        "E": lambda: sentence(f"GPGST,{time},,,,,{second}.0,0.0,"),
        "Z": lambda: sentence(f"GPZDA,{time},06,05,2024,00,00"),
    }
    return b"".join(makers[letter]() for letter in order)


ORDERS = ["".join(order) for order in permutations("RGV")] + [
    "R", "G", "L", "GV", "RVGSvL", "GSvR", "GSRV", "ZGSRV", "SvRG", "LGRS", "GLSSvRVZE", "ERG", "RGE", "vSG", "VG", "SSGL"
]  # fmt: skip


@pytest.mark.parametrize("step", [0.1, 0.2, 1.0, 2.0])
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_of_sentences_gives_each_fix_once(order: str, step: float) -> None:
    """In one stream without pauses, and line by line with the pauses that a receiver makes."""
    count = 40
    bursts = [burst(order, second, step) for second in range(count)]
    live, now_ms, decoder = [], NOW_MS, new_decoder()
    for index, each in enumerate(bursts):
        now_ms += int(step * 1000)
        live += decoder.feed(each, now_ms)
        live += decoder.idle(now_ms + int(step * 500))
        if step >= 1 or index > 3:  # until then silence is a quarter of a second
            assert len(positions(live)) == index + 1, "told before the next burst"
    for frames in (live, decode(*bursts)):
        got = positions(frames)
        assert len(got) == count
        for second, position in enumerate(got):
            assert position.time_ms is not None
            assert position.time_ms - (got[0].time_ms or 0) == round(second * step * 1000)
            assert position.valid
            assert position.lat_deg == pytest.approx(51 + (55 + (5000 + second) / 10000) / 60, abs=1e-8)
            if "R" in order or (frames is live and "V" in order and second > 3):
                assert position.speed_mps == pytest.approx(second * 1852 / 3600)
            if "E" in order and frames is live and second > 3:
                assert position.accuracy_m == pytest.approx(1.068 * second, abs=1e-3)
    assert b"".join(frame.raw for frame in live) == b"".join(bursts)


def test_once_learnt_an_epoch_is_told_with_its_last_sentence() -> None:
    decoder = new_decoder()
    told: list[list[float | None]] = []
    for second in range(MIN_LEARNT_EPOCHS + 3):
        for line in burst("RGSSV", second).splitlines(keepends=True):
            told.append(seconds(decoder.feed(line, NOW_MS)))
    per_line = told[-5 * 2 :]
    assert per_line == [[], [], [], [], [4.0], [], [], [], [], [5.0]]


def test_before_that_the_next_epoch_or_silence_tells_it() -> None:
    decoder = new_decoder()
    assert decoder.feed(burst("RGV", 0), NOW_MS) == []
    assert decoder.idle(NOW_MS + 249) == []
    assert seconds(decoder.idle(NOW_MS + 250)) == [0.0]
    assert decoder.idle(NOW_MS + 900) == []
    assert decoder.feed(burst("RG", 1), NOW_MS + 1000) == []
    assert seconds(decoder.feed(burst("R", 2), NOW_MS + 1000)) == [1.0]


@pytest.mark.parametrize(("step", "silence_ms"), [(0.1, 50), (1.0, 250), (2.0, 500)])
def test_silence_is_a_quarter_of_the_period_that_was_learnt(step: float, silence_ms: int) -> None:
    decoder = new_decoder()
    decoder.feed(b"".join(burst("RG", second, step) for second in range(4)) + burst("R", 4, step), NOW_MS)
    assert decoder.idle(NOW_MS + silence_ms - 1) == []
    assert len(positions(decoder.idle(NOW_MS + silence_ms))) == 1


def test_a_sentence_whose_line_end_does_not_come_is_taken_in_silence() -> None:
    decoder = new_decoder()
    decoder.feed(burst("R", 0).rstrip(), NOW_MS)
    assert seconds(decoder.idle(NOW_MS + 1000)) == [0.0]


def test_a_sentence_that_comes_now_and_then_is_waited_for() -> None:
    decoder = new_decoder()
    told = []
    for second in range(40):
        told += decoder.feed(burst("RGS" if second % 5 == 0 else "RG", second), NOW_MS)
    told += decoder.end(NOW_MS)
    assert [p.fix for p in positions(told)].count("3d") == 40
    assert len(positions(told)) == 40
    hdops = [p.hdop for p in positions(told)]
    assert hdops == [1.5] * 40


def test_a_straggler_changes_nothing_and_is_waited_for_from_then_on() -> None:
    """VTG is switched on: the first comes after its epoch was told. It must not become the next fix's speed."""
    decoder = new_decoder()
    frames: list[Frame] = []
    for second in range(8):
        frames += decoder.feed(burst("G", second), NOW_MS)
    for second in range(8, 16):
        frames += decoder.feed(burst("GV", second), NOW_MS)
    frames += decoder.end(NOW_MS)
    speeds = [p.speed_mps for p in positions(frames)]
    assert speeds[:9] == [None] * 9
    assert speeds[9:] == pytest.approx([second * 1852 / 3600 for second in range(9, 16)])


def test_a_kind_that_was_switched_off_is_forgotten() -> None:
    decoder = new_decoder()
    for second in range(8):
        decoder.feed(burst("RGV", second), NOW_MS)
    for second in range(8, 10 + 2 * MEMORY_EPOCHS):
        decoder.feed(burst("RG", second), NOW_MS)
    assert seconds(decoder.feed(burst("RG", 50), NOW_MS)) == [50.0]


def test_a_late_sentence_of_a_told_epoch_says_nothing() -> None:
    decoder = new_decoder()
    for second in range(6):
        decoder.feed(burst("RG", second), NOW_MS)
    frames = decoder.feed(burst("L", 5) + burst("RGL", 6), NOW_MS) + decoder.end(NOW_MS)
    assert seconds(frames) == [6.0]


def test_a_frozen_receiver_tells_its_fix_once_and_takes_no_memory() -> None:
    decoder = new_decoder()
    frames: list[Frame] = []
    for _ in range(2000):
        frames += decoder.feed(burst("G", 7), NOW_MS)
    frames += decoder.end(NOW_MS)
    assert seconds(frames) == [7.0]
    assert max(len(frame.raw) for frame in frames) < MAX_EPOCH_BYTES + 100


def test_a_damaged_sentence_costs_no_other_of_its_epoch() -> None:
    data = bytearray(burst("RGV", 1) + burst("RGV", 2) + burst("RGV", 3))
    at = data.index(b"GGA,120002") + 20
    data[at] ^= 1
    frames = decode(bytes(data))
    assert seconds(frames) == [1.0, 2.0, 3.0]
    assert [p.altitude_m for p in positions(frames)] == [5.0, None, 5.0]
    assert [p.speed_mps for p in positions(frames)] == pytest.approx([n * 1852 / 3600 for n in (1, 2, 3)])


def test_times_of_different_precision_are_one_time() -> None:
    frames = decode(gll("030129.000") + gga("030129.00") + rmc("030129.0") + gga("030129"))
    assert seconds(frames) == [29.0]


def test_at_50_hz_neighbours_stay_apart() -> None:
    frames = decode(*(gga(f"1200{n // 50:02d}.{n % 50 * 2:02d}") for n in range(100)))
    assert len(positions(frames)) == 100


def test_before_it_knows_the_time_each_burst_is_an_epoch() -> None:
    nothing = sentence("GPGGA,,,,,,0,,,,M,,M,,") + sentence("GPGLL,,,,,,V,N") + sentence("GPRMC,,V,,,,,,,,,,N")
    frames = decode(nothing * 3 + burst("GLR", 4))
    assert seconds(frames) == [None, None, None, 4.0]
    assert [p.valid for p in positions(frames)] == [False, False, False, True]


def test_a_new_stream_starts_afresh_but_keeps_the_date() -> None:
    decoder = new_decoder()
    decoder.feed(burst("RG", 1), NOW_MS)
    assert seconds(decoder.end(NOW_MS)) == [1.0]
    frames = decoder.feed(burst("G", 1), NOW_MS) + decoder.end(NOW_MS)
    assert [p.marks for p in positions(frames)] == [()]


def test_gnss_without_position_is_bytes_and_no_message() -> None:
    frames = decode(GSV * 3 + gsa())
    assert [frame.messages for frame in frames] == [()]


def test_where_the_burst_begins_is_learnt_from_silence() -> None:
    """GSA first, told at the GGA; then two bursts come in one read. The GSA between them is the second one's."""
    decoder = new_decoder()
    for second in range(5):
        decoder.feed(burst("SRG", second), NOW_MS + second * 1000)
        decoder.idle(NOW_MS + second * 1000 + 500)
    frames = decoder.feed(burst("SRG", 5) + gsa(mode=2) + burst("RG", 6) + burst("SRG", 7), NOW_MS + 7000)
    assert seconds(frames) == [5.0, 6.0, 7.0]
    assert [p.fix for p in positions(frames)] == ["3d", "2d", "3d"]


def test_without_silence_the_first_partial_epoch_teaches_nothing() -> None:
    """The first epoch holds the GSA before it and the one after: two of them must not be waited for later."""
    decoder = new_decoder()
    decoder.feed(b"".join(burst("SRG", second) for second in range(6)), NOW_MS)
    assert seconds(decoder.feed(gsa(), NOW_MS)) == [5.0]
