"""The bundled city: a map that can be driven on."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import msgspec
import pytest

from firmware_sim.city import City, doggerhaven, read_city, to_geo, to_place
from firmware_sim.routes import Light, Ways, route


@pytest.fixture(scope="module")
def city() -> City:
    return doggerhaven()


def test_it_is_a_city_and_not_a_grid(city: City) -> None:
    assert len(city.junctions) > 500
    kinds = Counter(a.kind for a in city.arcs)
    assert set(kinds) == {"motorway", "primary", "secondary", "tertiary", "residential"}
    headings = Counter(
        round(math.degrees(math.atan2(a.points[-1][0] - a.points[0][0], a.points[-1][1] - a.points[0][1])) % 90 / 10)
        for a in city.arcs
    )
    assert max(headings.values()) < 0.3 * len(city.arcs), "streets run in many directions"
    features = msgspec.json.decode(city.geojson)["features"]
    kinds_of_features = Counter(f["properties"]["kind"] for f in features)
    assert {"street", "signal", "water", "park", "district", "block"} == set(kinds_of_features)
    assert sum(bool(f["properties"].get("bridge")) for f in features) >= 8
    assert all(f["properties"]["name"] for f in features if f["properties"]["kind"] == "street")


def test_every_street_can_be_reached_from_every_depot_and_left_again(city: City) -> None:
    found = Ways(city).search(0)
    assert len(found.seconds) == len(city.arcs)
    back: dict[int, list[int]] = {}
    for arc in city.arcs:
        for there in city.out[arc.end]:
            back.setdefault(there, []).append(arc.index)
    seen, todo = {0}, [0]
    while todo:
        for before in back.get(todo.pop(), ()):
            if before not in seen:
                seen.add(before)
                todo.append(before)
    assert len(seen) == len(city.arcs)


def test_latitude_and_longitude_are_not_exchanged(city: City) -> None:
    lat_deg, lon_deg = to_geo(*city.junctions[0])
    assert 54.5 < lat_deg < 54.9
    assert 2.4 < lon_deg < 3.0
    assert to_place(lat_deg, lon_deg) == pytest.approx(city.junctions[0], abs=0.02)


def test_a_route_is_connected_and_as_long_as_its_streets(city: City) -> None:
    found = Ways(city).search(10)
    for goal in range(100, len(city.arcs), 397):
        arcs = [10, *found.path(goal)]
        for a, b in itertools.pairwise(arcs):
            assert city.arcs[a].end == city.arcs[b].start
            assert city.arcs[a].twin != b or len(city.out[city.arcs[a].end]) == 1, "no U-turn where there is a way on"
        way = route(city, arcs, 5.0, 3.0)
        streets_m = sum(city.arcs[a].length_m for a in arcs[:-1]) - 5.0 + 3.0
        assert way.length_m == pytest.approx(streets_m, abs=0.01)
        for (p, a), (q, b) in zip(zip(way.points, way.at_m), zip(way.points[1:], way.at_m[1:])):  # noqa: B905
            assert math.dist(p, q) == pytest.approx(b - a, abs=0.01)


def test_a_light_is_red_for_one_axis_while_it_is_green_for_the_other() -> None:
    one, other = Light(0.0, 0, 10.0), Light(0.0, 0, 100.0)
    greens = [(not one.red(t * 1000), not other.red(t * 1000)) for t in range(60)]
    assert (True, True) not in greens
    assert {(True, False), (False, True), (False, False)} == set(greens)


def test_a_city_of_ones_own() -> None:
    streets = [
        {"type": "Feature", "properties": {"kind": "street", "class": "primary", "limit_kmh": 50, "oneway": oneway},
         "geometry": {"type": "LineString", "coordinates": line}}
        for line, oneway in (([[2.68, 54.72], [2.69, 54.72]], False), ([[2.69, 54.72], [2.69, 54.73]], True))
    ]  # fmt: skip
    city = read_city(msgspec.json.encode({"type": "FeatureCollection", "features": streets}))
    assert (len(city.junctions), len(city.arcs)) == (3, 3)
    assert city.arcs[0].length_m == pytest.approx(642, abs=2)
    assert city.arcs[2].twin is None


def test_the_city_can_be_drawn_anew(city: City) -> None:
    """About the same: the last bits of a cosine differ between processors, and growth is chaotic."""
    from firmware_sim.build_city.__main__ import draw

    anew = read_city(msgspec.json.encode(draw()))
    assert len(anew.arcs) == pytest.approx(len(city.arcs), rel=0.1)
    assert len(anew.signals) == pytest.approx(len(city.signals), rel=0.25)
