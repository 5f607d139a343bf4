"""Crossings: against walking the way in small steps, and by hand where something special happens."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.geo import M_PER_DEG_LAT, m_per_deg_lon, wrap_lon_deg
from gateway.geofence import Crossing, Zones
from gateway.geofence.outline import beside
from gateway.model import Fence
from tests.geofence.shapes import CENTRES, star, zones_at

STEPS = 400


@settings(deadline=None, max_examples=250)
@given(st.data(), st.sampled_from(CENTRES))
def test_crossings_are_where_a_walk_changes_sides(data: st.DataObject, centre: tuple[float, float]) -> None:
    lon, lat = centre
    spread_m = data.draw(st.sampled_from((300.0, 2_500.0)))
    zones = Zones([data.draw(zones_at(lon, lat, spread_m))])
    places = st.floats(-1.5 * spread_m, 1.5 * spread_m)
    lat1, lat2 = (lat + data.draw(places) / M_PER_DEG_LAT for _ in range(2))
    lon1, lon2 = (wrap_lon_deg(lon + data.draw(places) / m_per_deg_lon(lat)) for _ in range(2))
    found = zones.crossings(0, lat1, lon1, lat2, lon2)

    at = np.linspace(0.0, 1.0, STEPS + 1)
    walk_lat, walk_lon = lat1 + at * (lat2 - lat1), lon1 + at * (beside(lon2, lon1) - lon1)
    located = zones.locate(walk_lat, walk_lon, 20_000.0)
    side = np.full(STEPS + 1, np.inf)
    side[located.point] = located.distance_m
    for i, (before, after) in enumerate(pairwise(side)):
        if min(abs(before), abs(after)) < 0.01:
            continue
        here = [c for c in found if at[i] < c.fraction <= at[i + 1]]
        if (before < 0) != (after < 0):
            assert len(here) % 2 == 1
            assert here[-1].entering == (after < 0)
        else:
            assert len(here) % 2 == 0
    assert [c.fraction for c in found] == sorted(c.fraction for c in found)
    assert all(a.entering != b.entering for a, b in pairwise(found))
    for c in found:
        y, x = lat1 + c.fraction * (lat2 - lat1), lon1 + c.fraction * (beside(lon2, lon1) - lon1)
        assert abs(zones.locate([y], [x], 100.0).distance_m[0]) < 0.01
    if found:
        assert zones.passing(lat1, lon1, lat2, lon2)[1].tolist() == [0]


def way(zones: Zones, y1: float, x1: float, y2: float, x2: float) -> list[tuple[float, bool]]:
    found = zones.crossings(0, y1, x1, y2, x2)
    assert all(isinstance(each, Crossing) for each in found)
    return [(round(fraction, 6), entering) for fraction, entering in found]


def one(shape: str, *rings: list[tuple[float, float]], **size_m: float) -> Zones:
    coordinates = (tuple(map(tuple, rings)),)
    return Zones([Fence(fence_id="a", shape=shape, coordinates=coordinates, **size_m)])  # type: ignore[arg-type]


BOX = [(10.0, 50.0), (10.01, 50.0), (10.01, 50.01), (10.0, 50.01), (10.0, 50.0)]
HOLE = [(10.004, 50.004), (10.006, 50.004), (10.006, 50.006), (10.004, 50.006), (10.004, 50.004)]


@pytest.mark.parametrize("rings", [(BOX, HOLE), (BOX[::-1], HOLE), (BOX, HOLE[::-1]), (BOX[::-1], HOLE[::-1])])
def test_a_box_with_a_hole_jumped_over_whichever_way_it_was_drawn(rings: tuple[list[tuple[float, float]], ...]) -> None:
    zones = one("polygon", *rings)
    assert way(zones, 50.005, 9.99, 50.005, 10.02) == [
        (0.333333, True),
        (0.466667, False),
        (0.533333, True),
        (0.666667, False),
    ]
    assert way(zones, 50.005, 10.02, 50.005, 10.005) == [(0.666667, True), (0.933333, False)]
    assert way(zones, 50.002, 10.002, 50.008, 10.002) == []


def test_through_corners_along_edges_and_touching() -> None:
    zones = one("polygon", BOX)
    assert way(zones, 49.99, 9.99, 50.02, 10.02) == [(0.333333, True), (0.666667, False)]
    assert way(zones, 49.99, 10.01, 50.01, 9.99) == []  # touches the corner
    assert way(zones, 50.01, 9.99, 49.99, 10.01) == []
    assert way(zones, 50.01, 9.99, 50.01, 10.02) in ([], [(0.333333, True), (0.666667, False)])  # along an edge
    assert way(zones, 50.005, 10.005, 50.005, 10.005) == []


def test_a_crossing_at_a_fix_belongs_to_the_way_that_ends_there() -> None:
    zones = one("polygon", BOX)
    assert way(zones, 50.005, 9.99, 50.005, 10.0) == [(1.0, True)]
    assert way(zones, 50.005, 10.0, 50.005, 10.005) == []


@pytest.mark.parametrize("radius_m", [40.0, 2_000.0, 300_000.0])
def test_a_circle_jumped_over_and_left(radius_m: float) -> None:
    zones = one("circle", [(24.0, 60.0)], radius_m=radius_m)
    north = radius_m / M_PER_DEG_LAT
    assert way(zones, 60 - 2 * north, 24.0, 60 + 2 * north, 24.0) == [(0.25, True), (0.75, False)]
    assert way(zones, 60.0, 24.0, 60 + 4 * north, 24.0) == [(0.25, False)]
    assert way(zones, 60.0, 24.0, 60 + north / 2, 24.0) == []
    assert way(zones, 60 - 2 * north, 24.0, 60 - 2 * north, 25.0) == []
    assert way(zones, 60.0, 24.0, 60.0, 24.0) == []


def test_a_fix_a_metre_inside_a_large_circle_and_one_a_metre_outside() -> None:
    """The plane that finds the crossing is some hundred metres wrong here; the earth decides."""
    zones = one("circle", [(24.0, 60.0)], radius_m=100_000.0)
    lat, inside, outside = 60.6, 24.0, 26.0
    while (outside - inside) * m_per_deg_lon(lat) > 2.0:
        middle = (inside + outside) / 2
        is_in = zones.locate([lat], [middle], 0.0).point.size > 0
        inside, outside = (middle, outside) if is_in else (inside, middle)
    ((fraction, entering),) = zones.crossings(0, lat, outside, lat, inside)
    assert entering
    assert 0.0 < fraction < 1.0


def test_a_corridor_is_crossed_at_its_sides_and_ends() -> None:
    line = [(10.0, 50.0), (10.01, 50.0), (10.02, 50.0)]
    zones = one("corridor", line, width_m=200.0)
    half = 100.0 / M_PER_DEG_LAT
    assert way(zones, 50 - 2 * half, 10.01, 50 + 2 * half, 10.01) == [(0.25, True), (0.75, False)]
    wide = 100.0 / m_per_deg_lon(50.0)
    assert way(zones, 50.0, 10.0 - 2 * wide, 50.0, 10.02 + 2 * wide) == [
        (round(wide / (0.02 + 4 * wide), 6), True),
        (round(1 - wide / (0.02 + 4 * wide), 6), False),
    ]
    assert way(zones, 50.0, 10.005, 50.0, 10.015) == []


def test_a_corridor_that_comes_back_is_crossed_twice() -> None:
    zones = one("corridor", [(10.0, 50.0), (10.02, 50.0), (10.02, 50.01), (10.0, 50.01)], width_m=100.0)
    assert [c.entering for c in zones.crossings(0, 49.99, 10.005, 50.02, 10.005)] == [True, False, True, False]


def test_a_border_of_many_points() -> None:
    zones = one("polygon", *(list(ring) for ring in star(10.0, 50.0, [50_000.0] * 10_000)))
    west, east = zones.crossings(0, 50.0, 9.0, 50.0, 11.0)
    assert (west.entering, east.entering) == (True, False)
    assert (east.fraction - west.fraction) * 2 * m_per_deg_lon(50.0) == pytest.approx(100_000.0, rel=1e-6)


def test_a_long_way_passes_only_what_it_comes_near() -> None:
    """A diagonal through a hundred boxes meets those along it; more would each be asked for crossings."""
    boxes = [
        [(10 + 0.1 * x + dx, 50 + 0.1 * y + dy) for dx, dy in ((0, 0), (0.05, 0), (0.05, 0.05), (0, 0))]
        for x in range(10)
        for y in range(10)
    ]
    zones = Zones(Fence(fence_id=str(i), shape="polygon", coordinates=((tuple(box),),)) for i, box in enumerate(boxes))
    ways, handles = zones.passing([50.0, 51.03, 50.02], [10.01, 10.0, 9.0], [51.0, 50.0, 50.02], [11.01, 11.03, 10.12])
    assert handles[ways == 0].tolist() == [11 * i for i in range(10)]
    assert handles[ways == 1].tolist() == [9 * i + 10 for i in range(1, 10)]
    assert handles[ways == 2].tolist() == [0, 10]


def test_over_the_antimeridian() -> None:
    zones = one("circle", [(180.0, 10.0)], radius_m=1_000.0)
    assert [c.entering for c in zones.crossings(0, 10.0, 179.9, 10.0, -179.9)] == [True, False]
    assert [c.entering for c in zones.crossings(0, 10.0, -179.9, 10.0, 180.0)] == [True]
    assert zones.passing([10.0, 10.0], [179.9, -179.9], [10.0, 10.0], [-179.9, 179.9])[0].tolist() == [0, 1]
    assert zones.passing([10.0], [179.0], [10.0], [179.5])[0].tolist() == []
