"""How fast it is here and now: printed (`pytest -s`), never asserted; machines differ, and neighbours make noise."""

from __future__ import annotations

import time
from pathlib import Path

from tests.journal.support import T0, fix, frame, opened

BATCHES, SIZE = 20, 1_000


def test_fixes_per_second(tmp_path: Path) -> None:
    batches = [
        [frame(fix(f"d{i % 200}", at_s=5 * n + i // 200), raw=bytes(80)) for i in range(SIZE)] for n in range(BATCHES)
    ]
    with opened(tmp_path / "j") as journal:
        for what in ("new", "duplicate"):
            started_s, cpu_s = time.perf_counter(), time.thread_time()
            for batch in batches:
                journal.append(batch, T0)
            wall_s, cpu_s = time.perf_counter() - started_s, time.thread_time() - cpu_s
            print(f"{what}: {BATCHES * SIZE / wall_s:,.0f}/s, {cpu_s / BATCHES / SIZE * 1e6:.1f} µs of CPU each")
        started_s, after, read = time.perf_counter(), 0, 0
        while entries := journal.entries(after):
            after, read = entries[-1].id, read + sum(len(e.items) for e in entries)
        print(
            f"read: {read / (time.perf_counter() - started_s):,.0f}/s; {journal.size_bytes / BATCHES / SIZE:.0f} B each"
        )
    assert journal.totals.journaled == journal.totals.duplicate == BATCHES * SIZE
