"""The benchmarks run, and say what they are meant to say. How fast anything is, is not asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measure import Contest, Cost, held

ROOT = Path(__file__).resolve().parent.parent


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_two_stages_give_a_table_and_a_line_of_json(tmp_path: Path) -> None:
    done = bench("--quick", "--folder", str(tmp_path), "lines", "journal")
    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.splitlines()
    report = json.loads(last)
    assert [row["stage"] for row in report["rows"]] == ["lines", "journal", "journal", "journal"]
    assert not report["left_out"]
    for row in report["rows"]:
        assert any(row["case"] in line for line in table)
        assert row["case"] in done.stderr, "progress is told"
        assert any(line.strip() == f"against {row['against']}" for line in table)
        assert row["rounds"] >= 2
        for side in (row["ours"], row["naive"]):
            assert side["positions_per_s"] > 0
            assert side["cpu_us"] > 0
        assert 0 < row["least"] <= row["times_less_cpu"] <= row["most"]
        assert row["times_faster"] > 0
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


@pytest.mark.parametrize("wrong", [("speed",), ("--folder", "/no/such/folder")])
def test_what_is_wrong_is_named(wrong: tuple[str, ...]) -> None:
    done = bench(*wrong)
    assert done.returncode == 2
    assert wrong[-1] in done.stderr


def test_ratios_are_of_one_round_and_turns_alternate() -> None:
    turns: list[str] = []
    ours = iter([Cost(100, 1.0, 0.5), Cost(100, 2.0, 1.0), Cost(100, 4.0, 1.0)])
    naive = iter([Cost(10, 1.0, 0.5), Cost(10, 2.0, 1.0), Cost(10, 4.0, 4.0)])

    def ours_turn() -> Cost:
        turns.append("ours")
        return next(ours)

    def naive_turn() -> Cost:
        turns.append("naive")
        return next(naive)

    row = held(Contest(stage="s", case="c", against="a", ours=ours_turn, naive=naive_turn), rounds=3)
    assert turns == ["ours", "naive", "naive", "ours", "ours", "naive"]
    assert (row.times_faster, row.times_less_cpu, row.least, row.most) == (10.0, 10.0, 10.0, 40.0)
    assert (row.ours.positions_per_s, row.naive.positions_per_s) == (50.0, 5.0)
    assert row.ours.cpu_us == 10_000.0
