"""Quarantine is no grave: what an unknown device sent is taken in once somebody has registered it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import paho.mqtt.client as paho

from tests.web.running import running


def publish(port: int, payloads: list[bytes]) -> None:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "phone")
    client.connect("127.0.0.1", port)
    client.loop_start()
    for payload in payloads:
        client.publish("fleet/phone-9", payload, qos=1).wait_for_publish(10)
    client.loop_stop()
    client.disconnect()


async def test_what_an_unknown_device_sent_comes_back_in_order_and_once(tmp_path: Path) -> None:
    now_s = round(time.time())
    good = [
        json.dumps({"_type": "location", "lat": 46.2 + n / 100, "lon": 6.1, "tst": now_s - 60 + n}) for n in range(3)
    ]
    async with running(tmp_path) as served:
        await asyncio.to_thread(publish, served.mqtt_port, [g.encode() for g in good] + [b'{"_type":"location"}'])
        await served.settle()
        assert len(await served.get("/v1/quarantine")) == 4
        assert (await served.client.post("/v1/devices/phone-9/readmit")).status_code == 404
        answer = await served.put("/v1/devices/phone-9", {"device_id": "phone-9", "vehicle_id": "Nine"})
        assert answer.status_code == 200
        counts = (await served.client.post("/v1/devices/phone-9/readmit")).json()
        assert (counts["received"], counts["journaled"], counts["quarantined"]) == (4, 3, 1)
        await served.settle()
        track = await served.get("/v1/devices/phone-9/track")
        assert [round(p["lat_deg"], 2) for p in track] == [46.2, 46.21, 46.22]
        assert (await served.get("/v1/vehicles/Nine"))["position"]["lat_deg"] == track[-1]["lat_deg"]
        (left,) = await served.get("/v1/quarantine")
        assert "unknown device" not in left["reason"]
        again = (await served.client.post("/v1/devices/phone-9/readmit")).json()
        assert (again["received"], again["journaled"], again["quarantined"]) == (1, 0, 1)
        total = (await served.get("/v1/accounting"))["total"]
        assert (
            total["received"]
            == total["journaled"] + total["duplicate"] + total["quarantined"] + total["state_only"]
            == 4
        )
