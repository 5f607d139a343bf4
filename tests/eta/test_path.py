"""Paths, the stops on them, and progress: on loops and out-and-backs the nearest point is the wrong one."""

from __future__ import annotations

import numpy as np
import pytest

from gateway import geo
from gateway.eta import Path, Progress, Seen, Waypoint, follow

LAT, LON = 41.2, -8.5


def line(*points: tuple[float, float]) -> np.ndarray:
    """(lon, lat) rows of points given in metres (east, north)."""
    return np.array([(LON + e / geo.m_per_deg_lon(LAT), LAT + n / geo.M_PER_DEG_LAT) for e, n in points])


def waypoint(east_m: float, north_m: float, due_s: float | None = None) -> Waypoint:
    (lon, lat), *_ = line((east_m, north_m))
    return Waypoint(float(lat), float(lon), due_s)


OUT_AND_BACK = line((0, 0), (3000, 0), (3000, 20), (0, 20))


def test_stops_of_an_out_and_back_lie_in_the_order_of_the_plan() -> None:
    path = Path(OUT_AND_BACK, [waypoint(1000, 10), waypoint(2000, 10), waypoint(1500, 10), waypoint(500, 10)])
    assert path.length_m == pytest.approx(6020, rel=1e-3)
    assert path.stop_m[0] < path.stop_m[1] < path.stop_m[2] < path.stop_m[3]
    assert path.stop_m[2:] == pytest.approx([4520, 5520], abs=30)


def test_the_schedule_decides_between_two_passes_of_one_street() -> None:
    stops = [waypoint(100, 10, 10), waypoint(1000, 10, 502), waypoint(100, 10, 592)]
    path = Path(OUT_AND_BACK, stops)
    assert path.stop_m[1] == pytest.approx(5020, abs=30)
    early = Path(OUT_AND_BACK, [stops[0], waypoint(1000, 10, 100), stops[2]])
    assert early.stop_m[1] == pytest.approx(1000, abs=30)


def driven(
    path: Path, points: list[tuple[float, float]], every_s: float = 10, course: bool = True
) -> list[float | None]:
    progress = Progress()
    found = []
    for i, (east, north) in enumerate(points):
        ahead = points[min(i + 1, len(points) - 1)]
        heading = 90.0 if ahead[0] >= east else 270.0
        (lon, lat), *_ = line((east, north))
        x, y = path.plane(float(lat), float(lon))
        seen = Seen(round(1000 * every_s * i), x, y, 6.0, 10.0, heading if course else None)
        follow(progress, path, seen, path.length_m / 2)
        found.append(progress.along_m if progress.on_path else None)
    return found


@pytest.mark.parametrize("course", [True, False])
def test_progress_on_an_out_and_back_follows_the_drive_and_not_the_nearest_point(course: bool) -> None:
    path = Path(OUT_AND_BACK, [])
    out = [(x, 14.0) for x in range(50, 3000, 100)]  # nearer to the way back, all along
    back = [(x, 4.0) for x in range(2900, 0, -100)]
    found = driven(path, [*out, *back], course=course)
    expected = [x for x, _ in out] + [6020 - x for x, _ in back]
    wrong = [f for f, e in zip(found, expected, strict=True) if f is None or abs(f - e) > 120]
    assert wrong == []


def test_a_vehicle_off_its_path_is_said_to_be_and_found_again() -> None:
    path = Path(line((0, 0), (6000, 0)), [])
    away = [(x, 0.0) for x in range(0, 1000, 100)] + [(x, 300.0) for x in range(1000, 3000, 100)]
    found = driven(path, [*away, *((x, 0.0) for x in range(3000, 4000, 100))])
    assert found[9] == pytest.approx(900, abs=30)
    assert found[20] is None
    assert found[-1] == pytest.approx(3900, abs=30)


def test_a_path_of_one_place_is_still_a_path() -> None:
    path = Path(line((0, 0), (0, 0), (0, 0)), [waypoint(0, 0)])
    assert path.stop_m == [pytest.approx(0, abs=1)]
    assert len(path.cells) == 1
