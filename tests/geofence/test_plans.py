"""A stop's own zone is checked like a fence."""

from __future__ import annotations

import json

import pytest

from gateway.geofence import read_plans
from gateway.problems import BadInput


def plan(ring: list[list[float]]) -> bytes:
    stop = {"stop_id": "a", "sequence": 1, "lat_deg": 46.2, "lon_deg": 6.1}
    stop["zone"] = {"type": "Polygon", "coordinates": [ring]}  # type: ignore[assignment]
    return json.dumps([{"plan_id": "1", "vehicle_id": "v", "stops": [stop]}]).encode()


def test_a_proper_zone_is_taken() -> None:
    ring = [[6.1, 46.1], [6.2, 46.1], [6.2, 46.3], [6.1, 46.3], [6.1, 46.1]]
    [found] = read_plans(plan(ring), "plans.json")
    assert found.stops[0].zone == (tuple((lon, lat) for lon, lat in ring),)


@pytest.mark.parametrize(
    ("ring", "told"),
    [
        ([[6.1, 46.1], [6.2, 46.3], [6.2, 46.1], [6.1, 46.3], [6.1, 46.1]], "crosses itself at longitude 6.15"),
        ([[6.1, 46.1], [6.2, 46.1], [6.2, 46.3], [6.1, 46.3]], "stops[0].zone.coordinates[0]"),
        ([[6.1, 46.1], [6.2, 46.1]], "stops[0].zone.coordinates[0]"),
    ],
)
def test_a_wrong_zone_is_refused_with_its_place(ring: list[list[float]], told: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_plans(plan(ring), "plans.json")
    assert told in str(caught.value)
    assert "plans.json: plans[0].stops[0].zone" in str(caught.value)
