"""Coordinates of GeoJSON, checked: points, lines, rings, polygons, and what is wrong with them.

Each reader gives what it read, or None after it has put down what is wrong and where.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import msgspec
import shapely
from shapely.geometry import Polygon

from gateway.geofence.outline import Line, Point, area_m2, beside, unwrapped, unwrapped_polygons
from gateway.problems import BadInput, Problem, position_problems

Ring: TypeAlias = tuple[Point, ...]

MAX_POINTS = 100_000
"""Of one line or ring."""
MAX_LON_EXTENT_DEG = 180.0
MIN_AREA_M2 = 1.0
MAX_BAD_POINTS = 5
"""Of one line or ring; a whole line of swapped coordinates is one mistake."""
MAX_PROBLEMS = 200
"""Of one file; more would not be read."""


class Findings:
    """What was found wrong with one file so far."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._found: list[Problem] = []
        self._more = 0

    def add(self, key: str, what: str, fix: str) -> None:
        self.extend([Problem(f"{self._where}: {key}" if key else self._where, what, fix)])

    def extend(self, found: Iterable[Problem]) -> None:
        for each in found:
            if len(self._found) < MAX_PROBLEMS:
                self._found.append(each)
            else:
                self._more += 1

    def at(self, key: str) -> str:
        return f"{self._where}: {key}"

    @property
    def count(self) -> int:
        return len(self._found) + self._more

    def refuse(self) -> None:
        """Raises BadInput if there are any."""
        if self._more:
            self._found.append(Problem(self._where, f"has {self._more} more problems", "mend these first"))
            self._more = 0
        if self._found:
            raise BadInput(self._found)


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "missing"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names[type(value)]


def short(value: Any) -> str:
    """A value as it stands in the file, or its beginning."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:60]}…"


def _no_list(value: Any) -> str:
    return "is empty" if value == [] else f"is {kind_of(value)}"


def point_of(value: Any, at: str, problems: Findings) -> Point | None:
    if not isinstance(value, list) or len(value) < 2 or any(type(c) not in (int, float) for c in value):
        what = f"is {kind_of(value)}" if not isinstance(value, list) else f"is {short(value)}"
        problems.add(at, what, "write two numbers: [longitude, latitude]")
        return None
    lon, lat = value[:2]
    if max(abs(lon), abs(lat)) > 360:
        what = f"{short(value)} is not on the earth: it looks projected, in metres"
        problems.add(at, what, "export the file in WGS84 (EPSG:4326), in degrees")
        return None
    found = position_problems(problems.at(at), lat, lon)
    problems.extend(found)
    return None if found else (float(lon), float(lat))


def _points(value: Any, at: str, problems: Findings) -> Ring | None:
    if not isinstance(value, list):
        problems.add(at, f"is {kind_of(value)}", "write a list of points: [[longitude, latitude], …]")
        return None
    if len(value) > MAX_POINTS:
        problems.add(at, f"has {len(value):,} points", f"simplify it: {MAX_POINTS:,} at most")
        return None
    points: list[Point] = []
    for i, each in enumerate(value):
        found = point_of(each, f"{at}[{i}]", problems)
        if found is None:
            if i + 1 < len(value) and i + 1 - len(points) == MAX_BAD_POINTS:
                problems.add(at, "may have more such points", "mend these first, in the same way")
                break
        else:
            points.append(found)
    return tuple(points) if len(points) == len(value) else None


def line_of(value: Any, at: str, problems: Findings) -> Ring | None:
    points = _points(value, at, problems)
    if points is None:
        return None
    if len(set(points)) < 2:
        problems.add(at, f"has only {len(set(points))} different points", "a line needs two; for one write a Point")
        return None
    _check_extent([unwrapped(points)], at, problems)
    return points


def _ring(value: Any, at: str, problems: Findings) -> Ring | None:
    points = _points(value, at, problems)
    if points is None:
        return None
    if points and points[0] != points[-1]:
        first = f"[{points[0][0]}, {points[0][1]}]"
        what = f"the ring is not closed: it began at {first}"
        problems.add(f"{at}[{len(points) - 1}]", what, f"append its first point {first} as the last")
        return None
    if len(set(points)) < 3:
        what = f"the ring has only {len(set(points))} different points"
        problems.add(at, what, "write three or more, and the first once more as the last")
        return None
    line = unwrapped(points)
    if line[0][0] != line[-1][0]:
        what = "the ring goes round a pole, or all the way round the earth"
        problems.add(at, what, "cut it along a meridian into a MultiPolygon, each part less than 180 degrees wide")
        return None
    return points


def polygon_of(value: Any, at: str, problems: Findings) -> tuple[Ring, ...] | None:
    if not isinstance(value, list) or not value:
        problems.add(at, _no_list(value), "write a list of rings, the shell first")
        return None
    rings = [_ring(each, f"{at}[{i}]", problems) for i, each in enumerate(value)]
    polygon = tuple(ring for ring in rings if ring is not None)
    if len(polygon) < len(rings) or not _check_polygon(polygon, at, problems):
        return None
    return polygon


def _check_polygon(polygon: Sequence[Ring], at: str, problems: Findings) -> bool:
    lines = unwrapped_polygons([polygon])[0]
    before = problems.count
    _check_extent(lines, at, problems)
    for i, line in enumerate(lines):
        if area_m2(Polygon(line).convex_hull) < MIN_AREA_M2:
            problems.add(f"{at}[{i}]", "the ring encloses no area", "write its points in their order round the zone")
    if problems.count == before:
        reason = shapely.is_valid_reason(Polygon(lines[0], lines[1:]))
        if reason != "Valid Geometry":
            problems.add(at, *_of_reason(reason))
    return problems.count == before


def _of_reason(reason: str) -> tuple[str, str]:
    """GEOS says "Self-intersection[10.5 50.25]": what is wrong, the place, and what to do."""
    what, _, place = reason.partition("[")
    coordinates = place.rstrip("]").split()
    if len(coordinates) >= 2:
        place = f" at longitude {beside(float(coordinates[0]), 0.0):g}, latitude {float(coordinates[1]):g}"
    told = {
        "Self-intersection": ("crosses itself", "move the points so that no two edges cross; split it if two parts are meant"),
        "Ring Self-intersection": ("touches itself", "split it there into two rings, or move the point"),
        "Hole lies outside shell": ("has a hole outside its shell", "draw the hole inside the first ring, or make it a polygon of a MultiPolygon"),
        "Holes are nested": ("has a hole within a hole", "make the inner one a polygon of a MultiPolygon"),
        "Nested holes": ("has a hole within a hole", "make the inner one a polygon of a MultiPolygon"),
        "Interior is disconnected": ("is cut in two by its holes", "write the parts as polygons of a MultiPolygon"),
        "Duplicate Rings": ("has the same ring twice", "leave one out"),
    }  # fmt: skip
    problem, fix = told.get(what, (f"is not a proper area ({what})", "draw it anew"))
    return f"the polygon {problem}{place}", fix


def multipolygon_of(value: Any, at: str, problems: Findings) -> tuple[Any, ...] | None:
    if not isinstance(value, list) or not value:
        problems.add(at, _no_list(value), "write a list of polygons")
        return None
    read = [polygon_of(each, f"{at}[{i}]", problems) for i, each in enumerate(value)]
    polygons = tuple(each for each in read if each is not None)
    if len(polygons) < len(read):
        return None
    lines = unwrapped_polygons(polygons)
    if not _check_extent([line for rings in lines for line in rings], at, problems):
        return None
    before = problems.count
    for one, other in _overlaps([Polygon(rings[0], rings[1:]) for rings in lines]):
        what = f"the polygon overlaps {at}[{one}]"
        problems.add(f"{at}[{other}]", what, "merge the two, or make them two fences")
    return polygons if problems.count == before else None


def _overlaps(polygons: Sequence[Polygon]) -> list[tuple[int, int]]:
    """Pairs that share more than a border."""
    pairs = shapely.STRtree(polygons).query(polygons, predicate="intersects").T.tolist()
    return [
        (one, other)
        for one, other in sorted(map(tuple, pairs))
        if one < other and area_m2(polygons[one].intersection(polygons[other])) > MIN_AREA_M2
    ]


def _check_extent(lines: Sequence[Line], at: str, problems: Findings) -> bool:
    lons = [lon for line in lines for lon, _ in line]
    wide = max(lons) - min(lons)
    if wide > MAX_LON_EXTENT_DEG:
        what = f"is {wide:.0f} degrees of longitude wide"
        problems.add(at, what, f"split it into fences of {MAX_LON_EXTENT_DEG:.0f} degrees at most")
    return wide <= MAX_LON_EXTENT_DEG
