"""Small fleets for tests."""

from __future__ import annotations

from firmware_sim.fleet import Fleet, FleetOptions, make_fleet
from firmware_sim.world import Lived

START_MS = 1_772_434_800_000  # 2026-03-02T07:00:00Z


def small_fleet(
    vehicles: int = 4, seed: int = 7, *, style: str = "demo", serial: bool = False, outages: bool = True
) -> Fleet:
    return make_fleet(
        FleetOptions(vehicles=vehicles, seed=seed, start_ms=START_MS, style=style, serial=serial, outages=outages)
    )


def live(fleet: Fleet, for_s: float) -> list[Lived]:
    """Everything that happens within so many simulated seconds."""
    lived: list[Lived] = []
    until_ms = fleet.world.now_ms + round(for_s * 1000)
    while fleet.world.now_ms < until_ms:
        lived += fleet.world.step()
    return lived
