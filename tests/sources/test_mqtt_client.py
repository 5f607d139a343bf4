"""Against a real Mosquitto."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiomqtt
import pytest

from gateway.model import Malformed
from gateway.problems import BadInput
from gateway.sources import mqtt_client
from gateway.sources.mqtt_client import MqttClientOptions, MqttClientSource, problems
from gateway.sources.topics import TopicRoute
from tests.servers import Mosquitto, make_certificates
from tests.sources.fake_intake import FakeIntake, until

pytestmark = pytest.mark.servers
ROUTES = (
    TopicRoute(filter="fleet/+/pair", protocol="pair", device_id="{1}"),
    TopicRoute(filter="fleet/+/lines", protocol="lines", device_id="{1}"),
)


@pytest.fixture(scope="module")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker:
        yield broker


@pytest.fixture
def options(shared_broker: Mosquitto, request: pytest.FixtureRequest) -> MqttClientOptions:
    return options_for(shared_broker, client_id=request.node.name)


def options_for(broker: Mosquitto, **more: object) -> MqttClientOptions:
    given = {"client_id": "gateway", "reconnect_first_s": 0.05, "reconnect_max_s": 0.2, **more}
    return MqttClientOptions(host="localhost", port=broker.port, routes=ROUTES, **given)


@contextlib.asynccontextmanager
async def running(source: MqttClientSource, *, connected: bool = True) -> AsyncIterator[MqttClientSource]:
    task = asyncio.create_task(source.run())
    try:
        if connected:
            await until(lambda: source.stats.connected == 1)
        yield source
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def publish(
    port: int, payloads: list[bytes], topic: str = "fleet/bus-1/pair", ca_file: str | None = None, **how: object
) -> None:
    no_delay = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
    tls = aiomqtt.TLSParameters(ca_certs=ca_file) if ca_file else None
    async with aiomqtt.Client(
        "localhost", port, max_inflight_messages=1000, socket_options=no_delay, tls_params=tls
    ) as client:
        client.pending_calls_threshold = 10**9
        await asyncio.gather(*(client.publish(topic, p, **{"qos": 1, **how}) for p in payloads))


def numbered(start: int, count: int) -> list[bytes]:
    return [b"%d,0.5" % (number % 1000) + b"0" * (number // 1000) for number in range(start, start + count)]


def raw(intake: FakeIntake) -> list[bytes]:
    return [received.frame.raw for received in intake.committed]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_what_is_published_while_the_client_is_away_arrives(
    shared_broker: Mosquitto, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_client, "INBOX_LONG", 50)  # the backlog fills it ahead of the subscription's answer
    chosen = options_for(shared_broker, client_id=f"away-{protocol}", protocol=protocol)
    async with running(MqttClientSource(chosen, FakeIntake())):
        pass
    await publish(shared_broker.port, numbered(0, 200))
    intake = FakeIntake()
    async with running(MqttClientSource(chosen, intake)) as source:
        await until(lambda: len(intake.committed) == 200)
        await until(lambda: source.stats.acknowledged == 200)
    assert raw(intake) == numbered(0, 200)
    assert {received.device_id for received in intake.committed} == {"bus-1"}
    assert source.stats.connected == 0


async def test_what_was_not_committed_is_delivered_again_and_what_was_is_not(options: MqttClientOptions) -> None:
    intake = FakeIntake(hold=True)
    async with running(MqttClientSource(options, intake)) as source:
        await publish(options.port, numbered(0, 50))
        await until(lambda: len(intake.submitted) == 50)
        intake.commit()
        await until(lambda: source.stats.acknowledged == 50)
        await publish(options.port, numbered(50, 30))
        await until(lambda: len(intake.submitted) == 80)
        assert source.stats.acknowledged == 50
    after = FakeIntake()
    async with running(MqttClientSource(options, after)):
        await until(lambda: len(after.committed) == 30)
        await asyncio.sleep(0.1)
    assert raw(after) == numbered(50, 30)


async def test_acknowledgements_wait_for_every_batch_before_them(options: MqttClientOptions) -> None:
    futures: list[asyncio.Future[int]] = []

    class Unordered(FakeIntake):
        def submit(self, received: object) -> asyncio.Future[int]:
            futures.append(asyncio.get_running_loop().create_future())
            return futures[-1]

    async with running(MqttClientSource(options, Unordered())) as source:
        await publish(options.port, numbered(0, 3))
        await until(lambda: len(futures) == 3)
        futures[2].set_result(1)
        futures[1].set_result(1)
        await asyncio.sleep(0.05)
        assert source.stats.acknowledged == 0
        futures[0].set_result(1)
        await until(lambda: source.stats.acknowledged == 3)


async def test_a_journal_that_refuses_costs_the_connection_and_no_message(options: MqttClientOptions) -> None:
    class Refusing(FakeIntake):
        def submit(self, received: object) -> asyncio.Future[int]:
            future = super().submit(received)
            if len(self.submitted) == 1:
                self._batch = None
                future.cancel()
            return future

    intake = Refusing()
    async with running(MqttClientSource(options, intake)) as source:
        await publish(options.port, numbered(0, 5))
        await until(lambda: source.stats.reconnects == 1 and source.stats.acknowledged == 5)


async def test_a_broker_restart_is_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway")
    intake = FakeIntake()
    with Mosquitto(tmp_path) as broker:
        async with running(MqttClientSource(options_for(broker), intake)) as source:
            await publish(broker.port, numbered(0, 20))
            await until(lambda: source.stats.acknowledged == 20)
            with broker.away():
                await until(lambda: source.stats.connected == 0)
                await asyncio.sleep(0.5)
                assert source.trouble is not None
            await until(lambda: source.stats.connected == 1)
            await publish(broker.port, numbered(20, 20))
            await until(lambda: len(set(raw(intake))) == 40)
            assert source.stats.reconnects == 1
            assert source.trouble is None
    assert list(dict.fromkeys(raw(intake))) == numbered(0, 40)  # its last acknowledgements may not have reached it
    told = [record for record in caplog.records if record.name == "gateway.sources.mqtt_client"]
    assert len(told) <= 5, [record.getMessage() for record in told]


async def test_a_wrong_password_is_said_once_and_tried_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_PASSWORD", "wrong")
    with Mosquitto(tmp_path, users={"gateway": "right"}) as broker:
        chosen = options_for(broker, username="gateway", password_env="FLEET_PASSWORD")
        async with running(MqttClientSource(chosen, FakeIntake()), connected=False) as source:
            await asyncio.sleep(1.0)
            warnings = [r for r in caplog.records if r.levelno == logging.WARNING and r.name.startswith("gateway")]
            assert len(warnings) == 1
            assert "uthori" in warnings[0].getMessage()
            monkeypatch.setenv("FLEET_PASSWORD", "right")
            await until(lambda: source.stats.connected == 1)


async def test_a_poisonous_message_goes_to_quarantine_and_is_acknowledged(options: MqttClientOptions) -> None:
    intake = FakeIntake()
    async with running(MqttClientSource(options, intake)) as source:
        await publish(options.port, [b"1,2", b"crash", b"\xff\x00", b"3,4"])
        await until(lambda: source.stats.acknowledged == 4)
    kinds = [isinstance(received.frame.messages[0], Malformed) for received in intake.committed]
    assert kinds == [False, True, True, False]
    assert (source.stats.frames, source.stats.malformed, source.stats.reconnects) == (4, 2, 0)


@pytest.mark.parametrize(
    "nonsense", [b"\x30\x05\x00\x02\xff\xff1", b"\x30\x02\x00\x09", b"\xf0\xff\xff\xff\xff\xff", b"\x00\x00" * 50]
)
async def test_a_broker_that_talks_nonsense_is_left_and_tried_again(nonsense: bytes) -> None:
    """No broker does that, so it is scripted: CONNACK, SUBACK, then a packet nobody can read."""
    visits = left = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits, left
        visits += 1
        await reader.read(1000)
        writer.write(b"\x20\x02\x00\x00")
        subscribe = await reader.read(1000)
        writer.write(b"\x90\x04" + subscribe[2:4] + b"\x01\x01" + nonsense)
        await writer.drain()
        with contextlib.suppress(OSError):
            while await reader.read(1000):
                pass
        left += 1
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        chosen = MqttClientOptions(
            host="127.0.0.1",
            port=server.sockets[0].getsockname()[1],
            client_id="gateway",
            routes=ROUTES,
            reconnect_first_s=0.01,
            reconnect_max_s=0.02,
        )
        async with running(MqttClientSource(chosen, FakeIntake()), connected=False):
            await until(lambda: visits >= 3 and left >= 2)


async def test_retained_messages_are_state_and_come_once(shared_broker: Mosquitto) -> None:
    options = options_for(shared_broker, client_id="retained", protocol="5")
    await publish(options.port, [b"5,5"], topic="fleet/parked/pair", retain=True)
    intake = FakeIntake()
    for time_connected in (1, 2):
        async with running(MqttClientSource(options, intake)):
            await publish(options.port, [b"6,6"], topic="fleet/parked/pair")
            await until(lambda count=time_connected: raw(intake).count(b"6,6") == count)
    await publish(options.port, [b""], topic="fleet/parked/pair", retain=True)
    assert [(r.frame.raw, r.retained) for r in intake.committed] == [(b"5,5", True), (b"6,6", False), (b"6,6", False)]


async def test_qos_0_is_taken_too(options: MqttClientOptions) -> None:
    intake = FakeIntake()
    async with running(MqttClientSource(options, intake)) as source:
        await publish(options.port, [b"1,2"], qos=0)
        await until(lambda: raw(intake) == [b"1,2"])
    assert source.stats.acknowledged == 0


async def test_a_full_intake_stops_the_taking(shared_broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_client, "TAKEN_AT_ONCE", 10)
    intake = FakeIntake(hold=True, limit=5)
    chosen = options_for(shared_broker, client_id="window", window=20, protocol="5")
    async with running(MqttClientSource(chosen, intake)) as source:
        await publish(shared_broker.port, numbered(0, 300))
        await asyncio.sleep(0.3)
        assert len(intake.submitted) <= 14
        assert source.stats.acknowledged == 0
        intake.hold = False
        intake.commit()
        await until(lambda: source.stats.acknowledged == 300)
    assert raw(intake) == numbered(0, 300)
    assert intake.most_waiting <= 14


@pytest.mark.parametrize(("tls", "protocol"), [(False, "5"), (True, "3.1.1")])
async def test_a_backlog_waits_at_the_broker_and_not_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: bool, protocol: str
) -> None:
    """Mosquitto sends the whole backlog after the first acknowledgement; QoS 0 has no window at all."""
    longest = 0

    class Observed(mqtt_client._Client):
        def _read(self) -> None:
            nonlocal longest
            super()._read()
            longest = max(longest, self._queue.qsize())

    monkeypatch.setattr(mqtt_client, "_Client", Observed)
    monkeypatch.setattr(mqtt_client, "INBOX_LONG", 100)
    certificates = make_certificates(tmp_path / "tls") if tls else None
    with Mosquitto(tmp_path, tls=certificates) as broker:
        ca_file = f"{certificates}/ca.pem" if tls else None
        intake = FakeIntake(limit=20)
        chosen = options_for(broker, tls=tls, ca_file=ca_file, protocol=protocol)
        async with running(MqttClientSource(chosen, intake)) as source:
            await publish(broker.port, numbered(0, 10), ca_file=ca_file)
            await until(lambda: source.stats.acknowledged == 10)
            intake.hold = True
            await publish(broker.port, numbered(10, 2000), ca_file=ca_file)
            await publish(broker.port, numbered(2010, 500), ca_file=ca_file, qos=0)
            await asyncio.sleep(0.3)
            assert source.stats.messages < 10 + mqtt_client.TAKEN_AT_ONCE
            intake.hold = False
            intake.commit()
            await until(lambda: len(intake.committed) == 2510)
            await until(lambda: source.stats.acknowledged == 2010)
            assert source.stats.reconnects == 0
    assert sorted(raw(intake)) == sorted(numbered(0, 2510))  # the broker lets QoS 0 overtake
    assert longest <= 100 + mqtt_client.READ_AT_ONCE


async def test_a_stream_over_mqtt_is_closed_by_silence_and_by_the_end(options: MqttClientOptions) -> None:
    intake = FakeIntake()
    async with running(MqttClientSource(options, intake)) as source:
        await publish(options.port, [b"1,2\n3,", b"4\n"], topic="fleet/bus-1/lines")
        await until(lambda: raw(intake) == [b"1,2", b"3,4"])
        await until(lambda: source.stats.acknowledged == 2)
        await publish(options.port, [b"5,6"], topic="fleet/bus-1/lines")
        await until(lambda: source.stats.acknowledged == 3)
    assert intake.submitted[-1].frame.raw == b"5,6"


async def test_tls_checks_the_broker_unless_told_not_to(tmp_path: Path) -> None:
    ours, strangers = make_certificates(tmp_path / "ours"), make_certificates(tmp_path / "strangers")
    with Mosquitto(tmp_path, tls=ours) as broker:
        for ca, insecure, welcome in (
            (ours / "ca.pem", False, True),
            (strangers / "ca.pem", False, False),
            (strangers / "ca.pem", True, True),
        ):
            chosen = options_for(broker, tls=True, ca_file=str(ca), tls_insecure=insecure)
            async with running(MqttClientSource(chosen, FakeIntake()), connected=welcome) as source:
                if not welcome:
                    await until(lambda source=source: "certificate" in (source.trouble or "").lower())
                    assert source.stats.connected == 0


async def test_5000_messages_without_loss(options: MqttClientOptions) -> None:
    async with running(MqttClientSource(options, FakeIntake())):
        pass
    for start in range(0, 5000, 500):
        await publish(options.port, numbered(start, 500))
    intake = FakeIntake()
    started_s, cpu_s = time.perf_counter(), time.process_time()
    async with running(MqttClientSource(options, intake)) as source:
        await until(lambda: source.stats.acknowledged == 5000, within_s=60)
        wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    assert raw(intake) == numbered(0, 5000)
    print(f"\nmqtt client: {5000 / wall_s:,.0f} messages/s wall, {5000 / cpu_s:,.0f} per CPU-second")


def test_options_are_checked_before_anything_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH", raising=False)
    bad = MqttClientOptions(
        host="broker",
        client_id="",
        routes=(),
        password_env="NO_SUCH",
        ca_file="/nowhere.pem",
        reference_time="yesterday",
    )
    keys = [problem.where for problem in problems(bad, "sources.mqtt[0]")]
    assert keys == [
        f"sources.mqtt[0].{key}"
        for key in ("routes", "client_id", "password_env", "username", "ca_file", "reference_time")
    ]
    good = MqttClientOptions(host="broker", client_id="gateway", routes=ROUTES)
    assert problems(good, "sources.mqtt[0]") == []


async def test_bad_routes_are_refused() -> None:
    routes = (TopicRoute(filter="a/#/b", protocol="pair"),)
    with pytest.raises(BadInput, match="stands alone"):
        MqttClientSource(MqttClientOptions(host="broker", client_id="gateway", routes=routes), FakeIntake())
