"""A fleet from a seed: who drives what, with which tracker and habits, and which networks fail."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from firmware_sim.city import City, doggerhaven
from firmware_sim.fences import Zone, city_zones, fences_document
from firmware_sim.firmware import MAKES, Device, Firmware, Make, Policy, device_of
from firmware_sim.receiver import Receiver, Sky
from firmware_sim.store import Store
from firmware_sim.tours import BIKE, STYLES, TRUCK, VAN, Habit, Kind, Planner, Style
from firmware_sim.vehicle import Vehicle
from firmware_sim.world import Outage, Tracker, World
from gateway.documents import plan_document
from gateway.model import Plan

MIX: tuple[tuple[Kind, str], ...] = (
    (VAN, "teltonika"), (VAN, "teltonika"), (TRUCK, "teltonika_json"), (BIKE, "owntracks"), (VAN, "teltonika"),
    (VAN, "teltonika_json"), (TRUCK, "teltonika"), (VAN, "teltonika"), (VAN, "teltonika_json"), (BIKE, "owntracks"),
)  # fmt: skip
HABITS: tuple[Habit, ...] = (
    "punctual", "late", "punctual", "held_up", "punctual", "skips", "punctual", "early", "late", "punctual", "punctual", "held_up",
)  # fmt: skip
LIVELY = Policy(moving_s=3.0, standing_s=6.0, off_s=10.0, distance_m=60.0, turn_deg=20.0)
"""For a demonstration: a map should move."""
CAPACITY = 5_000


class FleetOptions(Struct, frozen=True, kw_only=True):
    """`serial`: the first vehicle speaks NMEA over a serial line. `outages`: some networks fail for a while."""

    vehicles: int
    seed: int
    start_ms: int
    style: str = "demo"
    serial: bool = False
    outages: bool = True
    capacity: int = CAPACITY


class Fleet(Struct, frozen=True, kw_only=True):
    """Everything dispatch is told, and the world that it does not see."""

    city: City
    zones: list[Zone]
    world: World

    @property
    def plans(self) -> list[Plan]:
        return [t.vehicle.tour.plan for t in self.world.trackers]

    @property
    def devices(self) -> list[Device]:
        return [t.device for t in self.world.trackers]

    def write(self, folder: Path) -> None:
        """plans.json, fences.geojson, city.geojson and devices.json."""
        (folder / "plans.json").write_bytes(plans_json(self.plans))
        (folder / "fences.geojson").write_bytes(fences_document(self.zones))
        (folder / "city.geojson").write_bytes(self.city.geojson)
        (folder / "devices.json").write_bytes(msgspec.json.format(msgspec.json.encode(self.devices)))


def plans_json(plans: Sequence[Plan]) -> bytes:
    return b"[" + b",\n".join(msgspec.json.encode(plan_document(p)) for p in plans) + b"]\n"


def make_fleet(options: FleetOptions) -> Fleet:
    """The fleet of these options; the same options give the same fleet."""
    city = doggerhaven()
    style = STYLES[options.style]
    planner = Planner(city, options.seed, style, options.start_ms)
    zones = city_zones(city, planner.depot_places())
    trackers = [_tracker(i, options, style, planner, zones) for i in range(options.vehicles)]
    return Fleet(city=city, zones=zones, world=World(trackers, options.start_ms))


def _tracker(i: int, options: FleetOptions, style: Style, planner: Planner, zones: Sequence[Zone]) -> Tracker:
    on_serial = options.serial and i == 0
    kind, make_name = (VAN, "nmea") if on_serial else MIX[i % len(MIX)]
    vehicle_id = f"{kind.name}-{i + 1:02d}"
    make = MAKES[make_name]
    dice = random.Random(f"{options.seed}/{vehicle_id}/driver")
    tour = planner.tour(vehicle_id, kind, HABITS[i % len(HABITS)], zones)
    vehicle = Vehicle(
        kind, tour, haste=round(dice.uniform(0.9, 0.99), 3), odometer_m=float(dice.randrange(2_000_000, 180_000_000))
    )
    if style.rolling:
        vehicle.start_rolling(options.start_ms)
    device = device_of(make, vehicle_id, options.seed % 1_000 * 1_000 + i if options.vehicles <= 1_000 else i)
    sky = Sky(sigma_m=round(dice.uniform(3.0, 8.0), 2), cold_s=dice.choice((0, 0, 0, 25.0)))
    receiver = Receiver(device.device_id, sky, random.Random(f"{options.seed}/{vehicle_id}/receiver"))
    policy = LIVELY if style.rolling and make.topic else make.policy
    newest_first = i % len(MIX) == 8
    store = Store(capacity=options.capacity, batch=make.batch, order="newest_first" if newest_first else "oldest_first")
    return Tracker(
        vehicle_id=vehicle_id,
        vehicle=vehicle,
        device=device,
        firmware=Firmware(make, policy, receiver, store),
        outages=_outages(i, options, style, make, dice) if options.outages else (),
    )


def _outages(i: int, options: FleetOptions, style: Style, make: Make, dice: random.Random) -> tuple[Outage, ...]:
    """Some networks fail: in a demonstration two of 25, soon and briefly, else a fifth of them for up to 20 minutes."""
    if make.topic is None or i % (25 if style.rolling else 10) not in (4, 8):
        return ()
    from_s, for_s = (
        (14.0 + 2 * (i % 25), 30.0) if style.rolling else (dice.uniform(600, 7_200), dice.uniform(180, 1_200))
    )
    from_ms = options.start_ms + round(from_s * 1000)
    return (Outage(from_ms, from_ms + round(for_s * 1000)),)
