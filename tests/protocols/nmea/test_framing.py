"""Bytes into sentences: nothing costs the next good one, no split changes anything, nothing is held beyond a bound."""

from __future__ import annotations

import itertools
from functools import reduce
from operator import xor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.protocols.nmea.decoder import checksum
from gateway.protocols.nmea.framing import MAX_PENDING_BYTES, MAX_SENTENCE_BYTES, Framer
from tests.protocols.nmea.wire import GSV, NOW_MS, decode, gga, gsa, new_decoder, positions, reasons, rmc, sentence, vtg

GOOD = rmc("120000")
PIECES = st.one_of(
    st.sampled_from(
        [
            GOOD,
            gga("120000"),
            rmc("120001", speed="2.0"),
            gga("120001.00"),
            gsa(),
            vtg("3.0"),
            GSV,
            GOOD[:30],
            GOOD[40:],
            GOOD.lower(),
            sentence("GPRMC,120002,A,5155.5,N,00434.6,E,1.0,90.0,060524", "\r\r\n"),
            sentence("GPRMC,120003,A,5155.5,N,00434.6,E,1.0,90.0,060524", "\n"),
            sentence("GPRMC,120004,A,5155.5,N,00434.6,E,1.0,90.0,060524", "\r"),
            sentence("GPRMC,120005,A,5155.5,N,00434.6,E,1.0,90.0,060524", ""),
            b"\\s:mast,c:1714996800*12\\",
            b"!AIVDM,1,1,,B,13njCt031t0DA=lN2:jKmad60l1p,0*12\r\n",
            b"$GPTXT,hello! " + b"x" * 200,
            b"$" * 5,
            b"\\",
            b"!",
            b"\r",
            b"\n",
            b"\xb5b\x01\x07\x5c\x00",
        ]
    ),
    st.binary(max_size=40),
    st.text("$!\\*,\r\n GPRMCA019.", max_size=30).map(str.encode),
)


@given(st.binary(max_size=MAX_SENTENCE_BYTES))
def test_the_folded_checksum_is_the_xor_of_the_bytes(text: bytes) -> None:
    assert checksum(text) == reduce(xor, text, 0)


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r\r\n", "\r", ""])
@pytest.mark.parametrize(
    "noise",
    [b"", b"\x00", b"\r\n", b"$", b"$GP", b"$GPGGA,0301", b"!", b"\\", b"\\x", b"\xb5b\x01$", b"!AIVDM,1,1,,B,13nj"],
)
def test_noise_before_a_sentence_never_costs_it(noise: bytes, end: str) -> None:
    text = "GPRMC,120001,A,5155.5,N,00434.6,E,1.0,90.0,060524"
    got = positions(decode(noise + sentence(text, end) + noise + gga("120002")))
    assert [p.time_ms for p in got] == [NOW_MS + 1000, NOW_MS + 2000]


@given(st.lists(PIECES, max_size=12), st.lists(st.integers(0, 2000), max_size=12))
@example([b"$GPTXT,a!b", b"\r", b"\r\r\r\n"], [11, 12, 13])
@settings(max_examples=300, deadline=None)
def test_any_split_gives_the_same_frames_and_no_byte_disappears(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    marks = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    results = []
    for parts in (
        [data],
        [data[i : i + 1] for i in range(len(data))],
        [data[a:b] for a, b in itertools.pairwise(marks)],
    ):
        decoder = new_decoder()
        frames = [frame for part in parts for frame in decoder.feed(part, NOW_MS)] + decoder.end(NOW_MS)
        assert sum(len(frame.raw) for frame in frames) + decoder.noise_bytes == len(data)
        results.append((frames, decoder.noise_bytes))
    assert results[0] == results[1] == results[2]


@given(st.lists(PIECES, max_size=8), st.integers(0, 90))
@settings(max_examples=150, deadline=None)
def test_pending_bytes_are_bounded_whatever_comes(pieces: list[bytes], repeat: int) -> None:
    framer = Framer()
    for piece in pieces * repeat:
        list(framer.feed(piece))
        assert len(framer.pending) <= MAX_PENDING_BYTES


def test_an_overlong_sentence_is_cut_and_the_next_lives() -> None:
    frames = decode(b"$GPGGA," + b"1" * 5000 + b"\r\n" + GOOD)
    assert reasons(frames) == ["GPGGA: cut off after 256 characters"]
    assert len(positions(frames)) == 1


def test_a_sentence_of_the_longest_length_passes() -> None:
    text = "GPRMC,120000,A,5155.5,N,00434.6,E,1.0,90.0,060524,,,A,"
    wire = sentence(text + "x" * (MAX_SENTENCE_BYTES - 4 - len(text)))
    assert len(wire) == MAX_SENTENCE_BYTES + 2
    assert len(positions(decode(wire))) == 1
    assert not positions(decode(wire.replace(b"xx*", b"xxx*")))


@pytest.mark.parametrize("step", range(1, 256, 37))
def test_one_damaged_byte_yields_no_other_fix(step: int) -> None:
    whole = positions(decode(GOOD))
    for at in range(len(GOOD)):
        damaged = GOOD[:at] + bytes([GOOD[at] ^ step]) + GOOD[at + 1 :]
        assert positions(decode(GSV + damaged)) in ([], whole), damaged


def test_what_the_checksum_lets_pass_the_grammar_refuses() -> None:
    """Two equal characters dropped: the XOR does not see it. With fields of fixed form most of it is caught."""
    text = GOOD[1:-5].decode()
    passed = refused = 0
    for a in range(6, len(text)):
        for b in range(a + 1, len(text)):
            if text[a] == text[b]:
                frames = decode(sentence(text[:a] + text[a + 1 : b] + text[b + 1 :]))
                refused += not positions(frames)
                passed += 1
    assert passed > 200
    assert refused > 0.5 * passed


def test_cut_binary_of_a_maker_is_noise_and_a_cut_position_is_not() -> None:
    decoder = new_decoder()
    frames = decoder.feed(b"$PASHR,MCA,\x1a\xad\x02$GPGGA,1200\x00" + GOOD, NOW_MS) + decoder.end(NOW_MS)
    assert reasons(frames) == ["GPGGA: cut off after 11 characters"]
    assert decoder.noise_bytes == len(b"$PASHR,MCA,\x1a\xad\x02\x00")


def test_a_gsa_of_more_slots_is_checked_to_its_end() -> None:
    slots = ",".join(["A", "3", *["01"] * 24, "1.5", "~", "1.2"])
    assert reasons(decode(sentence(f"GPGSA,{slots}"))) == ["GSA: HDOP is '~'"]
