"""The window over the track table: exact at the seams of its bytes, its buckets and its bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.dedupe import BUCKET_MS, DIGEST_BYTES, DUPLICATE, MAX_ORDINALS, TOO_MANY, Seen, digest_of
from tests.journal.support import fix


def empty(device: int, bucket: int) -> list[tuple[int, int, bytes]]:
    return []


def test_a_digest_across_the_seam_of_two_is_none_of_them() -> None:
    seen = Seen(empty)
    assert seen.place(1, 0, 5, b"abcdefgh") == 0
    assert seen.place(1, 0, 5, b"ijklmnop") == 1
    assert seen.place(1, 0, 5, b"efghijkl") == 2
    assert seen.place(1, 0, 5, b"efghijkl") == DUPLICATE
    assert seen.place(1, 0, 6, b"efghijkl") == 0
    assert seen.place(2, 0, 5, b"efghijkl") == 0


def test_an_ordinal_that_retention_took_is_not_given_again() -> None:
    seen = Seen(lambda device, bucket: [(7, 3, b"dddddddd"), (7, 1, b"bbbbbbbb")])
    assert seen.place(1, 0, 7, b"bbbbbbbb") == DUPLICATE
    assert seen.place(1, 0, 7, b"dddddddd") == DUPLICATE
    assert seen.place(1, 0, 7, b"aaaaaaaa") == 4


def test_an_instant_has_an_end() -> None:
    seen = Seen(empty)
    digests = [n.to_bytes(DIGEST_BYTES, "big") for n in range(1, MAX_ORDINALS + 2)]
    assert [seen.place(1, 0, 5, d) for d in digests] == [*range(MAX_ORDINALS), TOO_MANY]
    assert seen.place(1, 0, 5, digests[-2]) == DUPLICATE


@given(
    st.lists(
        st.tuples(st.integers(1, 2), st.integers(0, 3 * BUCKET_MS), st.sampled_from([b"a" * 8, b"b" * 8])), max_size=40
    ),
    st.integers(0, 5),
    st.booleans(),
)
def test_what_is_let_go_or_forgotten_is_found_again(
    fixes: list[tuple[int, int, bytes]], limit: int, forget: bool
) -> None:
    table: dict[tuple[int, int], list[tuple[int, int, bytes]]] = {}
    small, large = Seen(lambda d, b: table.get((d, b), []), limit), Seen(empty)
    for device, time_ms, digest in fixes:
        bucket = time_ms // BUCKET_MS
        ordinal = small.place(device, bucket, time_ms, digest)
        assert ordinal == large.place(device, bucket, time_ms, digest)
        if ordinal >= 0:
            table.setdefault((device, bucket), []).append((time_ms, ordinal, digest))
        small.trim()
        assert sum(map(len, small._buckets.values())) == small._size <= limit
        if forget:
            small.forget()


def test_our_marks_are_no_content_and_the_order_of_attributes_is_none() -> None:
    plain = digest_of(fix(attributes={"a": 1, "b": 2}))
    assert digest_of(fix(attributes={"b": 2, "a": 1}, marks=("time_corrected",))) == plain
    assert digest_of(fix(attributes={"a": 1, "b": 3})) != plain
    assert len(plain) == DIGEST_BYTES
