"""The material: a fleet of vans that drives its plans through a city, and what its trackers send."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator

from gateway.geo import M_PER_DEG_LAT, m_per_deg_lon
from gateway.model import Frame, Plan, Position, Received, Stop

CITY = (-8.6, 41.1)
CITY_M = 30_000.0
T0_MS = 1_790_000_000_000
EVERY_S = 10
"""Each van sends a fix this often."""
SPEED_MPS = 12.0
SERVICE_S = 120.0
STOPS = 16
LEG_M = (1_000.0, 5_000.0)
VERTEX_EVERY_M = 50.0
NOISE_M = 3.0


def somewhere(rng: random.Random) -> tuple[float, float]:
    """(lon_deg, lat_deg) anywhere in the city."""
    return _degrees(rng.uniform(-CITY_M / 2, CITY_M / 2), rng.uniform(-CITY_M / 2, CITY_M / 2))


def _degrees(east_m: float, north_m: float) -> tuple[float, float]:
    lon, lat = CITY
    return lon + east_m / m_per_deg_lon(lat), lat + north_m / M_PER_DEG_LAT


class Van:
    """Drives straight from stop to stop, and stands at each for its service."""

    def __init__(self, number: int) -> None:
        self._rng = random.Random(number)
        self.device_id = f"van-{number}"
        self._places = [(self._rng.uniform(-CITY_M / 2, CITY_M / 2), self._rng.uniform(-CITY_M / 2, CITY_M / 2))]
        while len(self._places) <= STOPS:
            self._places.append(self._next_place())
        self._due_s = [0.0]
        for here, there in itertools.pairwise(self._places):
            self._due_s.append(self._due_s[-1] + math.dist(here, there) / SPEED_MPS + SERVICE_S)

    def _next_place(self) -> tuple[float, float]:
        while True:
            angle, length_m = self._rng.uniform(0, 2 * math.pi), self._rng.uniform(*LEG_M)
            x, y = self._places[-1]
            place = x + length_m * math.cos(angle), y + length_m * math.sin(angle)
            if max(map(abs, place)) < CITY_M / 2:
                return place

    def plan(self) -> Plan:
        """Its stops, with windows that it keeps, and the way between them."""
        stops = []
        for i, (east_m, north_m) in enumerate(self._places[1:], start=1):
            lon, lat = _degrees(east_m, north_m)
            due_ms = T0_MS + round(1000 * (self._due_s[i] - SERVICE_S))
            stop = Stop(
                stop_id=str(i),
                sequence=i,
                lat_deg=lat,
                lon_deg=lon,
                service_s=SERVICE_S,
                scheduled_arrival_ms=due_ms,
                window_start_ms=due_ms - 900_000,
                window_end_ms=due_ms + 600_000,
            )
            stops.append(stop)
        return Plan(
            plan_id=f"plan-{self.device_id}",
            vehicle_id=self.device_id,
            stops=tuple(stops),
            path=tuple(_degrees(*p) for p in self._path_m()),
            start_ms=T0_MS,
        )

    def _path_m(self) -> Iterator[tuple[float, float]]:
        for (x1, y1), (x2, y2) in itertools.pairwise(self._places):
            steps = max(1, round(math.hypot(x2 - x1, y2 - y1) / VERTEX_EVERY_M))
            for i in range(steps):
                yield x1 + (x2 - x1) * i / steps, y1 + (y2 - y1) * i / steps
        yield self._places[-1]

    def fix(self, at_s: float) -> Position:
        """Where its receiver sees it, `at_s` seconds after it set out; at its last stop in the end."""
        leg = next((i for i, due_s in enumerate(self._due_s[1:]) if at_s < due_s), STOPS - 1)
        (x1, y1), (x2, y2) = self._places[leg], self._places[leg + 1]
        length_m = math.hypot(x2 - x1, y2 - y1)
        share = min(1.0, (at_s - self._due_s[leg]) * SPEED_MPS / length_m)
        dice = self._rng
        east_m, north_m = (a + (b - a) * share + dice.gauss(0, NOISE_M) for a, b in ((x1, x2), (y1, y2)))
        lon, lat = _degrees(east_m, north_m)
        return Position(
            device_id=self.device_id,
            time_ms=T0_MS + round(at_s * 1000),
            lat_deg=round(lat, 7),
            lon_deg=round(lon, 7),
            altitude_m=round(dice.uniform(50, 120), 1),
            speed_mps=round(max(0.0, (SPEED_MPS if share < 1 else 0.0) + dice.gauss(0, 0.1)), 2),
            course_deg=round(math.degrees(math.atan2(x2 - x1, y2 - y1)) % 360, 1),
            fix="3d",
            satellites=dice.randint(6, 14),
            hdop=round(dice.uniform(0.7, 2.0), 1),
            attributes={"ignition": True, "external_voltage_v": 12.6, "odometer_m": 120_000.0 + round(at_s * 10)},
        )


class Fleet:
    """So many vans; `tick` gives the next fix of each, `EVERY_S` after the former, and no fix comes twice."""

    def __init__(self, vans: int) -> None:
        self.vans = [Van(number) for number in range(vans)]
        self._ticks = 0

    def tick(self) -> list[Position]:
        at_s = self._ticks * EVERY_S
        self._ticks += 1
        return [van.fix(at_s) for van in self.vans]

    def fixes(self, count: int) -> list[Position]:
        """The next `count` fixes, whole ticks of them."""
        return [fix for _ in range(-(-count // len(self.vans))) for fix in self.tick()]


def received(fix: Position, raw: bytes) -> Received:
    """A fix on its way into the journal, half a second after it was fixed."""
    return Received(
        source="bench",
        protocol="json",
        received_ms=(fix.time_ms or 0) + 500,
        device_id=fix.device_id,
        frame=Frame(raw=raw, messages=(fix,)),
    )
