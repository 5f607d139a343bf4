"""A small fleet on a line of stops: positions with fix times of their own, plans and a fence, all from arithmetic.

Vehicles drive 10 m/s along a parallel of latitude, stand 90 s at each stop, and turn round at the end; a fix every 5 s.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from gateway.times import rfc3339

LAT_DEG, LON_DEG = 46.2, 6.15
M_PER_DEG_LON = 77_050.0
STOP_EVERY_M, STOPS, SPEED_MPS, STAND_S, FIX_EVERY_S = 600.0, 5, 10.0, 90.0, 5.0
LEG_S = STOP_EVERY_M / SPEED_MPS


@dataclass(slots=True)
class Vehicle:
    number: int
    start_ms: int
    sent: int = 0

    @property
    def name(self) -> str:
        return f"van-{self.number}"

    def next_fix(self) -> dict[str, float | int | str]:
        """The next position, as JSON would say it. Its place follows from its number alone."""
        seconds = self.sent * FIX_EVERY_S
        along_m, speed_mps = place(seconds)
        self.sent += 1
        return {
            "id": self.name,
            "t": self.start_ms + round(seconds * 1000),
            "lat": round(LAT_DEG + self.number * 0.01, 6),
            "lon": round(LON_DEG + along_m / M_PER_DEG_LON, 6),
            "speed": speed_mps,
            "n": self.sent,
        }

    def plan(self) -> dict[str, object]:
        """One tour out over all stops; what the vehicle does later is no longer its plan's business."""
        stops = [
            {
                "stop_id": str(i),
                "sequence": i,
                "lat_deg": round(LAT_DEG + self.number * 0.01, 6),
                "lon_deg": round(LON_DEG + i * STOP_EVERY_M / M_PER_DEG_LON, 6),
                "radius_m": 60,
                "service_s": STAND_S,
                "window_end": rfc3339(self.start_ms + round((i * (LEG_S + STAND_S) + 300) * 1000)),
            }
            for i in range(1, STOPS + 1)
        ]
        return {
            "plan_id": f"tour-{self.number}",
            "vehicle_id": self.name,
            "start": rfc3339(self.start_ms),
            "stops": stops,
        }


def place(seconds: float) -> tuple[float, float]:
    """Metres along the line and speed, after so many seconds: out and back over the stops, for ever."""
    leg, rest_s = divmod(seconds, LEG_S + STAND_S)
    position = int(leg) % (2 * STOPS)
    out = position < STOPS
    from_m = STOP_EVERY_M * (position if out else 2 * STOPS - position)
    step_m = min(rest_s, LEG_S) * SPEED_MPS
    return from_m + (step_m if out else -step_m), SPEED_MPS if rest_s < LEG_S else 0.0


def fleet(vehicles: int, start_ms: int) -> list[Vehicle]:
    return [Vehicle(number, start_ms) for number in range(vehicles)]


def plans_json(vehicles: list[Vehicle]) -> bytes:
    return json.dumps([v.plan() for v in vehicles]).encode()


def fences_json() -> bytes:
    """A zone across all lines, between the second and the third stop."""
    west, east = (LON_DEG + m / M_PER_DEG_LON for m in (1_400.0, 1_600.0))
    south, north = LAT_DEG - 0.01, LAT_DEG + 1.0
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    feature = {
        "type": "Feature",
        "id": "belt",
        "properties": {"name": "Belt"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    return json.dumps({"type": "FeatureCollection", "features": [feature]}).encode()
