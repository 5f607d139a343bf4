from __future__ import annotations

import asyncio

from gateway.journal import Registry, Watch
from gateway.model import Assignment, DevicePut


def assigned(vehicle: str, start: int = 0, end: int | None = None, device: str = "d") -> Assignment:
    return Assignment(device_id=device, vehicle_id=vehicle, valid_from_ms=start, valid_to_ms=end)


def test_a_device_reports_for_the_vehicle_of_the_time() -> None:
    registry = Registry([assigned("late", 100), assigned("early", 10, 50)])
    found = {t: registry.vehicle_of("d", t) for t in (9, 10, 49, 50, 99, 100, 10**15)}
    assert found == {9: None, 10: "early", 49: "early", 50: None, 99: None, 100: "late", 10**15: "late"}
    assert registry.vehicle_of("stranger", 10) is None
    assert registry.knows_device("d")
    assert not registry.knows_device("stranger")


def test_of_two_that_hold_the_later_one_counts() -> None:
    registry = Registry([assigned("one", 0), assigned("two", 10, 20)])
    assert [registry.vehicle_of("d", t) for t in (5, 15, 25)] == ["one", "two", "one"]


def test_an_assignment_from_the_same_moment_replaces() -> None:
    registry = Registry([assigned("one"), assigned("one", device="e")])
    registry.apply(DevicePut(1, assigned("two")))
    assert registry.vehicle_of("d", 5) == "two"
    assert registry.knows_vehicle("one"), "the other device reports for it still"
    registry.apply(DevicePut(1, assigned("two", device="e")))
    assert not registry.knows_vehicle("one")
    assert registry.knows_vehicle("two")
    registry.apply(DevicePut(1, assigned("two", device="e")))
    assert len(registry.assignments()) == 2


async def test_a_watch_wakes_whoever_waits_below_its_value() -> None:
    watch = Watch(3)
    assert await watch.beyond(2) == 3
    waiting = [asyncio.create_task(watch.beyond(n)) for n in (3, 4, 9)]
    await asyncio.sleep(0)
    watch.advance(2)
    await asyncio.sleep(0)
    assert not any(t.done() for t in waiting)
    watch.advance(5)
    assert await asyncio.gather(*waiting[:2]) == [5, 5]
    assert not waiting[2].done()
    watch.advance(10)
    assert await waiting[2] == 10
