"""Fences from GeoJSON (RFC 7946) and back.

A fence is a Feature with an id: a Polygon or MultiPolygon, a Point with `radius_m` (metres) in its properties, or a
LineString with `width_m` (metres, the full width). The id is the Feature's, or `id` or `fence_id` of its properties;
`name` and `version` are read from there too, other plain properties are kept; null and nested ones, and altitudes, are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.geofence.coordinates import Findings, kind_of, line_of, multipolygon_of, point_of, polygon_of, short
from gateway.model import Fence
from gateway.problems import BadInput, Problem

MAX_FENCES = 200_000
MAX_RADIUS_M = 500_000.0
MAX_WIDTH_M = 50_000.0
MAX_WHOLE = 2**53 - 1
"""Exact in every reader's JSON."""

_SHAPES = "write a Polygon, a MultiPolygon, a Point with radius_m or a LineString with width_m"
_WGS84 = ("CRS84", "4326", "4979")


def read_fences(data: bytes, where: str) -> list[Fence]:
    """The fences of a FeatureCollection or Feature. All are good, or BadInput lists what is wrong with each."""
    problems = Findings(where)
    features = _features(_json(data, where), problems)
    fences = [_fence(feature, at, problems) for at, feature in features]
    seen: dict[str, str] = {}
    for (at, _), fence in zip(features, fences, strict=True):
        if fence is None:
            continue
        if fence.fence_id in seen:
            what = f"the id {fence.fence_id!r} is that of {seen[fence.fence_id]} too"
            problems.add(f"{at}.id", what, "give each fence an id of its own")
        seen.setdefault(fence.fence_id, at)
    problems.refuse()
    return [fence for fence in fences if fence is not None]


def fences_document(fences: Iterable[Fence]) -> dict[str, Any]:
    """A FeatureCollection that `read_fences` reads as the same fences."""
    return {"type": "FeatureCollection", "features": [_feature(fence) for fence in fences]}


def _feature(fence: Fence) -> dict[str, Any]:
    told = {"name": fence.name, "radius_m": fence.radius_m, "width_m": fence.width_m, "version": fence.version}
    return {
        "type": "Feature",
        "id": fence.fence_id,
        "properties": {**fence.properties, **{key: value for key, value in told.items() if value is not None}},
        "geometry": _geometry(fence),
    }


def _geometry(fence: Fence) -> dict[str, Any]:
    match fence.shape:
        case "polygon":
            return {"type": "Polygon", "coordinates": fence.coordinates[0]}
        case "multipolygon":
            return {"type": "MultiPolygon", "coordinates": fence.coordinates}
        case "circle":
            return {"type": "Point", "coordinates": fence.coordinates[0][0][0]}
        case "corridor":
            return {"type": "LineString", "coordinates": fence.coordinates[0][0]}


def _json(data: bytes, where: str) -> Any:
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        byte = re.search(r"byte (\d+)", str(e))
        at, fix = "", "a GeoJSON FeatureCollection is expected"
        if byte:
            before = data[: int(byte[1])]
            at = f"line {before.count(10) + 1}, column {len(before) - before.rfind(10)}"
            if re.match(rb"-?(NaN|Inf)", data[int(byte[1]) :]):
                fix = "NaN and Infinity are no numbers in JSON: write the coordinate, or leave the feature out"
        raise BadInput([Problem(f"{where}: {at}" if at else where, f"is not JSON: {e}", fix)]) from e


def _features(document: Any, problems: Findings) -> list[tuple[str, Any]]:
    """The features with their keys in the file."""
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "Feature":
        return [("feature", document)]
    if kind != "FeatureCollection":
        found = f"has the type {short(kind)}" if isinstance(document, dict) else f"is {kind_of(document)}"
        problems.add("type", found, 'write a FeatureCollection: {"type": "FeatureCollection", "features": […]}')
        return []
    crs = document.get("crs")
    if crs is not None and not any(name in str(crs) for name in _WGS84):
        problems.add("crs", f"is {short(crs)}", "write the coordinates in WGS84 (EPSG:4326), longitude first")
    features = document.get("features")
    if not isinstance(features, list):
        problems.add("features", f"is {kind_of(features)}", "write a list of Features")
        return []
    if len(features) > MAX_FENCES:
        problems.add("features", f"has {len(features):,} fences", f"split the file: {MAX_FENCES:,} at most")
        return []
    return [(f"features[{i}]", feature) for i, feature in enumerate(features)]


def _fence(feature: Any, at: str, problems: Findings) -> Fence | None:
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        kind = feature.get("type") if isinstance(feature, dict) else kind_of(feature)
        problems.add(at, f"is {kind}, not a Feature", 'write {"type": "Feature", "id": …, "geometry": …}')
        return None
    before = problems.count
    properties = feature.get("properties")
    if properties is None:
        properties = {}
    if not isinstance(properties, dict):
        problems.add(f"{at}.properties", f"is {kind_of(properties)}", "write an object, or null")
        return None
    properties = dict(properties)
    fence_id = _id(feature, properties, at, problems)
    name, version = properties.pop("name", None), properties.pop("version", None)
    if name is not None and not isinstance(name, str):
        problems.add(f"{at}.properties.name", f"is {kind_of(name)}", "write the name as text")
    version = 1 if version is None else version
    if type(version) is not int or not 1 <= version <= MAX_WHOLE:
        problems.add(f"{at}.properties.version", f"is {short(version)}", "write a whole number from 1 on")
    shape = _shape(feature.get("geometry"), properties, at, problems)
    kept = {key: value for key, value in properties.items() if isinstance(value, str | int | float | bool)}
    for key, value in kept.items():
        if isinstance(value, int) and abs(value) > MAX_WHOLE:
            problems.add(f"{at}.properties.{key}", f"is {short(value)}", "write so large a number as text")
    if problems.count > before or shape is None or fence_id is None:
        return None
    return Fence(fence_id=fence_id, name=name, version=version, properties=kept, **shape)


def _id(feature: dict[str, Any], properties: dict[str, Any], at: str, problems: Findings) -> str | None:
    key, value = f"{at}.id", feature.get("id")
    for name in ("fence_id", "id"):
        if value is None:
            key, value = f"{at}.properties.{name}", properties.pop(name, None)
    if value is None:
        problems.add(f"{at}.id", "is missing", 'give the fence an id of its own: "id": "depot-1"')
    elif type(value) not in (str, int) or value == "":
        problems.add(key, "is empty" if value == "" else f"is {kind_of(value)}", "write the id as text")
    else:
        return str(value)
    return None


def _shape(geometry: Any, properties: dict[str, Any], at: str, problems: Findings) -> dict[str, Any] | None:
    """The fields of a Fence that say where it is."""
    at = f"{at}.geometry"
    if not isinstance(geometry, dict):
        problems.add(at, f"is {kind_of(geometry)}", _SHAPES)
        return None
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    key = f"{at}.coordinates"
    if kind == "Polygon":
        polygon = polygon_of(coordinates, key, problems)
        return None if polygon is None else {"shape": "polygon", "coordinates": (polygon,)}
    if kind == "MultiPolygon":
        polygons = multipolygon_of(coordinates, key, problems)
        return None if polygons is None else {"shape": "multipolygon", "coordinates": polygons}
    in_properties = at.removesuffix("geometry") + "properties"
    if kind == "Point":
        point = point_of(coordinates, key, problems)
        radius_m = _metres(properties, "radius_m", MAX_RADIUS_M, in_properties, problems)
        return {"shape": "circle", "coordinates": (((point,),),), "radius_m": radius_m}
    if kind == "LineString":
        line = line_of(coordinates, key, problems)
        width_m = _metres(properties, "width_m", MAX_WIDTH_M, in_properties, problems)
        return {"shape": "corridor", "coordinates": ((line,),), "width_m": width_m}
    problems.add(f"{at}.type", f"is {short(kind)}", _SHAPES)
    return None


def _metres(properties: dict[str, Any], name: str, most: float, at: str, problems: Findings) -> float | None:
    value = properties.pop(name, None)
    if value is None:
        problems.add(f"{at}.{name}", "is missing", f'write it in metres: "{name}": 150')
    elif type(value) not in (int, float):
        problems.add(f"{at}.{name}", f"is {kind_of(value)}", f'write a number of metres: "{name}": 150')
    elif not 0 < value <= most:
        problems.add(f"{at}.{name}", f"is {short(value)}", f"write metres: more than 0, {most:,.0f} at most")
    else:
        return float(value)
    return None
