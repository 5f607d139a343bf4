"""Look at this machine with a configuration in hand: disk, clock, ports, serial devices, brokers, database, subscriber.

Nothing is changed and nothing is sent. A line each on stdout, `ok` or `bad` with what to do; exit code 1 when one is bad.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from gateway.commands.check import find_problems
from gateway.config import Config, read_config
from gateway.sources.mqtt_options import split_address

EXAMPLES = """\
examples:
  gateway doctor gateway.toml
  gateway doctor                  this machine alone
"""
CONNECT_S = 3.0
FSYNC_SLOW_S = 0.05


class Finding(Struct, frozen=True):
    what: str
    ok: bool
    advice: str = ""

    def __str__(self) -> str:
        return f"{'ok ' if self.ok else 'bad'}  {self.what}" + (f": {self.advice}" if self.advice else "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, nargs="?", metavar="FILE", help="the configuration (TOML)")


def run(args: argparse.Namespace) -> int:
    config = read_config(args.config) if args.config else Config()
    findings = [*machine(), *storage(config)]
    if args.config:
        findings += [Finding(str(p), ok=False) for p in find_problems(config, str(args.config))]
        findings += [*listeners(config), *serial_ports(config), *peers(config)]
    for finding in findings:
        print(finding)
    return 0 if all(f.ok for f in findings) else 1


def machine() -> Iterator[Finding]:
    yield Finding(f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}", ok=True)
    year = time.gmtime().tm_year
    yield Finding(
        f"the clock says {time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime())}", ok=year >= 2026, advice="set it"
    )


def storage(config: Config) -> Iterator[Finding]:
    """Whether the journal's disk can be written, has room, and how long it takes to be sure of a write."""
    folder = Path(config.gateway.data_dir)
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        yield Finding(
            f"{folder} cannot be written", ok=False, advice="give this user the right, or set gateway.data_dir"
        )
        return
    free_mb = shutil.disk_usage(folder).free / 1e6
    least_mb = config.journal.min_free_mb
    advice = (
        ""
        if free_mb > 2 * least_mb
        else f"the gateway stops taking positions below {least_mb:.0f} MB (journal.min_free_mb)"
    )
    yield Finding(f"{free_mb:,.0f} MB free for the journal in {folder}", ok=free_mb > least_mb, advice=advice)
    median_s = _fsync_s(folder)
    advice = "every acknowledgement waits that long; is it a network or memory card?" if median_s > FSYNC_SLOW_S else ""
    yield Finding(f"a write is safe on disk after {median_s * 1000:.1f} ms (median of 11)", ok=True, advice=advice)


def _fsync_s(folder: Path) -> float:
    taken: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as f:
        for _ in range(11):
            f.write(b"x" * 4096)
            f.flush()
            started_s = time.perf_counter()
            os.fsync(f.fileno())
            taken.append(time.perf_counter() - started_s)
    return statistics.median(taken)


def listeners(config: Config) -> Iterator[Finding]:
    """Whether what the gateway is to listen on is free."""
    addresses = [(config.web.listen, config.web.port)]
    if config.sources.endpoint is not None:
        addresses += [split_address(a) for a in config.sources.endpoint.addresses]
    for host, port in addresses:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as e:
                yield Finding(
                    f"cannot listen on {host}:{port} ({e.strerror})", ok=False, advice="is the gateway running?"
                )
            else:
                yield Finding(f"{host}:{port} is free to listen on", ok=True)


def serial_ports(config: Config) -> Iterator[Finding]:
    for options in config.sources.serial:
        path = Path(options.port)
        if not path.exists():
            yield Finding(
                f"serial port {path} is not there", ok=False, advice="plug it in, or name it by /dev/serial/by-id/…"
            )
        elif not os.access(path, os.R_OK):
            yield Finding(f"serial port {path} cannot be read", ok=False, advice="add this user to the group dialout")
        else:
            yield Finding(f"serial port {path} is there", ok=True)


def peers(config: Config) -> Iterator[Finding]:
    """Whether everything the gateway is to connect to answers."""
    sinks = config.sinks
    for mqtt in config.sources.mqtt:
        yield _reach(f"broker of sources.mqtt {mqtt.name!r}", mqtt.host, mqtt.port or (8883 if mqtt.tls else 1883))
    if sinks.mqtt is not None:
        yield _reach("broker of sinks.mqtt", sinks.mqtt.host, sinks.mqtt.port)
    for what, url in (
        ("database of sinks.influx", sinks.influx.url if sinks.influx else None),
        ("subscriber of sinks.webhook", sinks.webhook.url if sinks.webhook else None),
    ):
        if url is not None:
            parts = urlsplit(url)
            yield _reach(what, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


def _reach(what: str, host: str, port: int) -> Finding:
    try:
        with socket.create_connection((host, port), timeout=CONNECT_S):
            return Finding(f"the {what} answers on {host}:{port}", ok=True)
    except OSError as e:
        return Finding(
            f"the {what} does not answer on {host}:{port} ({e})", ok=False, advice="what is for it will wait"
        )
