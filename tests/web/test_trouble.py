"""What an operator sees: readiness while the disk is full, and figures that a Prometheus reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.web.running import Running, now_ms, running, until, van
from tests.web.test_api import PLAN, fence

NAMES = {
    "gateway_records", "gateway_engine_lag_entries", "gateway_engine_errors", "gateway_trouble", "gateway_sink_backlog",
    "gateway_streams", "gateway_streams_refused", "gateway_intake_queued_messages", "gateway_intake_queued_bytes",
    "gateway_intake_batches", "gateway_intake_messages", "gateway_intake_retries", "gateway_intake_set_apart",
    "gateway_journal_size_bytes",
    "gateway_source_connections", "gateway_source_frames", "gateway_source_malformed", "gateway_source_received_bytes",
    "process_resident_memory_bytes", "python_info",
}  # fmt: skip
"""Dashboards and alarms are built on these: they stay."""


def owntracks(n: int) -> bytes:
    said = {"_type": "location", "lat": 46.2 + n / 1e4, "lon": 6.15, "tst": now_ms() // 1000 - 1000 + n, "acc": 5}
    return json.dumps({**said, "pad": os.urandom(8_000).hex()}).encode()


@contextlib.asynccontextmanager
async def full_disk(served: Running) -> Any:
    served.gateway.journal.limit_pages(1)
    try:
        yield
    finally:
        served.gateway.journal.limit_pages(0)


async def test_on_a_full_disk_nothing_is_acknowledged_and_it_goes_on_by_itself(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as served,
        aiomqtt.Client("127.0.0.1", served.mqtt_port, identifier="van-0") as tracker,
    ):
        await tracker.publish("fleet/van-0", owntracks(0), qos=1)
        assert (await served.client.get("/readyz")).status_code == 200
        async with full_disk(served):
            waiting = [
                asyncio.create_task(tracker.publish("fleet/van-0", owntracks(n), qos=1, timeout=60))
                for n in range(1, 30)
            ]
            await until(lambda: served.gateway.intake.trouble is not None)
            answer = await served.client.get("/readyz")
            assert answer.status_code == 503
            assert not answer.json()["ready"]
            assert "disk" in answer.json()["parts"]["intake"]
            assert (await served.client.get("/livez")).status_code == 200
            assert 'gateway_trouble{part="intake"} 1.0' in (await served.client.get("/metrics")).text
            for path, document in (("/v1/plans/tour", PLAN), ("/v1/fences", fence("yard"))):
                refused = await served.put(path, document)
                assert refused.status_code == 503, "not left hanging"
                assert refused.headers["retry-after"]
                assert "disk" in refused.json()["detail"]
            assert len(await served.get("/v1/devices")) == 2, "what is there can be read"
            assert (await served.get("/v1/accounting"))["total"]["journaled"] < 30
            assert any(not task.done() for task in waiting), "PUBACK means: on disk"
        await asyncio.gather(*waiting)
        await until(lambda: served.gateway.intake.trouble is None)
        await served.settle()
        assert (await served.client.get("/readyz")).json()["parts"] == {"intake": "ok", "engine": "ok"}
        assert (await served.get("/v1/accounting"))["total"]["journaled"] == 30
        assert (await served.put("/v1/plans/tour", PLAN)).status_code == 200
        assert len(await served.get("/v1/devices/van-0/track")) == 30


async def test_a_plan_that_was_under_way_when_the_disk_filled_waits_and_is_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        big = {**PLAN, "external_ids": {f"k{n}": "x" * 100 for n in range(2_000)}}
        async with full_disk(served):
            putting = asyncio.create_task(served.put("/v1/plans/tour", big))
            await until(lambda: served.gateway.intake.trouble is not None)
            await asyncio.sleep(0.3)
            assert not putting.done()
        assert (await putting).status_code == 200
        assert [p["plan_id"] for p in await served.get("/v1/plans")] == ["tour"]


async def test_metrics_are_what_prometheus_reads(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await served.drive(van(0), 40)
        await served.settle()
        answer = await served.client.get("/metrics")
        assert answer.headers["content-type"].count("charset") == 1
        families = {f.name: f for f in text_string_to_metric_families(answer.text)}
        assert set(families) >= NAMES - {"gateway_sink_backlog"}, NAMES - set(families)
        assert all(f.documentation for f in families.values())
        samples = [s for f in families.values() for s in f.samples]
        assert len({(s.name, tuple(sorted(s.labels.items()))) for s in samples}) == len(samples)
        assert all(math.isfinite(s.value) for s in samples)
        assert {label for s in samples for label in s.labels if s.name.startswith("gateway_")} <= {
            "fate",
            "part",
            "source",
            "sink",
        }
        assert "van-0" not in answer.text
        fates = {s.labels["fate"]: s.value for s in families["gateway_records"].samples}
        assert fates["received"] == fates["journaled"] == 40
        assert sum(fates.values()) == 2 * fates["received"]
        again = text_string_to_metric_families((await served.client.get("/metrics")).text)
        for family in again:
            if family.type == "counter" and family.name.startswith("gateway_"):
                for before, now in zip(families[family.name].samples, family.samples, strict=True):
                    assert now.value >= before.value, family.name


@pytest.mark.parametrize("method", ["put", "delete"])
async def test_a_client_that_gives_up_leaves_nothing_broken(tmp_path: Path, method: str) -> None:
    async with running(tmp_path) as served:
        await served.put("/v1/plans/tour", PLAN)
        for n in range(30):
            asking = asyncio.create_task(
                served.put("/v1/plans/tour", PLAN) if method == "put" else served.client.delete("/v1/plans/tour")
            )
            await asyncio.sleep(n / 2_000)
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
        assert (await served.client.get("/readyz")).status_code == 200
        assert (await served.put("/v1/plans/tour", PLAN)).status_code == 200
