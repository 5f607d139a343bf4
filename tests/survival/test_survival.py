"""Nothing published is lost, doubled or told twice, whatever is killed, stopped or away."""

from __future__ import annotations

import json
import os
import random
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from tests.servers import Mosquitto
from tests.survival import driving
from tests.survival.process import GatewayProcess, replayed
from tests.timeseries import Database, database

SOAK = bool(os.environ.get("SOAK"))
KILLS = 100 if SOAK else 20
AWAY_S = 60.0 if SOAK else 8.0
RATE_PER_S = 600
VEHICLES = 12
HISTORY_MS = 5 * 86_400_000
"""The fleet drives 250 times as fast as the clock and must not reach the future."""
OBSERVED = ("stop.", "geofence.", "route.")
pytestmark = [pytest.mark.servers, pytest.mark.timeout(3600 if SOAK else 400)]

CONFIG = """
[gateway]
data_dir = "{folder}/data"
name = "survivor"
fleet = "test"
plans = ["plans.json"]
fences = ["fences.geojson"]
snapshot_every_s = 1.0
[registry]
unknown = "register"
devices = [DEVICES]
[web]
port = {port}
[[sources.mqtt]]
host = "127.0.0.1"
port = BROKER
client_id = "survivor"
[[sources.mqtt.routes]]
filter = "fleet/+"
protocol = "json"
[sources.mqtt.routes.options]
device_id = "id"
time = "t"
time_unit = "ms"
lat = "lat"
lon = "lon"
speed = "speed"
speed_unit = "m/s"
attributes = { n = "n" }
[sinks.influx]
url = "INFLUX"
bucket = "BUCKET"
org = "ORG"
retry_max_s = 1.0
[sinks.mqtt]
host = "127.0.0.1"
port = BROKER
retry_max_s = 1.0
"""


class Publisher(threading.Thread):
    """Publishes the fleet's fixes at QoS 1 and a steady rate, a message's id known until the broker has it."""

    def __init__(self, port: int, vehicles: list[driving.Vehicle]) -> None:
        super().__init__(daemon=True)
        self.positions: list[dict[str, Any]] = []
        self.enough = threading.Event()
        self._vehicles = vehicles
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, "publisher", clean_session=False)
        self._client.max_inflight_messages_set(1000)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def run(self) -> None:
        started_s = time.monotonic()
        while not self.enough.is_set():
            for vehicle in self._vehicles:
                fix = vehicle.next_fix()
                self._client.publish(f"fleet/{fix['id']}", json.dumps(fix), qos=1)
                self.positions.append(fix)
            time.sleep(max(0.0, len(self.positions) / RATE_PER_S - (time.monotonic() - started_s)))
        while self._client._out_messages:  # every message has its PUBACK
            time.sleep(0.05)

    def finish(self) -> list[dict[str, Any]]:
        self.enough.set()
        self.join(120)
        self._client.loop_stop()
        self._client.disconnect()
        return self.positions


class Subscriber:
    """A dispatch system: a persistent session, and everything that was ever said to it."""

    def __init__(self, port: int) -> None:
        self.events: list[dict[str, Any]] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, "dispatcher", clean_session=False)
        self._client.on_message = lambda _c, _u, message: self.events.append(json.loads(message.payload))
        self._client.on_connect = lambda client, *_: client.subscribe("dispatch/v1/#", qos=1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def stop(self) -> None:
        self._client.loop_stop()
        self._client.disconnect()


@contextmanager
def running(folder: Path) -> Iterator[tuple[Mosquitto, Database, GatewayProcess, Publisher, Subscriber]]:
    """Broker, database, gateway, trackers and a dispatch system, all real, all ended at the end."""
    vehicles = driving.fleet(VEHICLES, round(time.time() * 1000) - HISTORY_MS)
    home = folder / "gateway"
    home.mkdir()
    (home / "plans.json").write_bytes(driving.plans_json(vehicles))
    (home / "fences.geojson").write_bytes(driving.fences_json())
    with Mosquitto(folder / "broker") as broker, database(folder / "database") as db:
        devices = ", ".join(f'{{device_id = "{v.name}", vehicle_id = "{v.name}"}}' for v in vehicles)
        config = CONFIG.replace("BROKER", str(broker.port)).replace("INFLUX", db.url).replace("DEVICES", devices)
        config = config.replace("BUCKET", db.bucket).replace("ORG", db.org)
        gateway = GatewayProcess(home, config, {"INFLUX_TOKEN": db.token})
        with gateway:
            # Only from here on the broker keeps for the gateway what is published.
            gateway.wait_until("it has subscribed", lambda: gateway.metric("gateway_source_connected") == 1)
            subscriber, publisher = Subscriber(broker.port), Publisher(broker.port, vehicles)
            publisher.start()
            try:
                yield broker, db, gateway, publisher, subscriber
            finally:
                publisher.enough.set()
                subscriber.stop()


def check(folder: Path, db: Database, gateway: GatewayProcess, publisher: Publisher, subscriber: Subscriber) -> None:
    """Every position once in the database; every event told under one id, none missing, and those of an undisturbed run."""
    positions = publisher.finish()
    gateway.settle(len(positions))
    total = gateway.get("/v1/accounting")["total"]
    assert total["journaled"] == len(positions)
    assert total["received"] == total["journaled"] + total["duplicate"] + total["quarantined"] + total["state_only"]
    stored = db.points("position", "lat_deg", ("device", "n"))
    published: dict[tuple[str, ...], list[int]] = {}
    for fix in positions:
        published.setdefault((fix["id"], ""), []).append(fix["t"])
    assert {key: [t for t, _ in rows] for key, rows in stored.items()} == published
    kept = gateway.all_events()
    gateway.wait_until(
        "all events are told", lambda: {e["id"] for e in subscriber.events} >= {e["id"] for e in kept}, 20
    )
    assert {e["id"] for e in subscriber.events} == {e["id"] for e in kept}
    versions: dict[tuple[str, int], set[str]] = {}
    for event in subscriber.events:
        versions.setdefault((event["data"]["key"], event["data"]["revision"]), set()).add(event["id"])
    assert {v: ids for v, ids in versions.items() if len(ids) > 1} == {}
    as_rows = [
        {"device_id": f["id"], "time_ms": f["t"], "lat_deg": f["lat"], "lon_deg": f["lon"], "speed_mps": f["speed"]}
        for f in positions
    ]
    home = gateway.folder
    expected = observed(
        replayed(folder, as_rows, (home / "plans.json").read_bytes(), (home / "fences.geojson").read_bytes())
    )
    assert observed(kept) == expected
    assert len(expected) > VEHICLES * driving.STOPS


def observed(events: list[dict[str, Any]]) -> dict[str, str]:
    """By key, when it happened, of what follows from positions alone: by the contract's rule, upsert and withdraw."""
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        data = event["data"]
        newest = data["revision"] >= found.get(data["key"], data)["revision"]
        if newest and event["type"].removeprefix("fleet.").startswith(OBSERVED):
            found[data["key"]] = data
    return {key: data["occurred_at"] for key, data in found.items() if data["status"] != "withdrawn"}


def test_killed_again_and_again_under_load(tmp_path: Path) -> None:
    dice = random.Random(17)
    with running(tmp_path) as (_, db, gateway, publisher, subscriber):
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.05, 0.8))
            gateway.kill_now()
            gateway.start()
        check(tmp_path, db, gateway, publisher, subscriber)


def test_restarted_in_good_order_under_load(tmp_path: Path) -> None:
    with running(tmp_path) as (_, db, gateway, publisher, subscriber):
        for _ in range(4):
            time.sleep(1)
            gateway.restart()
        check(tmp_path, db, gateway, publisher, subscriber)


def test_the_disk_is_full(tmp_path: Path) -> None:
    """Nothing is acknowledged meanwhile, /readyz and the log say so, and it goes on by itself."""
    with running(tmp_path) as (_, db, gateway, publisher, subscriber):
        time.sleep(2)
        # No file of the process may grow beyond a page: to it that is a disk without room.
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        gateway.wait_until("it says so", lambda: gateway.status("/readyz") == 503)
        acknowledged = gateway.metric("gateway_source_acknowledged_total")
        time.sleep(3)
        assert gateway.metric("gateway_source_acknowledged_total") == acknowledged
        assert "intake waits" in gateway.log_path.read_text()
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        gateway.wait_until("it is ready again", lambda: gateway.status("/readyz") == 200)
        check(tmp_path, db, gateway, publisher, subscriber)


def test_the_database_is_away(tmp_path: Path) -> None:
    with running(tmp_path) as (_, db, gateway, publisher, subscriber):
        time.sleep(2)
        db.stop()
        time.sleep(AWAY_S)
        taken = gateway.get("/v1/accounting")["total"]["journaled"]
        time.sleep(1)
        assert gateway.get("/v1/accounting")["total"]["journaled"] > taken, "intake goes on without a database"
        assert gateway.get("/readyz")["parts"]["influx"] != "ok"
        db.start()
        check(tmp_path, db, gateway, publisher, subscriber)


def test_the_broker_is_away(tmp_path: Path) -> None:
    with running(tmp_path) as (broker, db, gateway, publisher, subscriber):
        time.sleep(2)
        broker.stop()
        time.sleep(AWAY_S)
        broker.start()
        time.sleep(2)
        check(tmp_path, db, gateway, publisher, subscriber)
