"""Store and forward: whatever the link does, a record is waiting, in flight, acknowledged or counted as dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.store import Order, Store
from gateway.model import Position


def record(n: int) -> Position:
    return Position(device_id="x", time_ms=n, lat_deg=54.7, lon_deg=2.6)


@given(
    st.lists(st.sampled_from(["put", "put", "put", "take", "ack", "lose"]), max_size=200),
    st.sampled_from(["oldest_first", "newest_first"]),
    st.integers(1, 7),
    st.integers(3, 40),
)
def test_nothing_is_lost_and_nothing_sent_twice_after_its_acknowledgement(
    deeds: list[str], order: Order, batch: int, capacity: int
) -> None:
    store = Store(capacity=capacity, batch=batch, order=order)
    out: list[Position] = []
    arrived: list[int] = []
    for deed in deeds:
        if deed == "put":
            store.put(record(store.made))
        elif deed == "take":
            out = list(store.take()) or out
        elif deed == "ack":
            arrived += [r.time_ms or 0 for r in out]
            out = []
            store.acknowledged()
        else:
            out = []
            store.returned()
        assert store.made == store.acknowledged_count + len(store) + store.dropped
        assert len(store) <= capacity + batch
    while True:
        store.returned()
        packet = store.take()
        if not packet:
            break
        times = [r.time_ms or 0 for r in packet]
        assert times == sorted(times), "inside a packet the oldest comes first"
        arrived += times
        store.acknowledged()
    assert len(arrived) == len(set(arrived)) == store.made - store.dropped


def filled(order: Order) -> Store:
    store = Store(capacity=100, batch=3, order=order)
    for n in range(8):
        store.put(record(n))
    return store


def drain(store: Store) -> list[list[int]]:
    packets = []
    while packet := store.take():
        packets.append([r.time_ms or 0 for r in packet])
        store.acknowledged()
    return packets


def test_oldest_first_and_newest_first() -> None:
    assert drain(filled("oldest_first")) == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert drain(filled("newest_first")) == [[5, 6, 7], [2, 3, 4], [0, 1]]


def test_a_returned_packet_goes_out_again_unchanged() -> None:
    for order in ("oldest_first", "newest_first"):
        store = filled(order)
        first = store.take()
        assert not store.take(), "one packet at a time"
        store.returned()
        assert store.take() == first


def test_a_full_memory_overwrites_the_oldest() -> None:
    store = Store(capacity=5, batch=10)
    for n in range(9):
        store.put(record(n))
    assert store.dropped == 4
    assert store.oldest_ms() == 4
    assert drain(store) == [[4, 5, 6, 7, 8]]
