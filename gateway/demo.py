"""A gateway, a simulated fleet and the live map, with nothing to set up.

The fleet drives in real time through a fictional city; its trackers connect to the gateway's own MQTT endpoint, one of
them writes NMEA to a virtual serial port. Arrivals and delays appear here and on the map.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gateway import logs
from gateway.app import Gateway
from gateway.config import Config, DevicePart, GatewayPart, RegistryPart, SourcesPart
from gateway.journal import JournalOptions, Stored
from gateway.loop import run_until_signal
from gateway.model import Event
from gateway.problems import BadInput
from gateway.sources.mqtt_endpoint import EndpointOptions, MqttEndpoint
from gateway.sources.serial_port import SerialOptions
from gateway.sources.topics import TopicRoute
from gateway.times import parse_rfc3339
from gateway.web.options import WebOptions

EXAMPLES = """\
examples:
  gateway demo                              until Ctrl-C, with the map in your browser
  gateway demo --seconds 120 --no-browser   stops by itself; the last line of stdout is JSON
  gateway demo --vehicles 100 --port 9000
"""
ROUTES = (
    TopicRoute(filter="teltonika/+/data", protocol="teltonika", device_id="{1}"),
    TopicRoute(filter="+/json", protocol="teltonika_json", device_id="{0}"),
    TopicRoute(filter="owntracks/+/+", protocol="owntracks", device_id="{1}-{2}"),
)
PORT = 8080
SETTLE_S = 60.0
"""A stop made shorter ago than this may not be confirmed yet: neither side counts it."""
LAST_WORDS_S = 5.0
TOLD = {
    "stop.arrived": ("arrived at stop", "32"),
    "stop.departed": ("left stop", "2"),
    "stop.missed": ("missed stop", "31"),
    "eta.late": ("will be late at stop", "31"),
    "eta.at_risk": ("may be late at stop", "33"),
    "eta.recovered": ("is on time again for stop", "32"),
    "vehicle.silent": ("is silent", "35"),
    "vehicle.reporting": ("reports again", "35"),
    "route.completed": ("completed its tour", "32"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, metavar="N", help="stop by itself after N seconds")
    parser.add_argument("--no-browser", action="store_true", help="do not open the map in a browser")
    parser.add_argument("--vehicles", type=int, default=25, metavar="N", help="how many (default: 25)")
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="another seed is another fleet (default: 7)")
    parser.add_argument("--port", type=int, metavar="N", help=f"of the map (default: {PORT}, or a free one)")


def run(args: argparse.Namespace) -> int:
    if args.vehicles < 1 or (args.seconds is not None and args.seconds <= 0):
        print("gateway demo: --vehicles and --seconds are above 0", file=sys.stderr)
        return 2
    logs.set_up("warning", "text")
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder:
        run_until_signal(lambda stop: Demo(args, Path(folder)).run(stop, result))
    if result:
        print(json.dumps(result))
    return 0 if result else 1


class Demo:
    """The fleet is a process of its own, as real trackers are somewhere else."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self._args, self._folder = args, folder
        self._serial = folder / "gps0"
        self._ended_ms = 0

    async def run(self, stop: asyncio.Event, result: dict[str, Any]) -> None:
        port = MqttPort()
        fleet = await self._start_fleet(port.number)
        try:
            if not await _line(fleet):  # it says so when its plans, fences and map are written
                raise RuntimeError(
                    "the simulated fleet did not start; `firmware-sim fleet --out DIR --mqtt …` says why"
                )
            gateway = self._gateway(port)
            started = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                halt = asyncio.Event()
                serving = group.create_task(gateway.run(halt, started.set))
                await started.wait()
                telling = group.create_task(self._tell(gateway))
                self._welcome(gateway)
                assert fleet.stdin is not None
                fleet.stdin.write(b"\n")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._args.seconds)
                logging.getLogger("gateway.sources").setLevel(logging.ERROR)  # that the trackers leave now is no news
                said = await _stop_fleet(fleet)
                await asyncio.sleep(LAST_WORDS_S if said else 0)
                result |= await asyncio.to_thread(self._result, gateway, said)
                telling.cancel()
                halt.set()
                await serving
        finally:
            if fleet.returncode is None:
                fleet.kill()
                await fleet.wait()

    async def _start_fleet(self, port: int) -> asyncio.subprocess.Process:
        arguments = f"-m firmware_sim fleet --wait --mqtt 127.0.0.1:{port}".split()
        arguments += ["--out", str(self._folder), "--serial", str(self._serial)]
        arguments += ["--vehicles", str(self._args.vehicles), "--seed", str(self._args.seed)]
        pipe = asyncio.subprocess.PIPE
        # A session of its own: Ctrl-C is for the gateway, which then ends the fleet in good order.
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )

    def _gateway(self, port: MqttPort) -> Gateway:
        devices = json.loads((self._folder / "devices.json").read_bytes())
        listed = tuple(DevicePart(device_id=d["device_id"], vehicle_id=d["vehicle_id"]) for d in devices)
        serial = next((d["device_id"] for d in devices if d["protocol"] == "nmea"), None)
        ports = (SerialOptions(port=str(self._serial), device_id=serial, speed=115_200),) if serial else ()
        config = Config(
            gateway=GatewayPart(
                data_dir=str(self._folder / "data"),
                name="demo",
                plans=(str(self._folder / "plans.json"),),
                fences=(str(self._folder / "fences.geojson"),),
                drain_s=3.0,
            ),
            registry=RegistryPart(unknown="register", devices=listed),
            journal=JournalOptions(min_free_mb=10),
            sources=SourcesPart(
                serial=ports,
                endpoint=EndpointOptions(listen=f"127.0.0.1:{port.release()}", anonymous=True, routes=ROUTES),
            ),
            web=WebOptions(port=self._args.port or PORT, ground=str(self._folder / "city.geojson")),
        )
        try:
            return Gateway(config)
        except BadInput:
            if self._args.port is not None:
                raise
        return Gateway(msgspec.structs.replace(config, web=msgspec.structs.replace(config.web, port=0)))

    def _welcome(self, gateway: Gateway) -> None:
        endpoint = gateway.sources["endpoint"]
        assert isinstance(endpoint, MqttEndpoint)
        url = f"http://127.0.0.1:{gateway.server.port}"
        print(
            f"\n  The live map     {url}\n  The API          {url}/schema/openapi.json\n"
            f"  Trackers connect 127.0.0.1:{endpoint.port} (MQTT)\n\n"
            f"  Try next, in another terminal:\n"
            f"    curl -N '{url}/v1/stream?type=stop.arrived,eta.late'      every event as it happens\n"
            f"    curl {url}/v1/vehicles                    where everyone is, with ETAs\n"
            f"    gateway sample-config > gateway.toml                 a configuration for your own trackers\n\n"
            "  Ctrl-C ends it.\n",
            file=sys.stderr,
        )
        if not self._args.no_browser:
            with contextlib.suppress(webbrowser.Error):
                webbrowser.open(url)

    async def _tell(self, gateway: Gateway) -> None:
        """Arrivals and delays, a line each."""
        at = 0
        while True:
            await gateway.concluded.beyond(at)
            feed = await asyncio.to_thread(gateway.journal.feed, at, 500)
            at = feed.cursor
            for stored in feed.said:
                line = sentence(stored.event)
                if line:
                    print(line, file=sys.stderr)

    def _result(self, gateway: Gateway, said: dict[str, Any]) -> dict[str, Any]:
        """What was received and concluded, next to what truly happened until `SETTLE_S` before the fleet's end."""
        until_ms = parse_rfc3339(said["end"]) - round(SETTLE_S * 1000) if said else 0
        events = list(_all_events(gateway))
        total = gateway.journal.totals
        return {
            "received": total.received,
            "stored": total.journaled + total.state_only,
            "duplicates": total.duplicate,
            "quarantined": total.quarantined,
            "events": len(events),
            "arrivals_true": said.get("arrivals_true", 0),
            "arrivals_detected": len(arrivals(events, until_ms)),
        }


class MqttPort:
    """A free port, held until the gateway takes it, so that nobody else gets it in between."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> int:
        self._socket.close()
        return self.number


def sentence(event: Event) -> str | None:
    """A line for the terminal; None for what only machines care about."""
    told = TOLD.get(event.type)
    if told is None:
        return None
    words, colour = told
    where = f" {event.stop.stop_id} ({event.stop.site_id or event.stop.kind})" if event.stop else ""
    how = ""
    if event.lateness_s is not None and event.type == "stop.arrived":
        minutes = round(event.lateness_s / 60)
        how = ", on time" if minutes == 0 else f", {abs(minutes)} min {'late' if minutes > 0 else 'early'}"
    taken_back = " — taken back" if event.status == "withdrawn" else ""
    text = f"{_clock(event.time_ms)}  {event.vehicle_id:10} {words}{where}{how}{taken_back}"
    return f"\x1b[{colour}m{text}\x1b[0m" if sys.stderr.isatty() else text


def _clock(time_ms: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(time_ms / 1000))


def arrivals(events: list[Stored], until_ms: int) -> set[tuple[str | None, str]]:
    """The stops that stand as arrived by the contract's rule, where the vehicle stood still before a moment."""
    standing: dict[str, Event] = {}
    for stored in events:
        event = stored.event
        if event.type == "stop.arrived" and event.status != "provisional":
            standing[event.key] = event
    return {
        (e.plan_id, e.stop.stop_id)
        for e in standing.values()
        if e.stop and e.status != "withdrawn" and (e.stationary_ms or e.time_ms) <= until_ms
    }


def _all_events(gateway: Gateway) -> Iterator[Stored]:
    at = 0
    while page := gateway.journal.events(at, 1000):
        yield from page
        at = page[-1].event.seq


async def _line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """The next line of JSON of the fleet; empty when it ended without."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    said: dict[str, Any] = json.loads(line) if line.strip() else {}
    return said


async def _stop_fleet(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """Asks the fleet to end; what it says last."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    said = await _line(process)
    await process.wait()
    return said
