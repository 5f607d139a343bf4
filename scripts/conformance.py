"""Score `gateway decode` and `gateway replay` on recorded corpora and hold the figures against the floors reached so far.

    conformance.py SHARED [nmea|trackers|playback|trips …]     all of them unless named

A figure below its floor in scripts/conformance.toml is a failure (exit 1). Raise a floor when a change earns it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PYTHON = sys.executable
GATEWAY = str(Path(PYTHON).with_name("gateway"))


def last_json(command: list[str]) -> Any:
    """Run a scorer, show what it prints, and return the JSON of its last line."""
    done = subprocess.run(command, env={**os.environ, "GATEWAY": GATEWAY}, capture_output=True, text=True, check=False)
    print(done.stdout, end="")
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def nmea(shared: Path) -> Any:
    return last_json([PYTHON, str(shared / "tools/frames.py"), "nmea", str(shared / "corpus/nmea")])


def trackers(shared: Path) -> Any:
    protocols = tomllib.loads((HERE / "conformance.toml").read_text())["trackers_read"]["protocols"]
    return last_json([PYTHON, str(shared / "tools/frames.py"), "trackers", str(shared / "corpus/trackers"), *protocols])


def trips(shared: Path) -> Any:
    """One day of traffic, without the days before: what the engine knows when it starts."""
    tool, corpus = str(shared / "tools/trips.py"), str(shared / "corpus/trips")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        subprocess.run([PYTHON, tool, "convert", corpus, "h5", folder], check=True)
        with (out / "events.jsonl").open("wb") as f:
            subprocess.run(
                [GATEWAY, "replay", "--positions", str(out / "positions.jsonl"), "--plans", str(out / "plans.json"), "--eta-every", "30"],
                stdout=f,
                check=True,
            )  # fmt: skip
        return last_json([PYTHON, tool, "score", corpus, "h5", str(out / "events.jsonl"), folder])


def playback(shared: Path) -> Any:
    """The same bytes through virtual serial ports and a broker into a running gateway, its database and its stream."""
    sys.path.insert(0, str(HERE.parent))
    from tests.playback import Message, Recording, play  # noqa: PLC0415 - only here are its servers needed

    recordings = []
    for path in sorted((shared / "corpus/nmea").glob("*.nmea")):
        meta = json.loads(path.with_suffix(".meta.json").read_text())
        day = (meta.get("date") or meta.get("date_header") or "2020-01-01")[:10]
        recordings.append(Recording(path.stem, path.read_bytes(), f"{day}T23:59:59Z"))
    messages = []
    for protocol in ("teltonika", "owntracks"):
        rows = [json.loads(line) for line in (shared / f"corpus/trackers/{protocol}.jsonl").open()]
        for n, row in enumerate(rows):
            if (row.get("peer") or {}).get("positions") and row.get("integrity", "ok") == "ok":
                data = bytes.fromhex(row["frame"]) if row["encoding"] == "hex" else row["frame"].encode()
                messages.append(Message(f"{protocol}-{n}", protocol, data))
    with tempfile.TemporaryDirectory() as folder:
        played = play(Path(folder), recordings, messages)
    figures = {
        "fixes": sum(played.expected.values()),
        "missing_in_database": sum((played.expected - played.stored).values()),
        "extra_in_database": sum((played.stored - played.expected).values()),
        "missing_in_stream": sum((played.expected - played.streamed).values()),
        "extra_in_stream": sum((played.streamed - played.expected).values()),
    }
    for name, apart in (("database", played.stored), ("stream", played.streamed)):
        for (device, time_ms), n in sorted(((played.expected - apart) + (apart - played.expected)).items())[:10]:
            print(f"  {name}: {device} at {time_ms}: {n} apart")
    print(json.dumps(figures))
    return figures


def failures(name: str, figures: Any, floors: dict[str, Any]) -> Iterator[str]:
    """Floors are `path.to.figure = least`, or `path.to.figure = { most = … }`."""
    for path, bound in floors.items():
        value = figures
        for key in path.split("."):
            value = value[int(key)] if isinstance(value, list) else value[key]
        least, most = (bound.get("least"), bound.get("most")) if isinstance(bound, dict) else (bound, None)
        if (least is not None and value < least) or (most is not None and value > most):
            yield f"{name}: {path} is {value}, the bound is {bound}"


def main() -> int:
    shared, names = Path(sys.argv[1]), sys.argv[2:] or ["nmea", "trackers", "playback", "trips"]
    bounds = tomllib.loads((HERE / "conformance.toml").read_text())
    found: list[str] = []
    for name in names:
        figures = {"nmea": nmea, "trackers": trackers, "playback": playback, "trips": trips}[name](shared)
        found += failures(name, figures, bounds[name])
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
