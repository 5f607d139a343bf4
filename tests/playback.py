"""Recordings and captured frames, played into a running gateway as devices would send them.

NMEA through virtual serial ports, MQTT messages through a real Mosquitto; what comes out is read from the time-series
database and from the live stream, and held against what `gateway decode` makes of the same bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import tty
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho

from tests.servers import Mosquitto
from tests.survival.process import GatewayProcess
from tests.timeseries import database

Fixes = Counter[tuple[str, int]]
"""How many different fixes a device has of an instant (ms)."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The bytes of an NMEA line, and the day (RFC 3339) that dates what they leave open."""

    device_id: str
    data: bytes
    reference_time: str


@dataclass(frozen=True, slots=True)
class Message:
    """A payload for a topic, read by a protocol whose device the topic's level 1 names."""

    device_id: str
    protocol: str
    payload: bytes


@dataclass(slots=True)
class Played:
    """What was to be found, and what was found where."""

    expected: Fixes
    stored: Fixes
    streamed: Fixes
    standings: Counter[str] = field(default_factory=Counter)


def decoded(protocol: str, device_id: str, data: bytes, *more: str) -> Iterator[tuple[str, int]]:
    """Device and time of every different fix that `gateway decode` finds in the bytes."""
    command = [sys.executable, "-m", "gateway.cli", "decode", protocol, "-", "--raw", "--device", device_id, *more]
    done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=120)
    seen: set[str] = set()
    for line in done.stdout.splitlines():
        row = json.loads(line)
        if (
            row["type"] == "position"
            and row.get("time")
            and row.get("lat_deg") is not None
            and line.decode() not in seen
        ):
            seen.add(line.decode())
            yield row["device_id"], _ms(row["time"])


def _ms(time_text: str) -> int:
    from gateway.times import parse_rfc3339

    return parse_rfc3339(time_text)


def play(folder: Path, recordings: list[Recording], messages: list[Message]) -> Played:
    """Runs a gateway with broker and database, plays everything into it, and gathers what came out."""
    expected: Fixes = Counter()
    for recording in recordings:
        when = ["--received", recording.reference_time]
        expected.update(decoded("nmea", recording.device_id, recording.data, *when))
    for message in messages:
        expected.update(decoded(message.protocol, message.device_id, message.payload))
    with _ports(folder, recordings) as ports, Mosquitto(folder / "broker") as broker, database(folder / "db") as db:
        config = _config(recordings, sorted({m.protocol for m in messages}), ports, broker.port)
        config += f'[sinks.influx]\nurl = "{db.url}"\nbucket = "{db.bucket}"\norg = "{db.org}"\n'
        home = folder / "gateway"
        home.mkdir()
        with GatewayProcess(home, config, {"INFLUX_TOKEN": db.token}) as gateway:
            gateway.wait_until("every port is open", lambda: gateway.metric("gateway_source_opened") == len(recordings))
            if messages:
                gateway.wait_until("the broker is there", lambda: gateway.metric("gateway_source_connected") >= 1)
            writers = [threading.Thread(target=_write, args=(ports[r.device_id][0], r.data)) for r in recordings]
            for writer in writers:
                writer.start()
            _publish(broker.port, messages)
            for writer in writers:
                writer.join(120)
            gateway.wait_until("all is taken", lambda: _quiet(gateway), 90)
            gateway.settle(0)
            stored: Fixes = Counter()
            for (device_id, _), rows in db.points("position", "lat_deg", ("device", "n")).items():
                stored.update((device_id, t) for t, _ in rows)
            streamed, standings = _stream(gateway)
    return Played(expected, stored, streamed, standings)


def _config(recordings: list[Recording], protocols: list[str], ports: dict[str, tuple[int, str]], broker: int) -> str:
    parts = ['[gateway]\ndata_dir = "{folder}/data"\n[registry]\nunknown = "register"\n[web]\nport = {port}\n']
    for r in recordings:
        parts.append(
            f'[[sources.serial]]\nname = "{r.device_id}"\nport = "{ports[r.device_id][1]}"\ndevice_id = "{r.device_id}"\n'
            f'speed = 115200\nreference_time = "{r.reference_time}"\nsilence_s = 600\n'
        )
    if protocols:
        parts.append(f'[[sources.mqtt]]\nhost = "127.0.0.1"\nport = {broker}\nclient_id = "playback"\n')
        parts += [
            f'[[sources.mqtt.routes]]\nfilter = "{p}/+"\nprotocol = "{p}"\ndevice_id = "{{1}}"\n' for p in protocols
        ]
    return "".join(parts)


@contextmanager
def _ports(folder: Path, recordings: list[Recording]) -> Iterator[dict[str, tuple[int, str]]]:
    """A virtual serial port for each: the end to write to, and the name of the other."""
    ends: list[int] = []
    found: dict[str, tuple[int, str]] = {}
    try:
        for recording in recordings:
            ours, theirs = os.openpty()
            tty.setraw(theirs)
            ends += [ours, theirs]
            found[recording.device_id] = (ours, os.ttyname(theirs))
        yield found
    finally:
        for end in ends:
            os.close(end)


def _write(port: int, data: bytes) -> None:
    while data:
        data = data[os.write(port, data[:2048]) :]


def _publish(port: int, messages: list[Message]) -> None:
    if not messages:
        return
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "player")
    client.connect("127.0.0.1", port)
    client.loop_start()
    for message in messages:
        client.publish(f"{message.protocol}/{message.device_id}", message.payload, qos=1).wait_for_publish(20)
    client.loop_stop()
    client.disconnect()


def _quiet(gateway: GatewayProcess) -> bool:
    """Nothing more came for two seconds: longer than any pause inside what is played."""
    before = gateway.metric("gateway_records_total")
    time.sleep(2)
    return before > 0 and gateway.metric("gateway_records_total") == before


def _stream(gateway: GatewayProcess) -> tuple[Fixes, Counter[str]]:
    """Every position of the live stream, from the journal's beginning to its end."""
    fixes: Fixes = Counter()
    standings: Counter[str] = Counter()
    last = int(gateway.get("/v1/snapshot")["cursor"])
    with urllib.request.urlopen(
        f"http://127.0.0.1:{gateway.port}/v1/stream?cursor=0&positions=true", timeout=20
    ) as answer:
        seq = 0
        while seq < last:
            line = answer.readline()
            if not line.startswith(b"data: "):
                continue
            event: dict[str, Any] = json.loads(line[6:])
            data, seq = event["data"], event["data"]["seq"]
            if event["type"] == "fleet.position.updated.v1":
                fixes[data["device"]["id"], _ms(data["position"]["time"])] += 1
                standings[data["measures"]["standing"]] += 1
    return fixes, standings
