"""Side streets: lines that follow a field of directions and keep their distance from each other.

The idea (streamlines of a direction field, evenly spaced) is that of Chen et al., "Interactive Procedural Street
Modeling", 2008, in its simplest form.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable

from shapely import LineString, Point, Polygon, prepare
from shapely.geometry.base import BaseGeometry

from firmware_sim.build_city.bones import Directions, Line

STEP_M = 14.0
PARALLEL = math.cos(math.radians(38))
CELL_M = 60.0


class Spacing:
    """Points of all streets with their directions, so that a new street can keep off those it runs along with."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int], list[tuple[float, float, float, float]]] = defaultdict(list)

    def add(self, line: BaseGeometry) -> None:
        at = 0.0
        while at < line.length:
            (x, y), (x2, y2) = line.interpolate(at).coords[0], line.interpolate(at + 5).coords[0]
            d = math.hypot(x2 - x, y2 - y) or 1.0
            self.cells[int(x // CELL_M), int(y // CELL_M)].append((x, y, (x2 - x) / d, (y2 - y) / d))
            at += STEP_M

    def crowded(self, x: float, y: float, dx: float, dy: float, within_m: float) -> bool:
        """Is there a street nearer than `within_m` that runs the same way?"""
        reach = int(within_m // CELL_M) + 1
        cx, cy = int(x // CELL_M), int(y // CELL_M)
        for i in range(cx - reach, cx + reach + 1):
            for j in range(cy - reach, cy + reach + 1):
                for px, py, ux, uy in self.cells.get((i, j), ()):
                    if (px - x) ** 2 + (py - y) ** 2 < within_m * within_m and abs(ux * dx + uy * dy) > PARALLEL:
                        return True
        return False


class Growth:
    """Grows streets of one kind inside an area until no place is left for another."""

    def __init__(self, field: Directions, spacing: Spacing, allowed: Polygon, dice: random.Random) -> None:
        self.field = field
        self.spacing = spacing
        self.allowed = allowed
        prepare(allowed)
        self.dice = dice

    def grow(self, apart_m: Callable[[float, float], float], tries: int, longest_m: float) -> list[LineString]:
        """Streets at least about `apart_m(x, y)` apart, each up to `longest_m` long."""
        x1, y1, x2, y2 = self.allowed.bounds
        grown: list[LineString] = []
        for _ in range(tries):
            x, y = self.dice.uniform(x1, x2), self.dice.uniform(y1, y2)
            turn = self.dice.choice((0.0, math.pi / 2))
            half_m = longest_m * self.dice.uniform(0.25, 0.5)
            if not self.allowed.contains(Point(x, y)):
                continue
            a = self.field.at(x, y) + turn
            gap_m = apart_m(x, y)
            if self.spacing.crowded(x, y, math.cos(a), math.sin(a), gap_m):
                continue
            back = self._trace(x, y, a + math.pi, half_m, gap_m)
            line = LineString([*back[::-1], (x, y), *self._trace(x, y, a, half_m, gap_m)]) if back else None
            if line is not None and line.length > 0.9 * gap_m:
                line = line.simplify(1.2)
                grown.append(line)
                self.spacing.add(line)
        return grown

    def _trace(self, x: float, y: float, a: float, length_m: float, apart_m: float) -> Line:
        out: Line = []
        dx, dy = math.cos(a), math.sin(a)
        for _ in range(int(length_m / STEP_M)):
            a = self.field.at(x + dx * STEP_M / 2, y + dy * STEP_M / 2)
            dx, dy = _nearest_arm(a, dx, dy)
            x, y = x + dx * STEP_M, y + dy * STEP_M
            if not self.allowed.contains(Point(x, y)) or self.spacing.crowded(x, y, dx, dy, 0.62 * apart_m):
                break
            out.append((x, y))
        return out


def _nearest_arm(a: float, dx: float, dy: float) -> tuple[float, float]:
    """Of the cross that the field is at a place, the arm that goes on most nearly straight."""
    arms = [(math.cos(a + i * math.pi / 2), math.sin(a + i * math.pi / 2)) for i in range(4)]
    return max(arms, key=lambda u: u[0] * dx + u[1] * dy)
