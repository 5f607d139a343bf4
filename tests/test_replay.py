"""`gateway replay`: the same input gives the same bytes; what is wrong is named with file, line, key and fix."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from gateway.cli import main
from gateway.documents import plan_document
from gateway.model import Position
from tests.engine.drive import T0, place, plan, trip


def write_rows(path: Path, positions: list[Position], delay_ms: int = 700) -> Path:
    with path.open("w") as file:
        for p in positions:
            row = {
                "device_id": p.device_id,
                "time_ms": p.time_ms,
                "received_ms": (p.time_ms or 0) + delay_ms,
                "lat_deg": p.lat_deg,
                "lon_deg": p.lon_deg,
                "speed_mps": p.speed_mps,
                "accuracy_m": p.accuracy_m,
            }
            file.write(json.dumps(row) + "\n")
    return path


@pytest.fixture
def day(tmp_path: Path) -> list[str]:
    positions = write_rows(tmp_path / "day.jsonl", trip((1000, 200), (3000, 200), (4000, 0)))
    plans = tmp_path / "plans.json"
    plans.write_bytes(msgspec.json.encode([plan_document(plan(1000, 3000))]))
    lat, lon = place(2000)
    zone = {
        "type": "Feature",
        "id": "yard",
        "properties": {"radius_m": 150},
        "geometry": {"type": "Point", "coordinates": [lon, lat]},
    }
    fences = tmp_path / "zones.geojson"
    fences.write_text(json.dumps({"type": "FeatureCollection", "features": [zone]}))
    return ["replay", "--positions", str(positions), "--plans", str(plans), "--fences", str(fences)]


def test_events_are_cloudevents_and_the_same_input_gives_the_same_bytes(
    day: list[str], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(day) == 0
    first = capsysbinary.readouterr().out
    assert main(day) == 0
    assert capsysbinary.readouterr().out == first
    events = [json.loads(line) for line in first.splitlines()]
    types = [e["type"] for e in events if ".eta." not in e["type"]]
    assert types == [
        f"fleet.{t}.v1"
        for t in (
            "stop.arrived",
            "stop.departed",
            "geofence.entered",
            "geofence.exited",
            "stop.arrived",
            "stop.departed",
            "route.completed",
        )
    ]
    assert {e["source"] for e in events} == {"/gateway/replay"}
    arrived = events[[e["type"] for e in events].index("fleet.stop.arrived.v1")]
    assert arrived["data"]["key"] == "plan/p1/stop/1/visit/1/arrived"
    assert "emitted_at" not in arrived["data"]
    assert arrived["data"]["detected_at"].endswith(".700Z"), "detection is the receive time of the fix that decided"
    assert [e["data"]["seq"] for e in events] == sorted({e["data"]["seq"] for e in events})


def test_eta_lines_come_at_every_multiple_of_the_period(day: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*day, "--eta-every", "30"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    etas = [e for e in lines if e["type"] == "eta"]
    assert {e["stop"] for e in etas} == {"1", "2"}
    assert {e["at"][17:] for e in etas} <= {"00.000Z", "30.000Z"}
    first = [e for e in etas if e["stop"] == "1"]
    assert len(first) >= 3
    assert all(e["p10"] <= e["p50"] <= e["p90"] and e["at"] < e["p50"] for e in etas)
    plain = [e for e in lines if e["type"] != "eta"]
    assert main(day) == 0
    alone = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["id"] for e in plain] == [e["id"] for e in alone], "asking for ETAs changes no event"


def test_a_bad_row_is_told_and_its_neighbours_live(
    tmp_path: Path, day: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(day[2])
    rows = path.read_text().splitlines()
    rows[3:3] = ["{not json", '{"device_id": "van", "time_ms": "soon", "lat_deg": 1, "lon_deg": 1}', ""]
    rows[20:20] = [f'{{"device_id": "van", "time_ms": {T0}, "lat_deg": 141.2, "lon_deg": 8}}']
    path.write_text("\n".join(rows))
    assert main(day) == 1
    told = capsys.readouterr()
    assert f"{path}:4" in told.err
    assert f"{path}:5.time_ms" in told.err
    assert f"{path}:21" in told.err
    assert "swapped" in told.err
    assert "3 rows were passed over" in told.err
    assert told.out.count("stop.arrived") >= 2


@pytest.mark.parametrize(
    ("argument", "content", "words"),
    [
        ("--plans", "[{}]", ["plans[0]"]),
        ("--plans", "nonsense", ["is not JSON"]),
        ("--fences", '{"type": "Sphere"}', ["bad.json"]),
        ("--positions", None, ["bad.json", "No such file"]),
    ],
)
def test_an_input_that_cannot_be_used_is_refused(
    tmp_path: Path,
    day: list[str],
    capsys: pytest.CaptureFixture[str],
    argument: str,
    content: str | None,
    words: list[str],
) -> None:
    bad = tmp_path / "bad.json"
    if content is not None:
        bad.write_text(content)
    assert main([*day, argument, str(bad)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert all(w in told.err for w in words)


def test_several_files_are_one_recording(tmp_path: Path, day: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(day) == 0
    whole = capsys.readouterr().out
    path = Path(day[2])
    rows = path.read_text().splitlines(keepends=True)
    (tmp_path / "a.jsonl").write_text("".join(rows[:25]))
    (tmp_path / "b.jsonl").write_text("".join(rows[25:]))
    assert (
        main(["replay", "--positions", str(tmp_path / "a.jsonl"), "--positions", str(tmp_path / "b.jsonl"), *day[3:]])
        == 0
    )
    assert capsys.readouterr().out == whole


def test_a_period_of_nothing_is_refused(day: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*day, "--eta-every", "0"]) == 2
    assert "--eta-every" in capsys.readouterr().err
