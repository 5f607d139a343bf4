from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.model import Malformed, Position
from gateway.problems import BadInput
from gateway.sources.recording import RecordingOptions, RecordingSource
from gateway.times import parse_rfc3339
from tests.sources.fake_intake import FakeIntake
from tests.sources.test_serial_port import sentence


@pytest.fixture
def tour(tmp_path: Path) -> Path:
    """Four epochs, 0.1 s apart but for a pause of an hour, and half a sentence; made for this test."""
    times = ["120000.00", "120000.10", "120000.20", "130000.20"]
    sentences = [sentence(f"GPRMC,{at},A,4717.1100,N,00833.9100,E,10.0,90.0,010224,,,A") for at in times]
    path = tmp_path / "tour.nmea"
    path.write_bytes(b"".join(sentences) + b"$GPRMC,1300")
    return path


async def play(path: Path, **more: object) -> tuple[FakeIntake, RecordingSource, float]:
    intake = FakeIntake()
    source = RecordingSource(RecordingOptions(path=str(path), device_id="truck", **more), intake)
    started_s = time.monotonic()
    await source.run()
    return intake, source, time.monotonic() - started_s


async def test_a_recording_is_on_disk_when_run_returns(tour: Path) -> None:
    intake, source, took_s = await play(tour)
    assert len(intake.committed) == len(intake.submitted) == source.stats.frames == 5
    positions = [m for r in intake.committed for m in r.frame.messages if isinstance(m, Position)]
    assert [p.time_ms for p in positions] == [
        parse_rfc3339(f"2024-02-01T{at}Z") for at in ("12:00:00.0", "12:00:00.1", "12:00:00.2", "13:00:00.2")
    ]
    assert isinstance(intake.committed[-1].frame.messages[0], Malformed)
    assert took_s < 2


async def test_its_rhythm_is_that_of_its_fixes_and_no_wait_is_endless(tour: Path) -> None:
    _, _, took_s = await play(tour, pace=1, wait_max_s=0.3)
    assert 0.5 <= took_s < 2
    _, _, took_s = await play(tour, pace=100_000)
    assert took_s < 0.5


async def test_the_intake_sets_the_pace_when_it_is_full(tour: Path) -> None:
    intake = FakeIntake(limit=1)
    await RecordingSource(RecordingOptions(path=str(tour), device_id="truck"), intake).run()
    assert intake.most_waiting == 1
    assert len(intake.committed) == 5


async def test_what_cannot_be_played_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="morse"):
        await play(tmp_path / "x", protocol="morse")
    with pytest.raises(FileNotFoundError):
        await play(tmp_path / "missing")
