"""What is drawn by hand: coast, river, island, docks, parks, the big streets, and the directions side streets follow.

Metres east and north of the middle of the city.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct
from shapely import LineString, MultiPolygon, Point, Polygon, affinity, unary_union

Line = list[tuple[float, float]]


class Street(Struct, kw_only=True):
    """A street before crossings are known: its line, class and name; `bridges`: it may cross water."""

    line: LineString
    kind: str
    name: str
    bridges: bool = False
    oneway: bool = False


def spline(points: Line, every_m: float = 25.0) -> LineString:
    """A smooth line through the points (Catmull-Rom), a vertex about every `every_m`."""
    p = [points[0], *points, points[-1]]
    out: Line = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
        steps = max(2, int(math.dist(b, c) / every_m))
        for i in range(steps):
            t = i / steps
            out.append((_catmull(a[0], b[0], c[0], d[0], t), _catmull(a[1], b[1], c[1], d[1], t)))
    return LineString([*out, points[-1]])


def _catmull(a: float, b: float, c: float, d: float, t: float) -> float:
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t**3)


def closed(points: Line, every_m: float = 25.0) -> LineString:
    """A smooth loop through the points."""
    n = len(points)
    long_way = spline([points[(i - 2) % n] for i in range(n + 5)], every_m)
    start = long_way.project(Point(points[0]))
    coords = [c for c in long_way.coords if start <= long_way.project(Point(c))]
    first = coords[0]
    loop: Line = []
    for c in coords:
        if len(loop) > 20 and math.dist(c, first) < every_m * 1.2:
            break
        loop.append((c[0], c[1]))
    return LineString([*loop, first])


def blob(x: float, y: float, rx: float, ry: float, turn_deg: float, wobble: float) -> Polygon:
    """A round thing that nobody drew with a compass."""
    ring = []
    for i in range(48):
        a = math.tau * i / 48
        r = 1 + wobble * (math.sin(2 * a + x) + 0.6 * math.sin(3 * a + y) + 0.4 * math.sin(5 * a + x * y))
        ring.append((rx * r * math.cos(a), ry * r * math.sin(a)))
    return affinity.translate(affinity.rotate(Polygon(ring), turn_deg, origin=(0, 0)), x, y)


RIVER: Line = [
    (12500, 3200), (9000, 1900), (6200, 2000), (4300, 1350), (3300, 1180), (2500, 820), (1900, 330), (1250, 60), (650, 170), (160, 60), (-350, -110), (-950, -60),
    (-1500, 200), (-1950, 150), (-2500, -80), (-3300, -150),
]  # fmt: skip
COAST: Line = [
    (-2900, -9500), (-2100, -6800), (-2500, -4300), (-2180, -2700), (-2380, -2100), (-2100, -1500), (-2240, -900), (-2120, -450), (-2330, 0), (-2150, 500),
    (-2420, 950), (-2360, 1500), (-2640, 2000), (-2560, 2700), (-2900, 4000), (-2500, 6500), (-3400, 9500),
]  # fmt: skip


class Ground(Struct, kw_only=True):
    """Land and water, parks, and the districts; polygons in metres."""

    sea: Polygon
    river: Polygon
    parks: dict[str, Polygon]
    districts: dict[str, Polygon]
    town: Polygon

    def water(self) -> Polygon | MultiPolygon:
        return unary_union([self.sea, self.river])


def ground() -> Ground:
    coast = spline(COAST, 60)
    sea = Polygon([*coast.coords, (-14000, 9500), (-14000, -9500)])
    docks = [
        affinity.rotate(Polygon([(x, y), (x + 620, y), (x + 620, y + 95), (x, y + 95)]), -8, origin=(-2200, -1500))
        for x, y in ((-2420, -1230), (-2380, -1560), (-2330, -1890))
    ]
    middle = spline(RIVER, 30)
    river = unary_union(
        [
            Point(c).buffer(
                36 + 46 * max(0.0, min(1.0, (1500 - c[0]) / 4000)) + 62 * math.exp(-(((c[0] + 90) / 330) ** 2))
            )
            for c in (middle.interpolate(s).coords[0] for s in np.arange(0, middle.length, 12))
        ]
    )
    isle = affinity.rotate(affinity.scale(Point(-95, -22).buffer(1, 32), 268, 58), 18, origin=(-95, -22))
    lake = blob(930, -1130, 215, 120, 35, 0.1)
    parks = {
        "Kings Park": blob(960, -1150, 400, 310, 35, 0.06).difference(lake.buffer(1)),
        "Botanic Garden": blob(-720, 640, 300, 190, -20, 0.08),
        "Gull Dunes": Polygon([(-2900, 1500), (-2000, 1250), (-1880, 1800), (-2020, 2500), (-3000, 2700)]).difference(
            sea.buffer(40)
        ),
        "Holm Wood": blob(2450, 2150, 850, 560, 20, 0.12),
        "Saint Olaf Cemetery": blob(620, 1180, 190, 130, 30, 0.05),
        "Southmoor": blob(300, -2420, 900, 330, 4, 0.12),
        "Meadow Isle": isle.buffer(-26).intersection(Point(110, 50).buffer(95)),
    }
    water = unary_union([sea, *docks])
    port = Polygon([(-2350, -2250), (-1300, -2250), (-1300, -700), (-2350, -700)])
    town = blob(60, -10, 2_900, 2_230, 0, 0.03).union(port).difference(water.buffer(30))
    return Ground(
        sea=water,
        river=unary_union([river.difference(isle).simplify(1.5), lake]),
        parks={k: v.difference(water) for k, v in parks.items()},
        districts=_districts(),
        town=town,
    )


def _districts() -> dict[str, Polygon]:
    return {
        "Old Town": blob(0, 330, 430, 300, 0, 0.05),
        "The Isle": blob(-95, -22, 290, 90, 18, 0.0),
        "Southbank": blob(-100, -560, 650, 330, 0, 0.06),
        "Harbour": Polygon([(-2350, -2150), (-1350, -2150), (-1250, -700), (-2350, -700)]),
        "Northgate": blob(100, 1500, 800, 500, 0, 0.06),
        "Westcliff": blob(-1550, 900, 560, 420, 0, 0.06),
        "University": blob(1300, 850, 480, 430, 0, 0.06),
        "Eastfields": blob(2300, -250, 560, 470, 0, 0.06),
        "Kingsmead": blob(300, -1500, 620, 420, 0, 0.06),
        "Mill Works": blob(2150, -1450, 420, 500, 0, 0.05),
    }


def ring(radii: Line) -> LineString:
    return closed([(r * math.sin(math.radians(a)), r * math.cos(math.radians(a))) for a, r in radii])


INNER: Line = [(0, 640), (45, 800), (85, 900), (130, 850), (180, 820), (225, 860), (270, 1000), (315, 860)]
OUTER: Line = [
    (0, 1790), (30, 1700), (60, 1800), (90, 1900), (120, 1890), (150, 1760), (180, 1780), (210, 1850), (245, 1760),
    (270, 1660), (300, 1780), (330, 1850),
]  # fmt: skip
MOTORWAY: Line = [
    (-900, 8500), (-500, 5200), (150, 3050), (1500, 1960), (2400, 1230), (2850, 500), (2930, -400), (2650, -1400),
    (1850, -2150), (950, -2900), (550, -4600), (900, -8500),
]  # fmt: skip
AVENUES: dict[str, Line] = {
    "North Avenue": [(-40, 640), (-90, 1150), (-60, 1790), (60, 2320), (330, 3300), (150, 4600), (600, 8000)],
    "South Avenue": [(10, -820), (-60, -1300), (20, -1780), (80, -2200), (-150, -3200), (200, -4800), (-200, -8000)],
    "University Avenue": [(570, 560), (1000, 800), (1500, 880), (2150, 1330), (2700, 1480), (3900, 2350), (5600, 2700), (9500, 4600)],
    "East Avenue": [(890, -80), (1350, -250), (1900, -330), (2560, -330), (3150, -420), (4600, -250), (6800, -700), (11000, -500)],
    "Harbour Avenue": [(-610, -610), (-1050, -900), (-1560, -1180), (-1980, -1410)],
    "West Avenue": [(-1000, 20), (-1330, 480), (-1640, 620), (-2080, 700)],
}  # fmt: skip
ROADS: dict[str, Line] = {
    "Castle Street": [(-40, 640), (-60, 330), (-75, 60), (-60, -160), (-20, -420), (10, -820)],
    "Mill Road": [(600, -640), (880, -760), (1500, -900), (1870, -1010), (2500, -1330), (2900, -1500), (4100, -2300), (6100, -2700)],
    "Cliff Road": [(-610, 610), (-1050, 1020), (-1560, 1250), (-1900, 1520)],
    "Market Street": [(-610, 610), (-300, 420), (0, 330), (330, 430), (570, 560)],
    "Guild Bridge": [(-320, -720), (-350, -380), (-330, -90), (-260, 300), (-300, 420)],
    "Fish Bridge": [(330, -760), (360, -300), (420, 120), (400, 430)],
    "College Bridge": [(1350, -250), (1330, 60), (1290, 500), (1330, 860)],
    "Holm Bridge": [(2330, -330), (2420, 300), (2440, 800), (2380, 1400)],
}  # fmt: skip


def big_streets() -> list[Street]:
    """The streets every map of the city shows: motorway, rings, avenues and roads, with their bridges."""
    lines = [
        ("secondary", "Wall Ring", ring(INNER)),
        ("primary", "Ring Road", ring(OUTER)),
        ("motorway", "Dogger Motorway", spline(MOTORWAY, 40)),
        *(("primary", name, spline(line)) for name, line in AVENUES.items()),
        *(("secondary", name, spline(line)) for name, line in ROADS.items()),
    ]
    return [Street(line=line, kind=kind, name=name, bridges=True) for kind, name, line in lines]


def _river_y_m(near: Point) -> float:
    middle = spline(RIVER, 30)
    at: Point = middle.interpolate(middle.project(near))
    return float(at.y)


def quays(land: Ground) -> list[Street]:
    """Streets along the water, on both banks and round the isle."""
    shore = land.river.buffer(24, 8).boundary
    sea_front = land.sea.buffer(34, 8).boundary
    within = land.town.buffer(-40)
    found: list[Street] = []
    for name, lines, area in (
        ("Quay", shore, within),
        (
            "Sea Wall",
            sea_front,
            within.intersection(Polygon([(-3200, -2200), (-1200, -2200), (-1200, 1300), (-3200, 1300)])),
        ),
    ):
        parts = lines.difference(land.water().buffer(20)).intersection(area)
        for part in sorted(getattr(parts, "geoms", [parts]), key=lambda g: -g.length):
            if part.length > 250:
                side = "" if name != "Quay" else "North " if part.centroid.y > _river_y_m(part.centroid) else "South "
                found.append(Street(line=part.simplify(2.0), kind="tertiary", name=side + name))
    return found


class Directions:
    """The field that side streets follow: a mixture of grids, rings round the old town, and the river's banks."""

    def __init__(self) -> None:
        self.grids = [  # x, y, turn_deg, reach_m
            (-1750, -1400, -8, 620), (-1500, 950, 24, 520), (150, 1650, -6, 640), (1350, 900, 38, 480),
            (2350, -250, 3, 620), (300, -1450, 12, 560), (2150, -1450, -24, 480), (-750, -1650, 32, 480), (-150, -560, 4, 360),
        ]  # fmt: skip
        self.banks = LineString(spline(RIVER, 30).coords)

    def at(self, x: float, y: float) -> float:
        """The direction of one of the two families of streets here, radians; the other is at right angles."""
        c = s = 1e-9
        for gx, gy, turn_deg, reach_m in self.grids:
            w = math.exp(-((x - gx) ** 2 + (y - gy) ** 2) / (reach_m * reach_m))
            c += w * math.cos(math.radians(4 * turn_deg))
            s += w * math.sin(math.radians(4 * turn_deg))
        w = 0.9 * math.exp(-(x * x + (y - 250) ** 2) / (800.0 * 800.0))
        a = math.atan2(y - 250, x)
        c += w * math.cos(4 * a)
        s += w * math.sin(4 * a)
        along = self.banks.project(Point(x, y))
        p, q = self.banks.interpolate(along).coords[0], self.banks.interpolate(along + 20).coords[0]
        w = 1.1 * math.exp(-((math.dist((x, y), p) / 330) ** 2))
        a = math.atan2(q[1] - p[1], q[0] - p[0])
        c += w * math.cos(4 * a)
        s += w * math.sin(4 * a)
        bend = 0.14 * math.sin(x / 410 + 1.3) + 0.14 * math.sin(y / 370 + x / 900)
        return math.atan2(s, c) / 4 + bend
