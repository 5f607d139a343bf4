"""Locating: against one slow point-and-zone oracle, alone against in a batch, changed against built anew."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.geo import EARTH_RADIUS_M, M_PER_DEG_LAT, distance_m, m_per_deg_lon, wrap_lon_deg
from gateway.geofence import Located, Zones, stop_zone
from gateway.model import Fence, Stop
from tests.geofence.shapes import CENTRES, star, true_distance_m, zones_at


def circle(fence_id: str, lon: float, lat: float, radius_m: float) -> Fence:
    return Fence(fence_id=fence_id, shape="circle", coordinates=((((lon, lat),),),), radius_m=radius_m)


def polygon(fence_id: str, *points: tuple[float, float]) -> Fence:
    return Fence(fence_id=fence_id, shape="polygon", coordinates=(((*points, points[0]),),))


def by_id(zones: Zones, located: Located) -> set[tuple[int, str, float]]:
    rows = zip(located.point.tolist(), located.zone.tolist(), located.distance_m.tolist(), strict=True)
    return {(point, zones.fence(zone).fence_id, distance) for point, zone, distance in rows}


@settings(deadline=None, max_examples=100)
@given(st.data(), st.sampled_from(CENTRES), st.sampled_from((500.0, 3_000.0)))
def test_a_batch_is_located_as_one_point_and_one_zone_at_a_time(
    data: st.DataObject, centre: tuple[float, float], spread_m: float
) -> None:
    lon, lat = centre
    fences = [data.draw(zones_at(lon, lat, spread_m, str(i))) for i in range(data.draw(st.integers(1, 6)))]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    lats = lat + rng.uniform(-1.5, 1.5, 20) * spread_m / M_PER_DEG_LAT
    lons = [wrap_lon_deg(x) for x in lon + rng.uniform(-1.5, 1.5, 20) * spread_m / m_per_deg_lon(lat)]
    reach_m = rng.choice([0.0, 20.0, 400.0, 5_000.0], 20)
    zones = Zones(fences)
    located = zones.locate(lats, lons, reach_m)
    found = {(p, z): d for p, z, d in zip(*map(np.ndarray.tolist, located), strict=True)}
    for i, (y, x, reach) in enumerate(zip(lats.tolist(), lons, reach_m.tolist(), strict=True)):
        for fence in fences:
            truth = true_distance_m(fence, y, x)
            ours = found.get((i, zones.handle(fence.fence_id)))
            slack = 0.005 * (abs(truth) + (fence.width_m or 0.0) / 2) + 0.02
            if ours is None:
                assert truth > reach - slack
            elif fence.shape in ("polygon", "multipolygon"):
                assert ours == pytest.approx(max(truth, -reach), abs=slack)
            else:
                assert ours == pytest.approx(truth, abs=slack)
                assert ours <= reach


@settings(deadline=None, max_examples=100)
@given(st.data(), st.sampled_from(CENTRES))
def test_a_point_gets_the_same_bits_alone_and_in_any_batch(data: st.DataObject, centre: tuple[float, float]) -> None:
    lon, lat = centre
    zones = Zones(data.draw(zones_at(lon, lat, 1_000.0, str(i))) for i in range(5))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    lats = lat + rng.uniform(-1, 1, 30) * 1_000 / M_PER_DEG_LAT
    lons = lon + rng.uniform(-1, 1, 30) * 1_000 / m_per_deg_lon(lat)
    reach_m = rng.uniform(0, 600, 30)
    together = zones.locate(lats, lons, reach_m)
    for parts in (np.arange(1, 30), np.array([7, 20])):
        point = np.concatenate([[0], parts])
        pieces = [
            zones.locate(y, x, r)
            for y, x, r in zip(*(np.split(each, parts) for each in (lats, lons, reach_m)), strict=True)
        ]
        assert (
            np.concatenate([p.point + o for p, o in zip(pieces, point, strict=True)]).tolist()
            == together.point.tolist()
        )
        assert np.concatenate([p.zone for p in pieces]).tolist() == together.zone.tolist()
        assert np.concatenate([p.distance_m for p in pieces]).tobytes() == together.distance_m.tobytes()


def test_pairs_come_by_point_then_zone() -> None:
    zones = Zones(circle(str(i), 10.0, 50.0, 100.0 * (i + 1)) for i in range(20))
    for n in (1, 10):
        located = zones.locate([50.0] * n, [10.0] * n, 5.0)
        assert located.point.tolist() == [p for p in range(n) for _ in range(20)]
        assert located.zone.tolist() == list(range(20)) * n


@pytest.mark.parametrize("n", [1, 50])
def test_no_zones_and_no_points(n: int) -> None:
    assert [len(each) for each in Zones().locate([50.0] * n, [10.0] * n, 100.0)] == [0, 0, 0]
    assert [len(each) for each in Zones([circle("a", 10.0, 50.0, 9.0)]).locate([], [], 100.0)] == [0, 0, 0]


@pytest.mark.parametrize("n", [1, 50])
@pytest.mark.parametrize(("radius_m", "away_m"), [(50.0, 49.99), (3_000.0, 2_000.0), (400_000.0, 399_000.0)])
def test_circles_are_measured_along_the_great_circle(n: int, radius_m: float, away_m: float) -> None:
    zones = Zones([circle("a", 24.0, 60.0, radius_m)])
    lat, lon = 60.0 + away_m / M_PER_DEG_LAT * 0.6, 24.0 + away_m / m_per_deg_lon(60.0) * 0.6
    located = zones.locate([lat] * n, [lon] * n, 10.0)
    assert located.distance_m.tolist() == pytest.approx([distance_m(lat, lon, 60.0, 24.0) - radius_m] * n, abs=1e-6)


def test_a_hole_is_outside() -> None:
    rings = star(10.0, 50.0, [300.0] * 12, hole=0.5)
    zones = Zones([Fence(fence_id="a", shape="polygon", coordinates=(rings,))])
    east = [0.0, 130.0, 170.0, 290.0, 320.0]
    found = zones.locate([50.0] * 5, [10.0 + x / m_per_deg_lon(50.0) for x in east], 1_000.0)
    assert [d > 0 for d in found.distance_m] == [True, True, False, False, True]
    assert found.distance_m.tolist()[1:] == pytest.approx([20.0, -20.0, -10.0, 20.0], abs=1.5)


def test_deep_inside_a_border_of_many_points_the_distance_is_the_reach() -> None:
    rng = random.Random(7)
    rings = star(10.0, 50.0, [200_000.0 + rng.uniform(-5_000, 5_000) for _ in range(20_000)])
    fence = Fence(fence_id="land", shape="polygon", coordinates=(rings,))
    zones = Zones([fence])
    y, x = rings[0][5_000][1] - 0.001, rings[0][5_000][0]
    for n in (1, 30):
        deep = zones.locate([50.3] * n, [10.5] * n, 75.0)
        assert deep.distance_m.tolist() == [-75.0] * n
        near = zones.locate([y] * n, [x] * n, 400.0)
        assert near.distance_m.tolist() == pytest.approx([true_distance_m(fence, y, x)] * n, rel=0.005)
        assert len(zones.locate([60.0] * n, [10.5] * n, 75.0).point) == 0


def test_a_polygon_split_at_the_antimeridian_has_no_boundary_there() -> None:
    """RFC 7946, 3.1.9: cut in two, each part on its side."""
    west = ((179.9, -17.0), (180.0, -17.0), (180.0, -16.9), (179.9, -16.9), (179.9, -17.0))
    east = ((-180.0, -17.0), (-179.9, -17.0), (-179.9, -16.9), (-180.0, -16.9), (-180.0, -17.0))
    zones = Zones([Fence(fence_id="fiji", shape="multipolygon", coordinates=((west,), (east,)))])
    lons = [179.95, 179.9999, 180.0, -180.0, -179.9999, -179.95]
    assert zones.locate([-16.95] * 6, lons, 500.0).distance_m.tolist() == [-500.0] * 6
    assert zones.crossings(0, -16.95, 179.95, -16.95, -179.95) == []
    assert [c.entering for c in zones.crossings(0, -16.95, 179.8, -16.95, -179.8)] == [True, False]


@pytest.mark.parametrize("n", [1, 50])
def test_zones_at_the_poles_and_a_reach_round_them(n: int) -> None:
    zones = Zones([circle("n", 0.0, 90.0, 5_000.0), circle("s", 30.0, -89.99, 3_000.0)])
    lat, lon = [89.97, -89.98, -89.999] * n, [170.0, 30.0, -150.0] * n
    found = zones.locate(lat, lon, 10.0)
    assert found.zone.tolist() == [0, 1, 1] * n
    truth = [true_distance_m(zones.fence(z), lat[p], lon[p]) for p, z in zip(found.point, found.zone, strict=True)]
    assert found.distance_m.tolist() == pytest.approx(truth, abs=1e-3)


def ahead(lat: float, lon: float, bearing: float, distance_m: float) -> tuple[float, float]:
    """The place so far along a great circle: latitude, longitude."""
    p, d, b = math.radians(lat), distance_m / EARTH_RADIUS_M, math.radians(bearing)
    q = math.asin(math.sin(p) * math.cos(d) + math.cos(p) * math.sin(d) * math.cos(b))
    turn = math.atan2(math.sin(b) * math.sin(d) * math.cos(p), math.cos(d) - math.sin(p) * math.sin(q))
    return math.degrees(q), lon + math.degrees(turn)


@pytest.mark.parametrize("n", [1, 20])
@pytest.mark.parametrize("lat", [0.0, 60.0, -82.0, 89.0])
def test_nothing_within_reach_is_missed_in_any_direction(n: int, lat: float) -> None:
    places = [ahead(lat, 179.0, 5.0 * i, 300_000.0) for i in range(72)]
    zones = Zones(circle(str(i), wrap_lon_deg(x), y, 100.0) for i, (y, x) in enumerate(places))
    assert zones.locate([lat] * n, [179.0] * n, 299_901.0).zone.tolist() == list(range(72)) * n
    assert zones.locate([lat] * n, [179.0] * n, 299_899.0).zone.tolist() == []


@pytest.mark.parametrize("n", [1, 20])
def test_a_reach_over_very_many_cells_finds_what_is_there(n: int) -> None:
    zones = Zones(circle(str(i), 10.0 + 0.01 * i, 50.0, 30.0) for i in range(300))
    located = zones.locate([50.0] * n, [10.0] * n, 100_000.0)
    near = [i for i in range(300) if distance_m(50.0, 10.0, 50.0, 10.0 + 0.01 * i) <= 100_030.0]
    assert located.zone.tolist() == near * n


def test_many_edges_are_looked_at_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    fences = [Fence(fence_id=str(i), shape="polygon", coordinates=(star(10.0, 50.0, [500.0] * 50),)) for i in range(9)]
    zones = Zones(fences)
    whole = zones.locate([50.0, 50.001] * 10, [10.0, 10.001] * 10, 80.0)
    monkeypatch.setattr("gateway.geofence.zones.MAX_EDGES_AT_ONCE", 120)
    portions = zones.locate([50.0, 50.001] * 10, [10.0, 10.001] * 10, 80.0)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(whole, portions, strict=True))


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from(CENTRES))
def test_changed_zones_answer_as_if_built_anew(data: st.DataObject, centre: tuple[float, float]) -> None:
    lon, lat = centre
    zones, kept = Zones(), {}
    for i in range(data.draw(st.integers(1, 25))):
        fence_id = data.draw(st.sampled_from("abcdef"))
        if fence_id in kept and data.draw(st.booleans()):
            zones.remove(fence_id)
            del kept[fence_id]
            with pytest.raises(KeyError):
                zones.handle(fence_id)
        else:
            before = zones.handle(fence_id) if fence_id in kept else None
            kept[fence_id] = data.draw(zones_at(lon, lat, 800.0, fence_id))
            handle = zones.put(kept[fence_id])
            assert before in (None, handle)
            assert zones.fence(handle) == kept[fence_id]
        if i == 10:
            zones._rewrite()
    anew = Zones(kept.values())
    rng = np.random.default_rng(1)
    lats = lat + rng.uniform(-1, 1, 60) * 1_000 / M_PER_DEG_LAT
    lons = lon + rng.uniform(-1, 1, 60) * 1_000 / m_per_deg_lon(lat)
    assert by_id(zones, zones.locate(lats, lons, 100.0)) == by_id(anew, anew.locate(lats, lons, 100.0))
    assert len(zones) == len(kept)
    assert {f.fence_id for f in zones} == set(kept)
    assert all(fence_id in zones for fence_id in kept)


def test_what_comes_and_goes_leaves_nothing_behind() -> None:
    zones = Zones([circle("stays", 10.0, 50.0, 50.0)])
    rings = star(10.0, 50.0, [500.0] * 400)
    for i in range(200):
        zones.put(Fence(fence_id=f"passes {i}", shape="polygon", coordinates=(rings,)))
        zones.put(Fence(fence_id=f"passes {i}", shape="polygon", coordinates=(rings,)))
        zones.remove(f"passes {i}")
    assert len(zones._boundaries) < 15_000
    assert len(zones._fences) == 2
    assert len(zones._grid._cells) <= 4
    assert zones.locate([50.0], [10.0], 5.0).distance_m.tolist() == [-50.0]


def test_a_handle_that_is_nobodys() -> None:
    zones = Zones([circle("a", 10.0, 50.0, 50.0), circle("b", 10.0, 50.0, 50.0)])
    zones.remove("a")
    for handle in (0, 2, -1):
        with pytest.raises(KeyError):
            zones.fence(handle)
        with pytest.raises(KeyError):
            zones.crossings(handle, 50.0, 9.0, 50.0, 11.0)
    with pytest.raises(KeyError):
        zones.remove("a")


def test_a_stop_is_a_zone() -> None:
    stop = Stop(stop_id="7", sequence=1, lat_deg=50.0, lon_deg=10.0, radius_m=80.0)
    assert stop_zone(stop) == circle("stop/7", 10.0, 50.0, 80.0)
    rings = star(10.0, 50.0, [100.0] * 8, hole=0.3)
    zone = stop_zone(Stop(stop_id="8", sequence=2, lat_deg=50.0, lon_deg=10.0, zone=rings))
    assert (zone.fence_id, zone.shape, zone.coordinates) == ("stop/8", "polygon", (rings,))
    assert Zones([zone]).locate([50.0], [10.0], 0.0).point.tolist() == []
