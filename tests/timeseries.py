"""A real time-series database for tests: InfluxDB 2 where one can be had, else Debian's victoria-metrics.

InfluxDB is a running one named by INFLUX_URL (with INFLUX_TOKEN, INFLUX_ORG, INFLUX_BUCKET), `influxd` on PATH, or one in
a container.
victoria-metrics takes the same writes, with differences that tests state where they meet them: it keeps milliseconds,
strings become 0, and a line it cannot read is skipped with a 204.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, Self

from tests.servers import Server, program

IMAGE = "influxdb:2"
HEALTHY_WITHIN_S = 60.0
Points = dict[tuple[str, ...], list[tuple[int, float]]]
"""By the tags that were asked for (absent: ""): (time_ms, value) in order of time."""


class Database(Protocol):
    url: str
    org: str
    bucket: str
    token: str
    is_influx: bool

    def stop(self) -> Any: ...
    def start(self) -> Any: ...
    def points(self, measurement: str, field: str, tags: tuple[str, ...]) -> Points: ...


class VictoriaMetrics(Server):
    """Debian's, ended by SIGTERM, since a kill loses what it acknowledged in the last seconds."""

    is_influx = False
    org = token = ""
    bucket = "fleet"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [
            program("victoria-metrics"), f"-storageDataPath={self.folder}/data", f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=100y", "-dedup.minScrapeInterval=1ms", "-search.latencyOffset=0s", "-memory.allowedPercent=10",
        ]  # fmt: skip

    def points(self, measurement: str, field: str, tags: tuple[str, ...]) -> Points:
        urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=10).close()
        match = urllib.parse.quote(f"{measurement}_{field}")
        address = f"{self.url}/api/v1/export?match[]={match}&start=0&end={2**33}"
        found: Points = {}
        with urllib.request.urlopen(address, timeout=60) as answer:
            for line in answer:
                row = json.loads(line)
                key = tuple(row["metric"].get(tag, "") for tag in tags)
                found.setdefault(key, []).extend(zip(row["timestamps"], row["values"], strict=True))
        return {key: sorted(rows) for key, rows in found.items()}


class Influx:
    """An InfluxDB 2 that somebody else runs."""

    is_influx = True

    def __init__(self) -> None:
        env = os.environ
        self.url, self.token = env["INFLUX_URL"], env.get("INFLUX_TOKEN", "")
        self.org, self.bucket = env.get("INFLUX_ORG", ""), env.get("INFLUX_BUCKET", "fleet")

    def start(self) -> None:
        """It runs."""

    def stop(self) -> None:
        """It is not ours to end."""

    def points(self, measurement: str, field: str, tags: tuple[str, ...]) -> Points:
        from influxdb_client import InfluxDBClient

        flux = (
            f'from(bucket:"{self.bucket}") |> range(start: 0)'
            f' |> filter(fn: (r) => r._measurement == "{measurement}" and r._field == "{field}")'
        )
        found: Points = {}
        with InfluxDBClient(self.url, self.token, org=self.org) as client:
            for table in client.query_api().query(flux):
                for row in table.records:
                    key = tuple(row.values.get(tag, "") for tag in tags)
                    found.setdefault(key, []).append((round(row.get_time().timestamp() * 1000), row.get_value()))
        return {key: sorted(rows) for key, rows in found.items()}


class LocalInflux(Server):
    """`influxd` from PATH, set up for the test when it first starts."""

    is_influx = True
    org, bucket, token = "test", "fleet", "test-token"
    points = Influx.points

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [
            "influxd", f"--http-bind-address=127.0.0.1:{self.port}", f"--engine-path={self.folder}/engine",
            f"--bolt-path={self.folder}/bolt", f"--sqlite-path={self.folder}/sqlite", "--reporting-disabled",
        ]  # fmt: skip

    def start(self) -> Self:
        super().start()
        self._wait_until_healthy()
        body = {
            "username": "test",
            "password": "test-password",
            "org": self.org,
            "bucket": self.bucket,
            "token": self.token,
        }
        setup = urllib.request.Request(
            f"{self.url}/api/v2/setup", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        try:
            urllib.request.urlopen(setup, timeout=10).close()
        except urllib.error.HTTPError as e:
            if e.code != 422:  # 422: it was set up before, this is a restart
                raise
        return self

    def _wait_until_healthy(self) -> None:
        """A port that answers may still be the container engine's own."""
        deadline_s = time.monotonic() + HEALTHY_WITHIN_S
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
                return
            except OSError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.2)


class ContainerInflux(LocalInflux):
    """InfluxDB 2 from a container engine."""

    def command(self) -> list[str]:
        ports, data = f"127.0.0.1:{self.port}:8086", f"{self.folder}/data:/var/lib/influxdb2"
        return [container_engine() or "docker", "run", "--rm", "-p", ports, "-v", data, IMAGE]


@functools.cache
def container_engine() -> str | None:
    """The name of one that runs and has, or can get, the image."""
    for name in ("docker", "podman"):
        if shutil.which(name) and all(
            subprocess.run([name, *arguments], capture_output=True, check=False, timeout=300).returncode == 0
            for arguments in (["info"], ["pull", "-q", IMAGE])
        ):
            return name
    return None


@contextmanager
def database(folder: Path) -> Iterator[Database]:
    """The best one there is, running, and ended afterwards."""
    found: Database
    if os.environ.get("INFLUX_URL"):
        found = Influx()
    elif shutil.which("influxd"):
        found = LocalInflux(folder)
    elif container_engine():
        found = ContainerInflux(folder)
    else:
        found = VictoriaMetrics(folder)
    found.start()
    try:
        yield found
    finally:
        found.stop()
