"""Drives a world against the clock: in real time, some times faster, or as fast as the processor and the links allow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from firmware_sim.links import Link, MqttLink, drained
from firmware_sim.truth import TruthLog
from firmware_sim.vehicle import STEP_MS
from firmware_sim.world import World

TICK_S = 0.05
BACKLOG = 0.5
"""As fast as possible means: until a store is this full."""
DRAIN_S = 3.0


class Pace(Struct, frozen=True, kw_only=True):
    """`factor`: simulated seconds per second, None as fast as possible. It ends after `seconds` of ours, at `until_ms`
    of theirs, or (as fast as possible) when everyone is home; None is no limit. `anchored`: simulated time is the
    wall clock's, so a start in the past is caught up with.
    """

    factor: float | None = 1.0
    seconds: float | None = None
    until_ms: int | None = None
    anchored: bool = True


class Driven(Struct, kw_only=True):
    """How it went. `behind_s`: the most that the world lagged behind its clock."""

    behind_s: float = 0.0


async def drive(
    world: World,
    links: Sequence[Link],
    truth: TruthLog,
    pace: Pace,
    stop: asyncio.Event,
    progress: Callable[[int], None],
) -> Driven:
    """Run the world and its links until the pace says so or `stop` is set; then let the links drain, and end them."""
    tasks = [asyncio.create_task(link.run()) for link in links if isinstance(link, MqttLink)]
    driven = Driven()
    try:
        await _live(world, links, truth, pace, stop, progress, driven)
        await drained(links, DRAIN_S)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (problem := task.exception()) is not None:
            raise problem
    return driven


async def _live(
    world: World,
    links: Sequence[Link],
    truth: TruthLog,
    pace: Pace,
    stop: asyncio.Event,
    progress: Callable[[int], None],
    driven: Driven,
) -> None:
    loop = asyncio.get_running_loop()
    begun_s, begun_ms = loop.time(), world.now_ms
    if pace.anchored:
        begun_s -= time.time() - begun_ms / 1000.0
    started_s = loop.time()
    while not stop.is_set():
        if pace.seconds is not None and loop.time() - started_s >= pace.seconds:
            break
        if pace.until_ms is not None and world.now_ms + STEP_MS > pace.until_ms:
            break
        if pace.factor is None:
            if world.over:
                break
            goal_ms = world.now_ms + 20_000 if not _backlog(links) else world.now_ms
        else:
            goal_ms = begun_ms + round((loop.time() - begun_s) * pace.factor * 1000)
        if pace.until_ms is not None:
            goal_ms = min(goal_ms, pace.until_ms)
        stepped_s = loop.time()
        while world.now_ms + STEP_MS <= goal_ms and loop.time() - stepped_s < 0.25:
            truth.write(world.step())
            for link in links:
                link.look(world.now_ms)
        if pace.factor is not None and loop.time() - started_s > 1.0:
            driven.behind_s = max(driven.behind_s, (goal_ms - world.now_ms - STEP_MS) / 1000.0 / pace.factor)
        progress(world.now_ms)
        await asyncio.sleep(0.0 if pace.factor is None else TICK_S)


def _backlog(links: Sequence[Link]) -> bool:
    return any(
        isinstance(link, MqttLink)
        and link.pending
        and len(link.tracker.firmware.store) > BACKLOG * link.tracker.firmware.store.capacity
        for link in links
    )
