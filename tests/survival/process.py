"""`gateway run` as a process of its own, to be stopped, killed, traced and asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.servers import Server, free_port

SETTLED_S = 60.0


class GatewayProcess(Server):
    """The gateway with a configuration's text. `{port}` in it is the HTTP port, `{folder}` the data's folder."""

    def __init__(self, folder: Path, config: str, env: dict[str, str] | None = None) -> None:
        super().__init__(folder, free_port())
        self.config_path = folder / "gateway.toml"
        self.config_path.write_text(config.replace("{port}", str(self.port)).replace("{folder}", str(folder)))
        self._env = env or {}
        self.wrapper: list[str] = []

    def command(self) -> list[str]:
        return [*self.wrapper, sys.executable, "-m", "gateway.cli", "run", str(self.config_path)]

    def start(self) -> Self:
        os.environ.update(self._env)
        return super().start()

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return json.load(answer)

    def status(self, path: str) -> int:
        """The HTTP status of an address."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as e:
            return e.code

    def all_events(self) -> list[dict[str, Any]]:
        """Every event that is kept, oldest first."""
        found: list[dict[str, Any]] = []
        cursor = "0"
        while True:
            page = self.get(f"/v1/events?cursor={cursor}&limit=2000")
            found += page["events"]
            if not page["events"]:
                return found
            cursor = page["cursor"]

    def metric(self, name: str) -> float:
        """The sum of a metric's series."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def wait_until(self, what: str, condition: Any, timeout_s: float = SETTLED_S) -> None:
        """Until `condition()` holds; what it was waiting for, and the log's end, when it never does."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline_s:
                raise AssertionError(f"after {timeout_s:.0f} s still not: {what}\n{self.log_path.read_text()[-3000:]}")
            time.sleep(0.05)

    def settle(self, journaled: int) -> None:
        """Until so many positions are journaled, the engine has taken them and every sink has delivered."""
        self.wait_until(f"{journaled} journaled", lambda: self.get("/v1/accounting")["total"]["journaled"] >= journaled)
        self.wait_until("the engine is up to date", lambda: self.metric("gateway_engine_lag_entries") == 0)
        self.wait_until("the sinks are up to date", lambda: self.metric("gateway_sink_backlog") == 0)

    def kill_now(self) -> None:
        """SIGKILL to the process group, as an out-of-memory killer does it: no handler runs."""
        os.killpg(self.pid, signal.SIGKILL)
        self.kill()


def replayed(folder: Path, positions: list[dict[str, Any]], plans: bytes, fences: bytes) -> list[dict[str, Any]]:
    """What `gateway replay` says of the same positions."""
    (folder / "positions.jsonl").write_text("".join(json.dumps(p) + "\n" for p in positions))
    (folder / "plans.json").write_bytes(plans)
    (folder / "fences.geojson").write_bytes(fences)
    command = [sys.executable, "-m", "gateway.cli", "replay", "--positions", str(folder / "positions.jsonl")]
    command += ["--plans", str(folder / "plans.json"), "--fences", str(folder / "fences.geojson")]
    done = subprocess.run(command, capture_output=True, check=True, timeout=300)
    return [json.loads(line) for line in done.stdout.splitlines()]
