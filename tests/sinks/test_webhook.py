"""The webhook: signatures, order per vehicle, retries, restarts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.model import Event, Position
from gateway.problems import BadInput
from gateway.sinks.webhook import WebhookOptions, WebhookSink, signature, signing_key
from tests.sinks.answers import Answer, Asked, answering
from tests.sinks.conftest import START_MS, Filled
from tests.sinks.test_influx import until

KEY = b"0123456789abcdef0123456789abcdef"


@asynccontextmanager
async def sending(
    filled: Filled, url: str, monkeypatch: pytest.MonkeyPatch, **more: float
) -> AsyncIterator[WebhookSink]:
    monkeypatch.setenv("WEBHOOK_SECRET", "whsec_" + base64.b64encode(KEY).decode())
    options = WebhookOptions(url=url, retry_min_s=0.02, retry_max_s=0.1, timeout_s=2.0, **more)  # type: ignore[arg-type]
    sink = WebhookSink(options, filled.journal, filled.concluded, "/gateway/test")
    task = asyncio.create_task(sink.run())
    try:
        yield sink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of the Standard Webhooks specification's reference libraries."""
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "here")
    body = b'{"test": 2432232314}'
    said = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_not base64!"])
def test_a_secret_that_protects_nothing_is_refused(secret: str) -> None:
    with pytest.raises(BadInput, match="whsec_"):
        signing_key(secret, "environment variable WEBHOOK_SECRET")


async def test_events_arrive_signed_and_in_order_per_vehicle(
    filled: Filled, fix: Callable[..., Position], event: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = iter([True, False, True, False, False] * 20)
    lock = threading.Lock()

    def answer(_: Asked) -> Answer:
        with lock:
            return Answer(503) if next(failing, False) else Answer(200)

    for _ in range(5):
        filled.add([fix()], [event(f"van-{n}") for n in range(4)])
    with answering(answer) as server:
        async with sending(filled, server.url, monkeypatch) as sink:
            await until(lambda: sink.stats.delivered == 20)
            assert sink.stats.failures > 0
    delivered: dict[str, list[int]] = {}
    for asked in server.asked:
        signed = f"{asked.headers['webhook-id']}.{asked.headers['webhook-timestamp']}.".encode() + asked.body
        expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert asked.headers["webhook-signature"] == f"v1,{expected}"
        document = json.loads(asked.body)
        assert document["id"] == asked.headers["webhook-id"]
        seqs = delivered.setdefault(document["partitionkey"], [])
        if not seqs or seqs[-1] != document["data"]["seq"]:  # a retry repeats the one before
            seqs.append(document["data"]["seq"])
    assert {vehicle: len(seqs) for vehicle, seqs in delivered.items()} == {f"van-{n}": 5 for n in range(4)}
    assert all(seqs == sorted(seqs) for seqs in delivered.values())


async def test_a_slow_vehicle_holds_up_no_other_and_a_restart_repeats_little(
    filled: Filled, fix: Callable[..., Position], event: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(asked: Asked) -> Answer:
        return Answer(400 if b'"partitionkey":"stuck"' in asked.body and stuck else 200)

    stuck = True
    filled.add([fix()], [event("stuck"), *(event(f"van-{n}") for n in range(10))])
    with answering(answer) as server:
        async with sending(filled, server.url, monkeypatch) as sink:
            await until(lambda: sink.stats.delivered == 10)
        stuck = False
        before = len(server.asked)
        async with sending(filled, server.url, monkeypatch) as sink:
            await until(lambda: sink.stats.delivered == 1)
            await asyncio.sleep(0.2)
        assert len(server.asked) == before + 1, "only what was not delivered is sent again"


async def test_what_an_endpoint_refuses_for_too_long_is_set_aside(
    filled: Filled, fix: Callable[..., Position], event: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(asked: Asked) -> Answer:
        return Answer(422 if b"stop/0/" in asked.body else 200)

    filled.add([fix()], [event("van"), event("van")])
    with answering(answer) as server:
        async with sending(filled, server.url, monkeypatch, give_up_s=0.3) as sink:
            await until(lambda: sink.stats.delivered == 2)
            assert sink.stats.set_aside == 1
    [aside] = filled.journal.quarantined()
    assert "422" in aside.reason
    assert json.loads(aside.raw)["data"]["key"] == "plan/1/stop/0/visit/1/arrived"


async def test_what_retention_removed_is_told_as_a_gap(
    filled: Filled, fix: Callable[..., Position], event: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscriber that was away for too long hears that, and from where to where, before anything newer."""
    filled.journal.register("webhook", backlog_max_days=1e-9)
    for _ in range(5):
        filled.add([fix()], [event()])
    filled.journal.save_snapshots(filled.journal.last_entry_id, {}, complete=True)
    while filled.journal.retain(START_MS + 400 * 86_400_000).more:
        pass
    gap = filled.journal.gap("webhook")
    assert gap is not None
    filled.add([fix()], [event()])
    with answering(lambda _: Answer(200)) as server:
        async with sending(filled, server.url, monkeypatch) as sink:
            await until(lambda: sink.stats.delivered == 2)
    told = [json.loads(asked.body) for asked in server.asked]
    assert [e["type"] for e in told] == ["fleet.delivery.gap.v1", "fleet.stop.arrived.v1"]
    assert told[0]["data"]["measures"] == {"from_seq": gap.after + 1, "to_seq": gap.upto}
    assert filled.journal.gap("webhook") is None


async def test_410_ends_it_and_keeps_the_backlog(
    filled: Filled, fix: Callable[..., Position], event: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.add([fix()], [event()])
    with answering(lambda _: Answer(410)) as server:
        async with sending(filled, server.url, monkeypatch) as sink:
            await until(lambda: sink.stats.trouble == "410 Gone")
            await asyncio.sleep(0.2)
        assert len(server.asked) == 1
    with answering(lambda _: Answer(200)) as server:
        async with sending(filled, server.url, monkeypatch) as sink:
            await until(lambda: sink.stats.delivered == 1)
