"""From lines to a map: loose ends are tied, crossings found and merged, streets named, blocks and signals derived."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter, defaultdict

from msgspec import Struct
from shapely import LineString, MultiPolygon, Point, Polygon, STRtree, polygonize
from shapely.ops import substring

from firmware_sim.build_city.bones import Ground, Street

MERGE_M = 17.0
Node = tuple[float, float]


class Edge(Struct, kw_only=True):
    """A street from one crossing to the next."""

    line: LineString
    kind: str
    name: str
    bridge: bool = False
    oneway: bool = False

    def ends(self) -> tuple[Node, Node]:
        return self.line.coords[0], self.line.coords[-1]


def cut_at_water(streets: list[Street], land: Ground) -> list[Street]:
    """Streets without bridges end at the bank."""
    wet = land.water().buffer(14)
    dry: list[Street] = []
    for s in streets:
        parts = s.line.difference(land.sea.buffer(10) if s.bridges else wet)
        for part in getattr(parts, "geoms", [parts]):
            if part.length > 60:
                dry.append(Street(line=part, kind=s.kind, name=s.name, bridges=s.bridges, oneway=s.oneway))
    return dry


def tie_loose_ends(streets: list[Street], land: Ground, reach_m: float = 120.0) -> None:
    """An end that points at a street nearby is led there, unless water lies between."""
    wet = land.water().buffer(8)
    for s in streets:
        others = [o.line for o in streets if o is not s and (s.bridges or o.kind != "motorway")]
        tree = STRtree(others)
        for at_end in (False, True):
            coords = list(s.line.coords)
            if at_end:
                coords.reverse()
            (x, y), (x2, y2) = coords[0], coords[1]
            here = Point(x, y)
            near = [others[i] for i in tree.query(here.buffer(reach_m))]
            if not near or min(o.distance(here) for o in near) < 0.5:
                continue
            d = math.hypot(x - x2, y - y2) or 1.0
            ray = LineString([(x, y), (x + (x - x2) / d * reach_m, y + (y - y2) / d * reach_m)])
            hits = [p for o in near for p in _points(o.intersection(ray))]
            goal = min(hits, key=here.distance, default=None)
            if goal is None:
                closest = min((o.interpolate(o.project(here)) for o in near), key=here.distance)
                goal = closest if here.distance(closest) < 0.5 * reach_m else None
            if goal is None or (not s.bridges and LineString([here, goal]).intersects(wet)):
                continue
            coords.insert(0, (goal.x, goal.y))
            s.line = LineString(coords[::-1] if at_end else coords)


def _points(shape: object) -> list[Point]:
    if isinstance(shape, Point):
        return [shape]
    parts = getattr(shape, "geoms", None)
    if parts is not None:
        return [p for part in parts for p in _points(part)]
    return [Point(c) for c in shape.coords] if isinstance(shape, LineString) and not shape.is_empty else []


def cross(streets: list[Street], land: Ground) -> list[Edge]:
    """Every street cut where another meets it; crossings nearer than MERGE_M are one."""
    lines = [s.line for s in streets]
    tree = STRtree(lines)
    cuts: list[list[float]] = []
    for i, line in enumerate(lines):
        at = [0.0, line.length]
        for j in tree.query(line.buffer(1.0)):
            if int(j) != i and _meet(streets[i], streets[j]):
                at += [line.project(p) for p in _points(line.buffer(0.6).intersection(lines[j]))[:1] or []]
                at += [line.project(p) for p in _points(line.intersection(lines[j]))]
        cuts.append(sorted(at))
    place = _merged([line.interpolate(at).coords[0] for line, cut in zip(lines, cuts, strict=True) for at in cut])
    water = land.water()
    edges: dict[tuple[Node, Node], Edge] = {}
    for s, line, cut in zip(streets, lines, cuts, strict=True):
        for a, b in itertools.pairwise(cut):
            start, end = place[line.interpolate(a).coords[0]], place[line.interpolate(b).coords[0]]
            if start == end and b - a < 4 * MERGE_M:
                continue
            inner = list(substring(line, a, b).simplify(1.0).coords)[1:-1]
            inner = [c for c in inner if math.dist(c, start) > 9 and math.dist(c, end) > 9]
            piece = LineString([start, *inner, end])
            if piece.length < 1 or (start, end) in edges or (end, start) in edges:
                continue
            bridge = s.bridges and piece.intersection(water).length > max(15.0, 0.25 * piece.length)
            edges[start, end] = Edge(line=piece, kind=s.kind, name=s.name, bridge=bridge, oneway=s.oneway)
    return list(edges.values())


def _meet(one: Street, other: Street) -> bool:
    """Only big streets reach the motorway; the others end before it, or pass below."""
    return "motorway" not in (one.kind, other.kind) or (one.bridges and other.bridges)


def _merged(points: list[Node]) -> dict[Node, Node]:
    """For each point the place of its cluster: the first of those within MERGE_M of each other."""
    tree = STRtree([Point(p) for p in points])
    place: dict[Node, Node] = {}
    for p in points:
        if p in place:
            continue
        group = sorted(int(i) for i in tree.query(Point(p).buffer(MERGE_M)) if points[i] not in place)
        for i in group:
            place[points[i]] = (round(p[0], 1), round(p[1], 1))
    return place


def prune(edges: list[Edge], shortest_end_m: float = 70.0) -> list[Edge]:
    """Without stubs, and only what is connected."""
    while True:
        degree = Counter(n for e in edges for n in e.ends())
        keep = [e for e in edges if min(degree[n] for n in e.ends()) > 1 or e.line.length > shortest_end_m]
        if len(keep) == len(edges):
            break
        edges = keep
    neighbours: dict[Node, list[Node]] = defaultdict(list)
    for e in edges:
        a, b = e.ends()
        neighbours[a].append(b)
        neighbours[b].append(a)
    left, best = set(neighbours), set[Node]()
    while left:
        seen, todo = set[Node](), [min(left)]
        while todo:
            n = todo.pop()
            if n not in seen:
                seen.add(n)
                todo += neighbours[n]
        left -= seen
        best = max(best, seen, key=len)
    return [e for e in edges if e.ends()[0] in best]


def signals(edges: list[Edge], dice: random.Random) -> list[Node]:
    """Crossings with traffic lights: where big streets meet, and some where side streets meet big ones."""
    rank = {"motorway": 4, "primary": 3, "secondary": 2, "tertiary": 1, "residential": 0}
    ranks: dict[Node, list[int]] = defaultdict(list)
    for e in edges:
        for n in e.ends():
            ranks[n].append(rank[e.kind])
    found: list[Node] = []
    for n, r in sorted(ranks.items()):
        r.sort(reverse=True)
        big = (
            len(r) >= 3
            and r[0] < 4
            and r[0] >= 2
            and (r[2] >= 2 or (r[2] == 1 and dice.random() < 0.5) or dice.random() < 0.1)
        )
        if big and all(math.dist(n, m) > 110 for m in found):
            found.append(n)
    return found


def blocks(edges: list[Edge], land: Ground) -> list[Polygon]:
    """What lies between the streets and is built on."""
    open_ground = land.water().union(MultiPolygon([p for p in land.parks.values() if isinstance(p, Polygon)])).buffer(6)
    found: list[Polygon] = []
    for block in polygonize([e.line for e in edges]).geoms:
        inner = block.buffer(-11, join_style="mitre").difference(open_ground).buffer(-6).buffer(6, 4)
        for part in getattr(inner, "geoms", [inner]):
            if isinstance(part, Polygon) and 700 < part.area < 110_000:
                found.append(Polygon(part.exterior).simplify(2.0))
    return found
