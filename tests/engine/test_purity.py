"""The same items give the same events: however they are cut into entries, and whether or not the engine was restored."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.engine import Engine, EngineOptions
from gateway.model import Command, Entry, Event, FenceRemove, FencesPut, Item, Tick
from tests.engine.drive import T0, circle, items, plan, put, run, trip

WORLD: list[Command] = [
    *put(plan(1000, 3000)),
    FencesPut(T0 - 120_000, (circle("yard", 2000), circle("town", 1000, 400))),
]


def busy_day(seed: int) -> list[Item]:
    """Two stops, a break, late and repeated fixes, a zone removed while the van is in it, a tick."""
    dice = random.Random(seed)
    frames = items(trip((1000, 150), (2000, 60), (3000, 150), (4500, 0), every_s=dice.choice([5, 10, 20]), seed=seed))
    for _ in range(6):
        i = dice.randrange(len(frames) - 4)
        late = structs.replace(frames.pop(i), received_ms=frames[i + 2].received_ms)
        frames.insert(i + 3, late)
    frames.insert(len(frames) // 3, FenceRemove(frames[len(frames) // 3].received_ms, "town"))
    return [*WORLD, *frames, Tick(T0 + 3_000_000)]


def meaning(events: Sequence[Event]) -> list[Event]:
    return [structs.replace(e, seq=0, supersedes=None) for e in events]


def split(things: Sequence[Item], cuts: Sequence[int]) -> list[Entry]:
    edges = [0, *sorted({c for c in cuts if 0 < c < len(things)}), len(things)]
    parts = [tuple(things[a:b]) for a, b in itertools.pairwise(edges)]
    return [Entry(n, part) for n, part in enumerate(parts, start=1)]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 5), cuts=st.lists(st.integers(1, 200), max_size=40))
def test_how_the_items_are_split_into_entries_does_not_matter(seed: int, cuts: list[int]) -> None:
    things = busy_day(seed)
    whole = run(things, size=len(things))
    engine = Engine(EngineOptions())
    parts = [e for entry in split(things, cuts) for e in engine.step(entry).events]
    assert meaning(parts) == meaning(whole)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 5), size=st.integers(1, 30), restarts=st.lists(st.integers(1, 150), max_size=4))
def test_a_restart_from_snapshots_changes_nothing(seed: int, size: int, restarts: list[int]) -> None:
    things = busy_day(seed)
    entries = split(things, range(0, len(things), size))
    steady = Engine(EngineOptions())
    expected = [steady.step(entry) for entry in entries]
    engine = Engine(EngineOptions())
    kept: dict[str, tuple[int, bytes]] = {}
    said = []
    for entry in entries:
        said.append(engine.step(entry))
        if entry.id in restarts:
            kept |= {name: (entry.id, data) for name, data in engine.snapshots().items()}
            world = [i for e in entries[: entry.id] for i in e.items if isinstance(i, Command)]
            engine = Engine.restore(EngineOptions(), kept, world)
    assert said == expected


def test_entries_that_a_snapshot_contains_are_skipped() -> None:
    things = busy_day(1)
    entries = split(things, range(0, len(things), 9))
    engine = Engine(EngineOptions())
    steps = [engine.step(entry) for entry in entries]
    again = Engine(EngineOptions())
    for entry in entries[:6]:
        again.step(entry)
    kept = {name: (6, data) for name, data in again.snapshots().items()}
    restored = Engine.restore(EngineOptions(), kept, WORLD)
    repeated = [restored.step(entry) for entry in entries[3:]]  # the floor is older than the snapshot
    assert [s.events for s in repeated[3:]] == [s.events for s in steps[6:]]
    assert all(not s.events for s in repeated[:3])


def test_the_same_input_gives_the_same_steps() -> None:
    entries = split(busy_day(3), range(0, 200, 11))
    one, two = Engine(), Engine()
    assert [one.step(e) for e in entries] == [two.step(e) for e in entries]
