"""The endpoint with the clients that people use: Mosquitto's tools, paho, aiomqtt; TLS; uvloop; the real journal."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import paho.mqtt.client as paho
import pytest
import uvloop
from paho.mqtt.enums import CallbackAPIVersion

from gateway.journal import Intake, IntakeOptions, Journal, JournalOptions, Registry, Watch
from gateway.sources.mqtt_endpoint import Credential, MqttEndpoint, TlsOptions, hash_password
from gateway.sources.mqtt_options import EndpointOptions
from tests.servers import program
from tests.sources.fake_intake import until
from tests.sources.mqtt_harness import ROUTES, FakeIntake, RawClient, serving

both = pytest.mark.parametrize("version", ["311", "5"])
T0 = 1_790_000_000_000


async def tool(name: str, endpoint: MqttEndpoint, *arguments: str, stdin: bytes = b"") -> tuple[int, str]:
    """Exit code and output of mosquitto_pub or mosquitto_sub, connected to the endpoint."""
    process = await asyncio.create_subprocess_exec(
        program(name),
        *("-h", "localhost", "-p", str(endpoint.port), *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    async with asyncio.timeout(20):
        output, _ = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, output.decode()


# ------------------------------------------------------------------------------------------- Mosquitto's tools


@both
@pytest.mark.parametrize("qos", ["0", "1"])
async def test_mosquitto_pub_sends_lines(version: str, qos: str) -> None:
    intake = FakeIntake()
    lines = b"".join(b"%d,2\n" % (n % 90) for n in range(500))
    async with serving(intake) as endpoint:
        code, said = await tool(
            "mosquitto_pub", endpoint, "-V", version, "-i", "t1", "-q", qos, "-t", "t/t1/pos", "-l", stdin=lines
        )
        assert (code, said) == (0, "")
        await until(lambda: len(intake.received) == 500)
        assert intake.payloads == lines.split()
        assert endpoint.stats.acknowledged == (500 if qos == "1" else 0)
        assert endpoint.stats.protocol_errors == 0


async def test_mosquitto_pub_is_refused_in_words_it_understands() -> None:
    credential = Credential(username="u", password_hash=hash_password("right", n=16))
    async with serving(FakeIntake(), anonymous=False, credentials=(credential,)) as endpoint:
        send = ("-t", "any", "-m", "1,2", "-q", "1")
        code, said = await tool("mosquitto_pub", endpoint, "-V", "31", *send)
        assert code == 1
        assert "unacceptable protocol version" in said
        for version in ("311", "5"):
            code, said = await tool("mosquitto_pub", endpoint, "-V", version, "-u", "u", "-P", "wrong", *send)
            assert code
            assert "bad user name or password" in said.lower()
            code, said = await tool("mosquitto_pub", endpoint, "-V", version, *send)
            assert code
            assert "not authori" in said.lower()
            code, said = await tool("mosquitto_pub", endpoint, "-V", version, "-u", "u", "-P", "right", *send)
            assert (code, said) == (0, "")


@both
async def test_mosquitto_sub_gets_its_commands_and_nothing_else(version: str) -> None:
    async with serving(FakeIntake()) as endpoint:
        listen = ("-V", version, "-i", "t1", "-q", "1", "-C", "1", "-v", "-t")
        _, said = await tool("mosquitto_sub", endpoint, *listen, "t2/commands")
        assert "denied" in said
        listening = asyncio.create_task(tool("mosquitto_sub", endpoint, *listen, "t1/commands"))
        delivered = asyncio.create_task(_deliver(endpoint, "t1", "t1/commands", b"getinfo"))
        assert await listening == (0, "t1/commands getinfo\n")
        assert await delivered is True


async def _deliver(endpoint: MqttEndpoint, device_id: str, topic: str, payload: bytes) -> bool:
    """As soon as the device has subscribed."""
    while not await endpoint.deliver(device_id, topic, payload):
        await asyncio.sleep(0.02)
    return True


@both
async def test_the_will_of_a_killed_client_is_journaled(version: str) -> None:
    intake = FakeIntake()
    async with serving(intake) as endpoint:
        will = ("--will-topic", "t/t1/pos", "--will-payload", "9,9", "--will-retain")
        process = await asyncio.create_subprocess_exec(
            program("mosquitto_sub"),
            *("-h", "localhost", "-p", str(endpoint.port), "-V", version, "-i", "t1", "-t", "t1/commands", *will),
        )
        await until(lambda: endpoint.stats.sessions == 1)
        await asyncio.sleep(0.1)
        process.kill()
        await process.wait()
        await until(lambda: intake.payloads == [b"9,9"])
        assert intake.received[0].retained


# ------------------------------------------------------------------------------------------- paho, aiomqtt


@pytest.mark.parametrize("version", [aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5])
async def test_aiomqtt_publishes_and_listens(version: aiomqtt.ProtocolVersion) -> None:
    intake = FakeIntake()
    async with serving(intake) as endpoint:
        async with aiomqtt.Client("localhost", endpoint.port, identifier="t1", protocol=version) as client:
            await client.subscribe("t1/commands", qos=1)
            await asyncio.gather(*(client.publish("t/t1/pos", f"{n},2", qos=1) for n in range(50)))
            await client.publish("t/t1/pos", "7,7", qos=0, retain=True)
            done = endpoint.deliver("t1", "t1/commands", b"reboot")
            message = await anext(client.messages)
            assert (str(message.topic), message.payload) == ("t1/commands", b"reboot")
            assert await done is True
        await until(lambda: len(intake.received) == 51)
        assert sorted(intake.payloads[:50]) == sorted(b"%d,2" % n for n in range(50))
        assert [received.retained for received in intake.received] == [False] * 50 + [True]


@pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5])
async def test_paho_sends_again_what_was_not_acknowledged(version: int) -> None:
    """The connection is lost between the frame's arrival and its commit: paho comes back and repeats it."""
    intake = FakeIntake(hold=True)
    session = {} if version == paho.MQTTv5 else {"clean_session": False}
    async with serving(intake) as endpoint:
        client = paho.Client(CallbackAPIVersion.VERSION2, "t1", protocol=version, **session)
        client.reconnect_delay_set(1, 1)
        client.connect_async("localhost", endpoint.port)
        client.loop_start()
        try:
            await until(client.is_connected)
            message = client.publish("t/t1/pos", b"1,2", qos=1)
            await until(lambda: len(intake.received) == 1)
            (connection,) = endpoint._hub.connections
            connection.abort()
            await until(lambda: len(intake.received) == 2)
            assert not message.is_published()
            intake.commit()
            await until(message.is_published)
            assert intake.payloads == [b"1,2"] * 2
        finally:
            client.disconnect()
            client.loop_stop()


async def test_paho_sees_the_takeover() -> None:
    async with serving(FakeIntake()) as endpoint:
        reasons: list[int] = []
        client = paho.Client(CallbackAPIVersion.VERSION2, "twice", protocol=paho.MQTTv5)
        client.on_disconnect = lambda _c, _u, _flags, reason, _p: reasons.append(reason.value)
        client.connect_async("localhost", endpoint.port)
        client.loop_start()
        try:
            await until(lambda: endpoint.stats.sessions == 1)
            await RawClient.connected(endpoint, "twice", 5)
            await until(lambda: bool(reasons))
            assert reasons[0] == 0x8E
        finally:
            client.loop_stop()
            client.disconnect()


# ------------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server's certificate for localhost, and a client's with a device id as common name."""
    folder = tmp_path_factory.mktemp("pki")

    def openssl(*arguments: str) -> None:
        subprocess.run([program("openssl"), *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem")
    for name, subject in (("server", "/CN=localhost"), ("client", "/CN=t1")):
        openssl(*new, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / "names").write_text("subjectAltName=DNS:localhost")
        sign = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2")
        openssl("x509", "-req", "-in", f"{name}.csr", *sign, "-out", f"{name}.pem")
    return folder


@both
async def test_tls_with_a_certificate_of_the_server(pki: Path, version: str) -> None:
    intake = FakeIntake()
    tls = TlsOptions(cert=str(pki / "server.pem"), key=str(pki / "server.key"))
    async with serving(intake, tls=tls) as endpoint:
        send = ("-V", version, "-t", "t/t1/pos", "-m", "1,2", "-q", "1")
        code, said = await tool("mosquitto_pub", endpoint, "--cafile", str(pki / "ca.pem"), *send)
        assert (code, said) == (0, "")
        assert intake.payloads == [b"1,2"]
        code, _ = await tool("mosquitto_pub", endpoint, *send)  # without TLS
        assert code
        context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
        async with aiomqtt.Client("localhost", endpoint.port, identifier="t2", tls_context=context) as client:
            await asyncio.gather(*(client.publish("t/t2/pos", "3,4" + " " * 5_000, qos=1) for _ in range(100)))
        assert len(intake.received) == 101


async def test_a_client_certificate_names_its_device(pki: Path) -> None:
    intake = FakeIntake()
    tls = TlsOptions(cert=str(pki / "server.pem"), key=str(pki / "server.key"), client_ca=str(pki / "ca.pem"))
    async with serving(intake, tls=tls, anonymous=False) as endpoint:
        own = ("--cert", str(pki / "client.pem"), "--key", str(pki / "client.key"))
        for topic in ("t/t1/pos", "t/t2/pos"):
            send = ("--cafile", str(pki / "ca.pem"), "-t", topic, "-m", "1,2", "-q", "1")
            code, _ = await tool("mosquitto_pub", endpoint, *send)
            assert code
            code, said = await tool("mosquitto_pub", endpoint, *own, *send)
            assert (code, said) == (0, "")
        assert [received.device_id for received in intake.received] == ["t1", "t1"]
        assert intake.reasons() == ["the credential belongs to t1, the topic to t2"]


# ------------------------------------------------------------------------------------------- the real journal


@contextlib.asynccontextmanager
async def journaled(folder: Path, **options: object) -> AsyncIterator[tuple[MqttEndpoint, Journal, Intake]]:
    journal = Journal.open(folder / "journal.db", JournalOptions(min_free_mb=0))
    registry = Registry((), "register")
    intake = Intake(journal, registry, IntakeOptions(queue_messages=1_000), now_ms=lambda: T0, committed=Watch())
    running = asyncio.create_task(intake.run())
    try:
        settings = {"listen": "127.0.0.1:0", "anonymous": True, "routes": ROUTES} | options
        endpoint = MqttEndpoint(EndpointOptions(**settings), intake, now_ms=lambda: T0)
        await endpoint.start()
        yield endpoint, journal, intake
        await endpoint.stop()
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        journal.close()


async def many_trackers(endpoint: MqttEndpoint, journal: Journal) -> None:
    """What is acknowledged is in the journal, at the moment of the PUBACK."""

    async def tracker(device: int) -> None:
        client = await RawClient.connected(endpoint, f"d{device}", 4 + device % 2)
        for number in range(1, 51):
            payload = b"junk" if number == 50 else b"%d,%d" % (number, device)
            client.publish(payload, number, topic="any", level=4 + device % 2)
        await client.acks(50)
        seen = journal.accounting().total
        assert seen.journaled + seen.duplicate + seen.quarantined >= 50
        await client.close()

    await asyncio.gather(*(tracker(device) for device in range(100)))


def check_books(journal: Journal) -> None:
    total = journal.accounting().total
    assert (total.received, total.quarantined) == (5_000, 100)
    tracks = [journal.track(f"d{device}", 0, 2**60) for device in range(100)]
    assert [len(track) for track in tracks] == [49] * 100
    assert [fix.position.lat_deg for fix in tracks[7]] == [float(n) for n in range(1, 50)]


async def test_acknowledged_is_journaled(tmp_path: Path) -> None:
    async with journaled(tmp_path) as (endpoint, journal, intake):
        await many_trackers(endpoint, journal)
        assert endpoint.stats.paused  # 1,000 wait at most: somebody had to
        assert intake.queued_messages == 0
    with contextlib.closing(Journal.open(tmp_path / "journal.db", JournalOptions(min_free_mb=0))) as again:
        check_books(again)


def test_the_same_on_uvloop(tmp_path: Path) -> None:
    async def everything() -> None:
        async with journaled(tmp_path) as (endpoint, journal, _):
            await many_trackers(endpoint, journal)
            check_books(journal)
            silent = await RawClient.connected(endpoint, "silent", 5)
            await endpoint.stop()
            assert (await silent.ended())[2] == 0x8B

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(everything())
