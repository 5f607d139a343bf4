"""The results as a table for people and as one line of JSON for machines."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter

import msgspec
from msgspec import Struct

from benchmarks.measure import Row, Side

HEAD = ("stage", "what", "per s", "µs CPU", "per s", "µs CPU", "faster", "less CPU", "least–most", "rounds")
WIDTHS = (13, 53, 11, 9, 11, 9, 9, 9, 15, 7)


class Report(Struct, frozen=True):
    """`left_out`: why a stage could not be measured, by its name. `fsync_ms`: in the folder of
    the journals, before and after the run: a shared disk may be ten times slower a minute later.
    """

    rows: list[Row]
    left_out: dict[str, str]
    seconds: float
    cores: int
    load: float
    python: str
    fsync_ms: tuple[float, float]


def report(rows: list[Row], left_out: dict[str, str], seconds: float, fsync_ms: tuple[float, float]) -> Report:
    return Report(
        rows,
        left_out,
        round(seconds, 1),
        os.cpu_count() or 1,
        round(os.getloadavg()[0], 1),
        platform.python_version(),
        fsync_ms,
    )


def fsync_ms(folder: Path) -> float:
    """What it costs to have a page on the disk, the median of some."""
    costs = []
    with TemporaryFile(dir=folder) as file:
        for _ in range(21):
            file.write(bytes(4096))
            file.flush()
            start_s = perf_counter()
            os.fdatasync(file.fileno())
            costs.append(1000 * (perf_counter() - start_s))
    return round(statistics.median(costs), 2)


def table(found: Report) -> str:
    """Two lines a row: what was measured, and against what. "×" figures: above 1, ours is better."""
    titles = _line(("", "", "── ours ──", "", "── naive ──", "", "ours ×", "ours ×", "", ""))
    lines = [titles, _line(HEAD), "─" * len(titles)]
    stage = ""
    for row in found.rows:
        lines += [_figures(row, "" if row.stage == stage else row.stage), " " * WIDTHS[0] + f"  against {row.against}"]
        stage = row.stage
    lines += [f"{name}: left out: {why}" for name, why in found.left_out.items()]
    before, after = found.fsync_ms
    facts = f"{found.cores} cores, load {found.load}, Python {found.python}, fsync {before} ms before, {after} ms after"
    lines += ["", f"{facts}; {found.seconds:.0f} s in all. Per s: positions by wall clock. µs CPU: of one position."]
    lines += [
        "Both ways in turns, so many rounds; × is the median of the rounds' ratios, least–most their range (CPU)."
    ]
    return "\n".join(line.rstrip() for line in lines)


def as_json(found: Report) -> str:
    return msgspec.json.encode(found).decode()


def _figures(row: Row, stage: str) -> str:
    ratios = (_ratio(row.times_faster), _ratio(row.times_less_cpu), f"{_ratio(row.least)}–{_ratio(row.most)}")
    return _line((stage, row.case, *_side(row.ours), *_side(row.naive), *ratios, str(row.rounds)))


def _side(side: Side) -> tuple[str, str]:
    return f"{side.positions_per_s:,.0f}", f"{side.cpu_us:,.1f}"


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _line(cells: Sequence[str]) -> str:
    texts, figures = zip(cells[:2], WIDTHS[:2], strict=True), zip(cells[2:], WIDTHS[2:], strict=True)
    return "".join([*(c.ljust(w) for c, w in texts), *(c.rjust(w) for c, w in figures)])
