"""python -m benchmarks [STAGE …]"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

from benchmarks import decode, engine, geofence, journal, lines, mqtt
from benchmarks.measure import Contest, LeftOut, Pace, Row, held
from benchmarks.table import as_json, fsync_ms, report, table

STAGES: dict[str, Callable[[Pace], Iterator[Contest]]] = {
    "decode": decode.contests,
    "journal": journal.contests,
    "engine": engine.contests,
    "lines": lines.contests,
    "mqtt": mqtt.contests,
    "geofence": geofence.contests,
}
EXAMPLES = """
examples:
  python -m benchmarks                     every stage, three to four minutes
  python -m benchmarks --quick             every stage, coarsely, under 40 seconds
  python -m benchmarks decode lines        these two
  python -m benchmarks journal --folder /var/lib/gateway      on the disk the journal will be on
  python -m benchmarks decode | tail -1 | python -m json.tool

Progress goes to stderr; the table, and as its last line the same as JSON, to stdout. docs/benchmarks.md says how it is
measured, and what the naive ways are.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Positions per second and CPU per position of each stage, next to the naive way of doing the same.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"{', '.join(STAGES)}; all where none is named")
    parser.add_argument("--quick", action="store_true", help="fewer, shorter rounds: does it run, is anything far off")
    parser.add_argument(
        "--folder", type=Path, help="where journals are written (default: the system's temporary files)"
    )
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.stages) - set(STAGES):
        parser.error(f"no stage {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    if chosen.folder is not None and not chosen.folder.is_dir():
        parser.error(f"--folder {chosen.folder} is no folder; make it, or name another")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.folder) as folder:
        pace = Pace(folder=Path(folder))
        if chosen.quick:
            pace = Pace(folder=Path(folder), rounds=2, at_least_s=0.08, scale=0.2, quick=True)
        run(chosen.stages or list(STAGES), pace)
    return 0


def run(stages: list[str], pace: Pace) -> None:
    """Measures and prints. A stage that lacks a server is left out, and the report says so."""
    started_s, before_ms = monotonic(), fsync_ms(pace.folder)
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    for stage in stages:
        try:
            for contest in STAGES[stage](pace):
                _tell(f"{monotonic() - started_s:4.0f} s  {stage}: {contest.case}")
                rows.append(held(contest, pace.rounds))
        except LeftOut as error:
            left_out[stage] = str(error)
            _tell(f"{stage}: left out: {error}")
    found = report(rows, left_out, monotonic() - started_s, (before_ms, fsync_ms(pace.folder)))
    print(table(found))
    print(as_json(found), flush=True)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
