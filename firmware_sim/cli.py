"""The command line of the simulator.

Exit codes: 0 done; 1 it ran, and something went wrong on the way (a port cannot be opened, a folder not written);
2 the command line makes no sense.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from firmware_sim.drive import Driven, Pace, drive
from firmware_sim.fleet import Fleet, FleetOptions, make_fleet
from firmware_sim.links import Broker, Link, MqttLink, SerialFeed
from firmware_sim.offline import write_positions
from firmware_sim.serial_line import SerialLine
from firmware_sim.tours import STYLES
from firmware_sim.truth import TruthLog
from gateway.times import parse_rfc3339, rfc3339

SETTLE_S = 60.0
DAY_S = 4 * 3600.0

EXAMPLES = """examples:
  firmware-sim fleet --out run --vehicles 25 --seed 7 --mqtt 127.0.0.1:1883 --serial /tmp/gps0
      25 trackers in real time against a broker or a gateway's endpoint, one of them on a virtual serial port
  firmware-sim fleet --out run --mqtt 127.0.0.1:1883 --speed 20 --sim-seconds 3600
      an hour in three minutes
  firmware-sim positions --out run --vehicles 50 --style day --start 2026-03-02T07:00:00Z
      a fleet's morning as files for `gateway replay`, in seconds, with the truth beside it
  firmware-sim serial --link /tmp/gps0
      a virtual serial port; what is typed here can be read there
"""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except (OSError, ValueError) as e:
        print(f"firmware-sim: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    shown: dict[str, Any] = {"epilog": EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(
        prog="firmware-sim",
        description="Vehicle trackers that do not exist: they drive, report and misbehave as real ones do, and know the truth.",
        **shown,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    fleet = commands.add_parser("fleet", help="drive a fleet against a broker, a gateway, a serial port", **shown)
    _world_arguments(fleet, "demo", 25)
    fleet.add_argument("--mqtt", metavar="HOST:PORT", type=_endpoint, help="where the trackers connect to")
    fleet.add_argument("--username", help="MQTT user name, the same for all; the password comes from MQTT_PASSWORD")
    fleet.add_argument(
        "--serial", metavar="LINK", type=Path, help="the first vehicle speaks NMEA on a virtual port of this name"
    )
    fleet.add_argument("--seconds", type=_positive, help="stop after so many seconds")
    fleet.add_argument(
        "--speed", type=_speed, default="real", metavar="real|N|max", help="simulated time per time (default: real)"
    )
    fleet.add_argument(
        "--wait", action="store_true", help="write the files, say ready, and drive when a line comes on stdin"
    )
    fleet.set_defaults(run=_run_fleet)
    positions = commands.add_parser("positions", help="write a fleet's reports to files, as fast as possible", **shown)
    _world_arguments(positions, "day", 25)
    positions.add_argument(
        "--truth-every", type=int, default=0, metavar="S", help="add true positions to truth.jsonl every S seconds"
    )
    positions.set_defaults(run=_run_positions)
    serial = commands.add_parser("serial", help="a virtual serial port", **shown)
    serial.add_argument("--link", type=Path, help="a name for the port")
    serial.set_defaults(run=_run_serial)
    return parser


def _world_arguments(parser: argparse.ArgumentParser, style: str, vehicles: int) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="plans, fences, map, devices and truth go here"
    )
    parser.add_argument("--vehicles", type=_count, default=vehicles, help=f"how many (default: {vehicles})")
    parser.add_argument("--seed", type=int, default=7, help="same seed and start: same bytes (default: 7)")
    parser.add_argument(
        "--start", metavar="RFC3339", type=_instant, help="when it begins (default: so that it ends about now)"
    )
    parser.add_argument("--style", choices=sorted(STYLES), default=style, help=f"how tours are cut (default: {style})")
    parser.add_argument("--no-outages", dest="outages", action="store_false", help="every tracker always has a network")
    parser.add_argument(
        "--settle",
        type=_positive,
        default=SETTLE_S,
        metavar="S",
        help=f"an arrival counts when it lies so long before the end (default: {SETTLE_S:g})",
    )
    parser.add_argument("--sim-seconds", type=_positive, help="stop after so many simulated seconds")


def _endpoint(text: str) -> Broker:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:1883")
    return Broker(host.strip("[]"), int(port))


def _positive(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < 1e9:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")


def _count(text: str) -> int:
    if text.isdigit() and 1 <= int(text) <= 20_000:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 to 20,000")


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    return 1.0 if text == "real" else _positive(text)


def _instant(text: str) -> int:
    try:
        return parse_rfc3339(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e


class Progress:
    """One line a second on a terminal's stderr, one every ten elsewhere."""

    def __init__(self, start_ms: int, until_ms: int | None) -> None:
        self._start_ms = start_ms
        self._until_ms = until_ms
        self._every_s = 1.0 if sys.stderr.isatty() else 10.0
        self._said_s = time.monotonic()

    def __call__(self, now_ms: int) -> None:
        if time.monotonic() - self._said_s < self._every_s:
            return
        self._said_s = time.monotonic()
        whole = f" of {(self._until_ms - self._start_ms) // 1000}" if self._until_ms is not None else ""
        print(f"firmware-sim: {rfc3339(now_ms)}, {(now_ms - self._start_ms) // 1000}{whole} s", file=sys.stderr)


def _say(row: dict[str, Any]) -> None:
    print(msgspec.json.encode(row).decode(), flush=True)


def _fleet_of(arguments: argparse.Namespace, start_ms: int, *, serial: bool) -> Fleet:
    arguments.out.mkdir(parents=True, exist_ok=True)
    options = FleetOptions(
        vehicles=arguments.vehicles,
        seed=arguments.seed,
        start_ms=start_ms,
        style=arguments.style,
        serial=serial,
        outages=arguments.outages,
    )
    fleet = make_fleet(options)
    fleet.write(arguments.out)
    return fleet


def _run_positions(arguments: argparse.Namespace) -> int:
    length_s = arguments.sim_seconds or DAY_S
    start_ms = arguments.start
    if start_ms is None:
        start_ms = int(time.time() - length_s) * 1000
    until_ms = start_ms + round(length_s * 1000)
    fleet = _fleet_of(arguments, start_ms, serial=False)
    progress = Progress(start_ms, until_ms)
    with (arguments.out / "positions.jsonl").open("wb") as rows, (arguments.out / "truth.jsonl").open("wb") as log:
        truth = TruthLog(log)
        written = write_positions(
            fleet, arguments.seed, until_ms, rows, truth, every_s=arguments.truth_every, progress=progress
        )
    _say({"positions": written, **_counts(fleet, truth, arguments.settle)})
    return 0


def _run_fleet(arguments: argparse.Namespace) -> int:
    if arguments.mqtt is None and arguments.serial is None:
        print(
            "firmware-sim fleet: nobody would hear it; give --mqtt HOST:PORT or --serial LINK (or use positions)",
            file=sys.stderr,
        )
        return 2
    return asyncio.run(_fleet(arguments))


async def _fleet(arguments: argparse.Namespace) -> int:
    factor: float | None = arguments.speed
    start_ms = arguments.start
    if start_ms is None:
        past_s = 0.0 if factor == 1.0 else arguments.sim_seconds or (arguments.seconds or 0.0) * (factor or 1.0)
        start_ms = int(time.time() - past_s) * 1000  # receivers fix on the second
    fleet = _fleet_of(arguments, start_ms, serial=arguments.serial is not None)
    links = _links(fleet, arguments)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _say({"ready": True, "vehicles": arguments.vehicles, "start": rfc3339(start_ms), "out": str(arguments.out)})
    until_ms = None if arguments.sim_seconds is None else start_ms + round(arguments.sim_seconds * 1000)
    pace = Pace(
        factor=factor, seconds=arguments.seconds, until_ms=until_ms, anchored=factor == 1.0 and arguments.start is None
    )
    try:
        if arguments.wait:
            await _go_ahead(stop)
        with (arguments.out / "truth.jsonl").open("wb") as log:
            truth = TruthLog(log)
            driven = await drive(fleet.world, links, truth, pace, stop, Progress(start_ms, until_ms))
    finally:
        for link in links:
            if isinstance(link, SerialFeed):
                link.line.close()
    _say({**_counts(fleet, truth, arguments.settle), **_delivery(links, driven)})
    return _complain(links)


def _links(fleet: Fleet, arguments: argparse.Namespace) -> list[Link]:
    links: list[Link] = []
    for tracker in fleet.world.trackers:
        if tracker.device.topic is None:
            links.append(SerialFeed(tracker, SerialLine(arguments.serial)))
        elif arguments.mqtt is not None:
            password = os.environ.get("MQTT_PASSWORD") if arguments.username else None
            broker = msgspec.structs.replace(arguments.mqtt, username=arguments.username, password=password)
            links.append(MqttLink(tracker, broker, arguments.seed))
    return links


async def _go_ahead(stop: asyncio.Event) -> None:
    """Until a line (or the end) comes on stdin, or a signal."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()

    def read() -> None:
        sys.stdin.readline()
        loop.call_soon_threadsafe(came.set)

    threading.Thread(target=read, daemon=True).start()  # a loop cannot watch every sort of stdin: a file, /dev/null
    waits = [asyncio.create_task(event.wait()) for event in (came, stop)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for each in waits:
        each.cancel()


def _counts(fleet: Fleet, truth: TruthLog, settle_s: float) -> dict[str, Any]:
    world = fleet.world
    return {
        "vehicles": len(world.trackers),
        "start": rfc3339(world.start_ms),
        "end": rfc3339(world.now_ms),
        "fixes_made": sum(t.firmware.store.made for t in world.trackers),
        "arrivals_true": truth.count("arrived", world.now_ms, settle_s),
        "departures_true": truth.count("departed", world.now_ms, settle_s),
        "settle_s": settle_s,
    }


def _delivery(links: Sequence[Link], driven: Driven) -> dict[str, Any]:
    """fixes_made = acknowledged + buffered + dropped + serial_written + serial_lost; published is what was sent at least
    once and is acknowledged or awaits it.
    """
    mqtt = [link for link in links if isinstance(link, MqttLink)]
    serial = [link for link in links if isinstance(link, SerialFeed)]
    by_mqtt = [link.tracker.firmware.store for link in mqtt]
    return {
        "published": sum(link.published for link in mqtt),
        "acknowledged": sum(s.acknowledged_count for s in by_mqtt),
        "resent": sum(link.resent for link in mqtt),
        "buffered": sum(len(s) for s in by_mqtt),
        "dropped": sum(s.dropped for s in by_mqtt),
        "serial_written": sum(f.written for f in serial),
        "serial_lost": sum(f.lost for f in serial),
        "reconnects": sum(link.reconnects for link in mqtt),
        "behind_s": round(driven.behind_s, 2),
    }


def _complain(links: Sequence[Link]) -> int:
    """1 when trackers with a network could not deliver, and say why."""
    stuck = [link for link in links if isinstance(link, MqttLink) and link.trouble and link.pending]
    if stuck:
        print(f"firmware-sim: {len(stuck)} trackers could not deliver: {stuck[0].trouble}", file=sys.stderr)
    return 1 if stuck else 0


def _run_serial(arguments: argparse.Namespace) -> int:
    line = SerialLine(arguments.link)
    _say({"port": str(line.path), "link": str(arguments.link) if arguments.link else None})
    try:
        return asyncio.run(_shuttle(line))
    finally:
        line.close()


async def _shuttle(line: SerialLine) -> int:
    """Between the port and this process's stdin and stdout, until stdin ends or a signal comes."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def typed() -> None:
        data = os.read(sys.stdin.fileno(), 65_536)
        if data:
            line.write(data)
        else:
            stop.set()

    def heard() -> None:
        os.write(sys.stdout.fileno(), line.read())

    loop.add_reader(sys.stdin, typed)
    loop.add_reader(line, heard)
    await stop.wait()
    return 0
