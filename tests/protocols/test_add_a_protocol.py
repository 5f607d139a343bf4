"""CONTRIBUTING.md says how a protocol is added: here one is, in a copy of the project, and as a package of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.protocols import toy

ROOT = Path(__file__).resolve().parents[2]
LINE = toy.ToyEncoder(toy.Options()).positions(
    [
        toy.Position(
            device_id="van-7",
            time_ms=1_772_449_200_000,
            lat_deg=48.137154,
            lon_deg=-11.576124,
            speed_mps=15.0,
            satellites=9,
        )
    ]
)
MESSAGE = {
    "type": "position",
    "device_id": "van-7",
    "time": "2026-03-02T11:00:00.000Z",
    "lat_deg": 48.137154,
    "lon_deg": -11.576124,
    "speed_mps": 15.0,
    "fix": "gnss",
    "valid": True,
    "satellites": 9,
}
VECTOR = {
    "title": "a fix",
    "provenance": "made up",
    "encoding": "text",
    "frames": [LINE.decode()],
    "messages": [MESSAGE],
}


def run(folder: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Python in a folder; the modules of `path`, or of the folder itself, come before the installed ones."""
    environment = {**os.environ, "PYTHONPATH": str(path or folder)}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The codecs and their tests, with two files more."""
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "gateway", tmp_path / "gateway", ignore=without)
    shutil.copytree(ROOT / "tests" / "protocols", tmp_path / "tests" / "protocols", ignore=without)
    shutil.copy(ROOT / "tests" / "__init__.py", tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(toy.__file__, tmp_path / "gateway" / "protocols" / "toy.py")
    (tmp_path / "tests" / "protocols" / "vectors" / "toy.jsonl").write_text(json.dumps(VECTOR) + "\n")
    return tmp_path


def test_a_file_and_its_vectors_are_found_and_held_to_the_contract(copy: Path) -> None:
    tests = ["tests/protocols/test_contract.py", "tests/protocols/test_storable.py"]
    options = ["-vv", "-p", "no:cacheprovider", "-k", "toy or vectors"]
    done = run(copy, "-m", "pytest", *options, *tests)
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr
    assert "test_vectors_read_exactly_so[toy: a fix] PASSED" in done.stdout
    assert "test_what_a_decoder_says_can_be_stored[toy] PASSED" in done.stdout
    asked = set(re.findall(r"test_contract.py::(\w+)\[.*toy.*\] PASSED", done.stdout))
    assert len(asked) >= 10, "whole, split, cut, damaged, junk, without end, silence, options, vectors"


def test_a_file_without_vectors_is_told(copy: Path) -> None:
    (copy / "tests" / "protocols" / "vectors" / "toy.jsonl").unlink()
    done = run(copy, "-m", "pytest", "-p", "no:cacheprovider", "-k", "has_vectors", "tests/protocols/test_contract.py")
    assert done.returncode == 1
    assert "toy" in done.stdout


def test_a_package_of_its_own_is_found_by_its_entry_point(tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    information = site / "toy_tracker-1.0.dist-info"
    information.mkdir(parents=True)
    empty.mkdir()
    shutil.copy(toy.__file__, site / "toy_tracker.py")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-tracker\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[gateway.protocols]\ntoy = toy_tracker:CODEC\n")
    (empty / "lines").write_bytes(LINE + b"#torn\r\n")
    command = ["-c", "import sys; from gateway.cli import main; sys.exit(main())", "decode", "toy", "lines"]
    done = run(empty, *command, path=site)
    assert done.returncode == 1, "one of the lines is malformed"
    position, malformed = map(json.loads, done.stdout.splitlines())
    assert position == MESSAGE
    assert malformed["type"] == "malformed"
    assert "checksum" in malformed["reason"]
