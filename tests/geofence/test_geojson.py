"""Reading fences: what is good comes through whole, and each thing that is wrong is told with its place and its fix."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.geofence import Zones, fences_document, read_fences
from gateway.model import Fence
from gateway.problems import BadInput

SQUARE = [[10.0, 50.0], [10.01, 50.0], [10.01, 50.01], [10.0, 50.01], [10.0, 50.0]]
HOLE = [[10.004, 50.004], [10.004, 50.006], [10.006, 50.006], [10.006, 50.004], [10.004, 50.004]]
AWAY = [[lon + 1, lat] for lon, lat in SQUARE]


def feature(kind: str, coordinates: Any, fence_id: Any = "a", **properties: Any) -> dict[str, Any]:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "id": fence_id, "properties": properties, "geometry": geometry}


def read(*features: Any) -> list[Fence]:
    document = {"type": "FeatureCollection", "features": list(features)}
    return read_fences(json.dumps(document).encode(), "fences.geojson")


def refused(*features: Any) -> list[str]:
    with pytest.raises(BadInput) as info:
        read(*features)
    return [str(problem) for problem in info.value.problems]


def test_every_shape_is_read() -> None:
    fences = read(
        feature("Polygon", [SQUARE, HOLE], "yard", name="The yard", version=3, color="red", tags=["x"], note=None),
        feature("MultiPolygon", [[SQUARE, HOLE], [AWAY]], "both"),
        feature("Point", [10.5, 50.5, 312.0], "depot", radius_m=150),
        feature("LineString", [[10.0, 50.0], [10.1, 50.0], [10.1, 50.1]], "road", width_m=80.5),
    )
    yard, both, depot, road = fences
    assert (yard.fence_id, yard.shape, yard.name, yard.version) == ("yard", "polygon", "The yard", 3)
    assert yard.properties == {"color": "red"}
    assert yard.coordinates == ((tuple(map(tuple, SQUARE)), tuple(map(tuple, HOLE))),)
    assert both.shape == "multipolygon"
    assert [len(rings) for rings in both.coordinates] == [2, 1]
    assert (depot.shape, depot.coordinates, depot.radius_m) == ("circle", ((((10.5, 50.5),),),), 150.0)
    assert road.shape == "corridor"
    assert road.coordinates == ((((10.0, 50.0), (10.1, 50.0), (10.1, 50.1)),),)
    assert road.width_m == 80.5


@pytest.mark.parametrize(
    ("extra", "expected"),
    [({"id": 7}, "7"), ({"id": "x", "properties": {"fence_id": "y"}}, "x"), ({"properties": {"fence_id": "y"}}, "y")],
)
def test_the_id_is_the_features_or_stands_in_its_properties(extra: dict[str, Any], expected: str) -> None:
    lone = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [SQUARE]}, **extra}
    assert [f.fence_id for f in read_fences(json.dumps(lone).encode(), "f")] == [expected]


def test_a_reference_system_that_is_wgs84_is_no_problem() -> None:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    document = {"type": "FeatureCollection", "crs": crs, "features": [feature("Polygon", [SQUARE])]}
    assert read_fences(json.dumps(document).encode(), "f")


def test_a_byte_order_mark_is_no_problem() -> None:
    assert read_fences(b"\xef\xbb\xbf" + json.dumps(feature("Polygon", [SQUARE])).encode(), "f")


@pytest.mark.parametrize(
    ("data", "where", "fix"),
    [
        (b"", "fences.geojson:", "a GeoJSON FeatureCollection is expected"),
        (b'{"type": "FeatureCollection",\n "features": [}', "fences.geojson: line 2, column 15: is not JSON", "is expected"),
        (b'{"type": "Feature",\n "coordinates": [NaN, 1]}', "fences.geojson: line 2, column 18", "NaN and Infinity are no"),
        (b"[1, 2]", "fences.geojson: type: is a list", "write a FeatureCollection"),
        (b'{"type": "Topology"}', "fences.geojson: type: has the type \"Topology\"", "write a FeatureCollection"),
        (b'{"type": "FeatureCollection"}', "fences.geojson: features: is missing", "write a list of Features"),
        (b"\xff\xfe\x00", "fences.geojson", "a GeoJSON FeatureCollection is expected"),
        (
            b'{"type": "FeatureCollection", "crs": {"properties": {"name": "EPSG:3857"}}, "features": []}',
            "fences.geojson: crs: is ",
            "WGS84 (EPSG:4326)",
        ),
    ],
)  # fmt: skip
def test_what_is_no_feature_collection(data: bytes, where: str, fix: str) -> None:
    with pytest.raises(BadInput) as info:
        read_fences(data, "fences.geojson")
    assert len(info.value.problems) == 1
    assert str(info.value).startswith(where)
    assert fix in info.value.problems[0].fix


def changed(ring: list[list[float]], index: int, point: Any) -> list[Any]:
    ring = copy.deepcopy(ring)
    ring[index] = point
    return ring


BOW_TIE = [[10.0, 50.0], [10.01, 50.01], [10.01, 50.0], [10.0, 50.01], [10.0, 50.0]]
SPIKE = [[10.0, 50.0], [10.01, 50.0], [10.02, 50.0], [10.0, 50.0]]
EIGHT = [[10.0, 50.0], [10.01, 50.0], [10.005, 50.005], [10.01, 50.01], [10.0, 50.01], [10.005, 50.005], [10.0, 50.0]]
POLAR = [[-120.0, 80.0], [0.0, 80.0], [120.0, 80.0], [-120.0, 80.0]]
WIDE = [[-100.0, 10.0], [0.0, 10.0], [100.0, 10.0], [100.0, 20.0], [0.0, 20.0], [-100.0, 20.0], [-100.0, 10.0]]
C = "features[0].geometry.coordinates"
BAD = [
    ("Polygon", [changed(SQUARE, 2, [10.01, 95.0])], {}, f"{C}[0][2]: latitude 95.0", "swapped: write latitude 10.01, longitude 95.0"),
    ("Polygon", [changed(SQUARE, 1, [120.0, 95.0])], {}, f"{C}[0][1]: latitude 95.0", "latitude lies in -90…90"),
    ("Polygon", [[[lat, lon + 90] for lon, lat in SQUARE]], {}, f"{C}[0][0]: latitude 100.0", "swapped: write latitude 50.0, longitude 100.0"),
    ("Polygon", [changed(SQUARE, 2, [1113194.9, 6446275.8])], {}, f"{C}[0][2]: [1113194.9,6446275.8] is not on the earth", "WGS84 (EPSG:4326)"),
    ("Polygon", [changed(SQUARE, 2, [10**400, 1])], {}, f"{C}[0][2]: [1000", "WGS84"),
    ("Polygon", [changed(SQUARE, 2, [0, 0])], {}, f"{C}[0][2]: latitude and longitude are both 0", "write the place"),
    ("Polygon", [changed(SQUARE, 2, ["10", 50])], {}, f"{C}[0][2]: is [\"10\",50]", "two numbers: [longitude, latitude]"),
    ("Polygon", [changed(SQUARE, 2, [10])], {}, f"{C}[0][2]: is [10]", "two numbers: [longitude, latitude]"),
    ("Polygon", [changed(SQUARE, 2, None)], {}, f"{C}[0][2]: is missing", "two numbers: [longitude, latitude]"),
    ("Polygon", [SQUARE[:-1]], {}, f"{C}[0][3]: the ring is not closed: it began at [10.0, 50.0]", "append its first point [10.0, 50.0] as the last"),
    ("Polygon", [SQUARE[:2] + SQUARE[:1]], {}, f"{C}[0]: the ring has only 2 different points", "write three or more"),
    ("Polygon", [[]], {}, f"{C}[0]: the ring has only 0 different points", "write three or more"),
    ("Polygon", [], {}, f"{C}: is empty", "a list of rings"),
    ("Polygon", SQUARE, {}, f"{C}[0][0]: is a number", "two numbers"),
    ("Polygon", [BOW_TIE], {}, f"{C}: the polygon crosses itself at longitude 10.005, latitude 50.005", "no two edges cross"),
    ("Polygon", [EIGHT], {}, f"{C}: the polygon touches itself at longitude 10.005, latitude 50.005", "split it there"),
    ("Polygon", [SPIKE], {}, f"{C}[0]: the ring encloses no area", "in their order round the zone"),
    ("Polygon", [SQUARE, AWAY], {}, f"{C}: the polygon has a hole outside its shell at longitude 11, latitude 50", "draw the hole inside"),
    ("Polygon", [SQUARE, HOLE, HOLE], {}, f"{C}: the polygon", ""),
    ("Polygon", [POLAR], {}, f"{C}[0]: the ring goes round a pole", "cut it along a meridian"),
    ("Polygon", [WIDE], {}, f"{C}: is 200 degrees of longitude wide", "split it"),
    ("Polygon", None, {}, f"{C}: is missing", "a list of rings"),
    ("MultiPolygon", [[SQUARE], [HOLE]], {}, f"{C}[1]: the polygon overlaps {C}[0]", "merge the two"),
    ("MultiPolygon", [[AWAY], [SQUARE[:-1]]], {}, f"{C}[1][0][3]: the ring is not closed", "append its first point"),
    ("MultiPolygon", [], {}, f"{C}: is empty", "a list of polygons"),
    ("Point", [10, 50], {}, "features[0].properties.radius_m: is missing", '"radius_m": 150'),
    ("Point", [10, 50], {"radius_m": "150"}, "features[0].properties.radius_m: is text", "write a number of metres"),
    ("Point", [10, 50], {"radius_m": True}, "features[0].properties.radius_m: is true or false", "write a number of metres"),
    ("Point", [10, 50], {"radius_m": 0}, "features[0].properties.radius_m: is 0", "more than 0, 500,000 at most"),
    ("Point", [10, 50], {"radius_m": 2e6}, "features[0].properties.radius_m: is 2000000.0", "more than 0, 500,000 at most"),
    ("Point", [95, 50, 1], {"radius_m": 5, "name": 5}, "features[0].properties.name: is a number", "as text"),
    ("Point", [95, 50], {"radius_m": 5, "version": "2"}, "features[0].properties.version: is \"2\"", "a whole number"),
    ("Point", [95, 50], {"radius_m": 5, "n": 2**60}, "features[0].properties.n: is 1152921504606846976", "as text"),
    ("LineString", [[10, 50], [10.1, 50]], {}, "features[0].properties.width_m: is missing", '"width_m": 150'),
    ("LineString", [[10, 50], [10, 50]], {"width_m": 9}, f"{C}: has only 1 different points", "a line needs two"),
    ("LineString", [[10, 50], [10, 91]], {"width_m": 9}, f"{C}[1]: latitude 91", "swapped: write latitude 10, longitude 91"),
    ("MultiPoint", [[10, 50]], {}, "features[0].geometry.type: is \"MultiPoint\"", "write a Polygon"),
    ("polygon", [SQUARE], {}, "features[0].geometry.type: is \"polygon\"", "write a Polygon"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "coordinates", "properties", "told", "fix"), BAD)
def test_a_bad_fence_is_told_with_place_and_fix(
    kind: str, coordinates: Any, properties: dict[str, Any], told: str, fix: str
) -> None:
    first = refused(feature(kind, coordinates, **properties))[0]
    assert first.startswith(f"fences.geojson: {told}")
    assert fix in first


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (7, "features[0]: is a number, not a Feature; write"),
        ({"type": "Polygon"}, "features[0]: is Polygon, not a Feature; write"),
        ({"type": "Feature", "id": 1, "geometry": None}, "features[0].geometry: is missing; write a Polygon"),
        ({**feature("Polygon", [SQUARE]), "properties": 5}, "features[0].properties: is a number; write an object"),
        (feature("Polygon", [SQUARE], None), "features[0].id: is missing; give the fence an id"),
        (feature("Polygon", [SQUARE], ""), "features[0].id: is empty; write the id as text"),
        (feature("Polygon", [SQUARE], 1.5), "features[0].id: is a number; write the id as text"),
        (
            {**feature("Polygon", [SQUARE], None), "properties": {"fence_id": []}},
            "features[0].properties.fence_id: is a list; write the id",
        ),
    ],
)
def test_a_bad_feature_is_told_with_place_and_fix(bad: Any, told: str) -> None:
    assert refused(bad)[0].startswith(f"fences.geojson: {told}")


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_let_in() -> None:
    problems = refused(
        feature("Polygon", [SQUARE], "good"),
        feature("Polygon", [SQUARE[:-1]], "open"),
        feature("Point", [95, 95], "point"),
        feature("Polygon", [AWAY], "good"),
    )
    assert [p.split("; ")[0] for p in problems] == [
        "fences.geojson: features[1].geometry.coordinates[0][3]: the ring is not closed: it began at [10.0, 50.0]",
        "fences.geojson: features[2].geometry.coordinates: latitude 95, longitude 95 is not on the earth",
        "fences.geojson: features[2].properties.radius_m: is missing",
        "fences.geojson: features[3].id: the id 'good' is that of features[0] too",
    ]


def test_many_problems_are_not_all_told() -> None:
    ring = [[lat, lon + 90] for lon, lat in SQUARE * 1000]
    assert len(refused(feature("Polygon", [ring]))) == 6
    assert len(refused(*[feature("Point", [0, 91], str(i)) for i in range(500)])) == 201


def test_a_ring_over_the_antimeridian_goes_the_short_way() -> None:
    ring = [[179.99, 10.0], [-179.99, 10.0], [-179.99, 10.01], [179.99, 10.01], [179.99, 10.0]]
    zones = Zones(read(feature("Polygon", [ring])))
    inside = zones.locate([10.005, 10.005, 10.005, 10.005], [179.995, 180.0, -180.0, -179.995], 10.0)
    assert inside.distance_m.tolist() == [-10.0] * 4
    assert len(zones.locate([10.005] * 3, [179.98, -179.98, 0.0], 10.0).point) == 0


coordinate = st.floats(-80, 80).map(lambda x: round(x, 6) + 0.5e-6)
scalar = st.one_of(st.text(max_size=5), st.booleans(), st.integers(1 - 2**53, 2**53 - 1), st.floats(-1e9, 1e9))
plain = st.none() | scalar
anything = (
    plain | st.lists(plain | st.lists(plain, max_size=2), max_size=4) | st.dictionaries(st.text(), plain, max_size=2)
)
names = st.text(min_size=1, max_size=5).filter(lambda n: n not in ("name", "version", "radius_m", "width_m"))


@st.composite
def fences(draw: st.DrawFn) -> Fence:
    lon, lat, size = draw(coordinate), draw(coordinate), draw(st.floats(0.001, 1))
    box = ((lon, lat), (lon + size, lat), (lon + size, lat + size), (lon, lat + size), (lon, lat))
    away = tuple((x + 2 * size, y) for x, y in box)
    shape = draw(st.sampled_from(("polygon", "multipolygon", "circle", "corridor")))
    return Fence(
        fence_id=draw(st.text(min_size=1, max_size=8)),
        shape=shape,
        coordinates={
            "polygon": ((box,),),
            "multipolygon": ((box,), (away,)),
            "circle": ((((lon, lat),),),),
            "corridor": ((box[:3],),),
        }[shape],
        radius_m=draw(st.floats(1, 1000)) if shape == "circle" else None,
        width_m=draw(st.floats(1, 1000)) if shape == "corridor" else None,
        name=draw(st.none() | st.text(max_size=5)),
        version=draw(st.integers(1, 9)),
        properties=draw(st.dictionaries(names, scalar, max_size=3)),
    )


@settings(deadline=None)
@given(st.lists(fences(), max_size=4, unique_by=lambda f: f.fence_id))
def test_what_is_written_is_read_as_the_same(written: list[Fence]) -> None:
    document = json.dumps(fences_document(written)).encode()
    assert read_fences(document, "f") == written
    assert fences_document(read_fences(document, "f")) == fences_document(written)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_whatever_stands_in_a_file_is_read_or_refused(data: st.DataObject) -> None:
    """One value somewhere in a good file is exchanged for any other."""
    good = [feature("Polygon", [SQUARE, HOLE]), feature("Point", [10, 50], "b", radius_m=5)]
    document: Any = copy.deepcopy({"type": "FeatureCollection", "features": good})
    at = document
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = data.draw(anything)
    with contextlib.suppress(BadInput):
        Zones(read_fences(json.dumps(document).encode(), "f")).locate([50.005], [10.005], 10.0)
