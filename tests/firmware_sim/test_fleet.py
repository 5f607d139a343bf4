"""A fleet's files: the same from the same seed, valid for the gateway, true to each other."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
from shapely import LineString, Point

from firmware_sim.city import to_place
from firmware_sim.cli import main
from gateway.documents import read_plans
from gateway.geo import distance_m
from gateway.geofence import read_fences
from tests.firmware_sim.fleets import START_MS, live, small_fleet

FILES = ("plans.json", "fences.geojson", "city.geojson", "devices.json", "positions.jsonl", "truth.jsonl")


def run(folder: Path, *more: str) -> Path:
    command = ["positions", "--out", str(folder), "--start", "2026-03-02T07:00:00Z", "--vehicles", "8", *more]
    assert main(command) == 0
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


def rows(path: Path) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("a"), "--style", "demo", "--sim-seconds", "900", "--truth-every", "1")


def test_the_same_seed_gives_the_same_bytes(offline: Path, tmp_path: Path) -> None:
    again = run(tmp_path / "b", "--style", "demo", "--sim-seconds", "900", "--truth-every", "1")
    assert digests(offline) == digests(again)
    other = digests(run(tmp_path / "c", "--style", "demo", "--sim-seconds", "900", "--truth-every", "1", "--seed", "8"))
    assert {name for name in FILES if other[name] == digests(offline)[name]} == {"fences.geojson", "city.geojson"}


@pytest.mark.parametrize("style", ["demo", "day"])
def test_plans_are_valid(style: str, tmp_path: Path) -> None:
    small_fleet(6, style=style).write(tmp_path)
    plans = read_plans((tmp_path / "plans.json").read_bytes(), "plans.json")
    assert len(plans) == 6
    for plan in plans:
        assert plan.path is not None
        assert len(plan.stops) >= 10
        for stop in plan.stops:
            here = Point(to_place(stop.lat_deg, stop.lon_deg))
            assert LineString([to_place(lat, lon) for lon, lat in plan.path]).distance(here) < 20


def test_fences_are_valid_and_of_every_sort(offline: Path) -> None:
    fences = read_fences((offline / "fences.geojson").read_bytes(), "fences.geojson")
    assert {f.shape for f in fences} == {"polygon", "multipolygon", "circle", "corridor"}
    assert any(len(polygon) > 1 for f in fences for polygon in f.coordinates), "one has a hole"


def test_positions_are_near_the_truth_and_in_order_of_arrival(offline: Path) -> None:
    truth = {(r["vehicle_id"], r["time_ms"]): r for r in rows(offline / "truth.jsonl") if r["what"] == "position"}
    positions = rows(offline / "positions.jsonl")
    assert len(positions) > 1_000
    received = [p["received_ms"] for p in positions]
    assert received == sorted(received, key=lambda ms: ms if isinstance(ms, int) else 0)
    errors_m = []
    for p in positions:
        true = truth[p["device_id"], p["time_ms"]]
        errors_m.append(distance_m(*(float(str(r[k])) for r in (p, true) for k in ("lat_deg", "lon_deg"))))
        assert int(str(p["received_ms"])) > int(str(p["time_ms"]))
    errors_m.sort()
    assert 3 < errors_m[len(errors_m) // 2] < 12
    assert errors_m[-1] < 150


def test_an_outage_delays_and_loses_nothing() -> None:
    fleet = small_fleet(6)
    cut = fleet.world.trackers[4]
    assert cut.outages
    live(fleet, 120)
    assert cut.firmware.store.made == len(cut.firmware.store), "nobody has taken any yet"
    assert not cut.online(cut.outages[0].from_ms)
    assert cut.online(cut.outages[0].to_ms)


def test_late_reports_are_in_the_file_too(offline: Path) -> None:
    delays_s = [(int(str(p["received_ms"])) - int(str(p["time_ms"]))) / 1000 for p in rows(offline / "positions.jsonl")]
    assert sum(d > 10 for d in delays_s) >= 2
    assert max(delays_s) < 60


def test_a_visitor_sees_something_within_a_minute() -> None:
    fleet = small_fleet(25)
    lived = live(fleet, 240)
    arrivals_s = [(e.happening.time_ms - START_MS) / 1000 for e in lived if e.happening.what == "arrived"]
    assert 15 < min(arrivals_s) < 40
    assert sum(s < 60 for s in arrivals_s) >= 3
    assert len(arrivals_s) >= 12
    late = {
        e.tracker.vehicle_id for e in lived if e.happening.what == "arrived" and e.tracker.vehicle.tour.habit == "late"
    }
    assert late
    assert any(e.happening.what == "held" for e in lived)


def test_wrong_command_lines_are_refused_with_what_to_write(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments, word in (
        (["fleet", "--out", str(tmp_path), "--mqtt", "localhost"], "HOST:PORT"),
        (["positions", "--out", str(tmp_path), "--start", "2026-03-02T07:00:00"], "time zone"),
        (["positions", "--out", str(tmp_path), "--vehicles", "0"], "1 to 20,000"),
    ):
        with pytest.raises(SystemExit) as refused:
            main(arguments)
        assert refused.value.code == 2
        assert word in capsys.readouterr().err
    assert main(["fleet", "--out", str(tmp_path)]) == 2
    (tmp_path / "file").write_text("")
    assert main(["positions", "--out", str(tmp_path / "file"), "--sim-seconds", "5"]) == 1
