"""The endpoint packet by packet: when it acknowledges, what it refuses and how it says so, what it bounds."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from gateway.model import Position
from gateway.problems import BadInput
from gateway.sources.mqtt_endpoint import Credential, EndpointOptions, MqttEndpoint, TlsOptions, hash_password
from gateway.sources.mqtt_packets import Disconnect, PubAck, Publish, Subscribe, Unsubscribe, Will
from tests.sources import mqtt_bytes as client_bytes
from tests.sources.fake_intake import until
from tests.sources.mqtt_harness import (
    CONNACK,
    DISCONNECT,
    PINGRESP,
    PUBACK,
    PUBLISH,
    ROUTES,
    SUBACK,
    UNSUBACK,
    FakeIntake,
    RawClient,
    serving,
)

both = pytest.mark.parametrize("level", [4, 5])
WILL = Will("t/t1/pos", b"0,0", 1, False)


async def settled() -> None:
    await asyncio.sleep(0.05)


# ------------------------------------------------------------------------------------------- messages


@both
async def test_puback_waits_for_the_commit_and_keeps_the_order(level: int) -> None:
    intake = FakeIntake(hold=True)
    async with serving(intake) as endpoint:
        client = await RawClient.connected(endpoint, level=level)
        for packet_id in (7, 3, 65_535):
            client.publish(b"52.5,13.4", packet_id, level=level)
        client.publish(b"junk", 4, level=level)  # to quarantine, and acknowledged all the same
        await until(lambda: len(intake.received) == 4)
        assert await client.silent()
        intake.commit()
        assert await client.acks(4) == [7, 3, 65_535, 4]
        assert intake.reasons() == ["no pair of numbers"]
        first = intake.received[0]
        assert (first.source, first.protocol, first.device_id, first.topic) == ("endpoint", "pair", "t1", "t/t1/pos")
        assert isinstance(first.frame.messages[0], Position)
        assert endpoint.stats.acknowledged == 4
        assert endpoint.stats.messages == 4


async def test_one_commit_is_one_write_of_acknowledgements() -> None:
    intake = FakeIntake(hold=True)
    async with serving(intake) as endpoint:
        client = await RawClient.connected(endpoint)
        for packet_id in range(1, 101):
            client.publish(b"1,2", packet_id)
        await until(lambda: len(intake.received) == 100)
        intake.commit()
        await client.reader.readexactly(4)
        await asyncio.sleep(0)
        assert len(await client.reader.read(1000)) == 99 * 4  # the rest was there at once


@both
async def test_qos_0_retained_and_unrouted_messages(level: int) -> None:
    intake = FakeIntake()
    async with serving(intake) as endpoint:
        client = await RawClient.connected(endpoint, level=level)
        client.publish(b"1,2", level=level)
        client.publish(b"3,4", 1, level=level, retain=True)
        client.publish(b"x", 2, topic="nobody/reads", level=level)
        assert await client.acks(2) == [1, 2]
        assert [received.retained for received in intake.received] == [False, True, False]
        assert intake.reasons() == ["no route claims this topic"]


async def test_a_topic_alias_stands_for_its_topic() -> None:
    intake = FakeIntake()
    async with serving(intake, alias_maximum=3) as endpoint:
        client = await RawClient.connected(endpoint, level=5)
        assert b"\x22\x00\x03" in client.connack
        alias = b"\x23\x00\x03"
        client.send(client_bytes.publish(5, Publish("t/t1/pos", b"1,2", 1, packet_id=1), alias))
        client.send(client_bytes.publish(5, Publish("", b"3,4", 1, packet_id=2), alias))
        await client.acks(2)
        assert [received.topic for received in intake.received] == ["t/t1/pos"] * 2
        client.send(client_bytes.publish(5, Publish("t/t1/pos", b"1,2"), b"\x23\x00\x04"))
        assert (await client.packet(DISCONNECT))[0] == 0x94


async def test_commits_that_overlap_are_acknowledged_in_the_order_of_their_messages() -> None:
    intake = FakeIntake(hold=True)
    async with serving(intake) as endpoint:
        client = await RawClient.connected(endpoint)
        batches = []
        for packet_id in (1, 2):
            client.publish(b"1,2", packet_id)
            await until(lambda expected=packet_id: len(intake.received) == expected)
            batches.append(intake._batch)
            intake._batch = None
        batches[1].set_result(2)
        assert await client.silent()
        batches[0].set_result(1)
        assert await client.acks(2) == [1, 2]


async def test_a_stream_is_acknowledged_and_closed_by_silence() -> None:
    intake = FakeIntake()
    async with serving(intake) as endpoint:
        client = await RawClient.connected(endpoint)
        client.publish(b"1,2\n", 1, topic="t/t1/lines")
        assert await client.acks(1) == [1]
        assert intake.received == []
        await until(lambda: intake.payloads == [b"1,2"])


async def test_a_stream_that_only_took_in_is_not_acknowledged_before_its_predecessor() -> None:
    intake = FakeIntake(hold=True)
    async with serving(intake) as endpoint:
        client = await RawClient.connected(endpoint)
        client.publish(b"1,2", 1)
        client.publish(b"3,", 2, topic="t/t1/lines")
        await until(lambda: endpoint.stats.messages == 2)
        assert await client.silent()
        intake.commit()
        assert await client.acks(2) == [1, 2]
        intake.hold = False  # for what the stream still holds at the end


async def test_a_commit_that_is_given_up_acknowledges_nothing() -> None:
    intake = FakeIntake(hold=True)
    async with serving(intake) as endpoint:
        client = await RawClient.connected(endpoint)
        client.publish(b"1,2", 1)
        await until(lambda: bool(intake.received))
        intake.submit(intake.received[0]).cancel()
        assert await client.ended() == b""
        intake._batch = None


# ------------------------------------------------------------------------------------------- refusals


async def test_qos_2_is_refused() -> None:
    intake = FakeIntake()
    async with serving(intake) as endpoint:
        new = await RawClient.connected(endpoint, "new", 5)
        assert b"\x24\x01" in new.connack  # Maximum QoS 1
        new.send(client_bytes.publish(5, Publish("any", b"1,2", 2, packet_id=1)))
        assert (await new.packet(DISCONNECT))[0] == 0x9B
        old = await RawClient.connected(endpoint, "old", 4)
        old.send(client_bytes.publish(4, Publish("any", b"1,2", 2, packet_id=1)))
        assert await old.ended() == b""
        assert intake.received == []
        assert endpoint.stats.qos2_refused == 2
        will = await RawClient.open(endpoint)
        will.send(client_bytes.simple_connect("will", 5, will=Will("any", b"", 2, False)))
        assert (await will.packet(CONNACK))[1] == 0x9B


async def test_an_oversized_packet_is_refused_before_it_has_come() -> None:
    async with serving(FakeIntake(), max_packet_bytes=1000) as endpoint:
        client = await RawClient.connected(endpoint, level=5)
        assert b"\x27\x00\x00\x03\xe8" in client.connack
        client.send(b"\x30" + client_bytes.variable(200_000))
        assert (await client.packet(DISCONNECT))[0] == 0x95
        assert endpoint.stats.oversized == 1


async def test_receive_maximum_is_enforced_on_version_5() -> None:
    intake = FakeIntake(hold=True)
    async with serving(intake, receive_maximum=5, max_pending_messages=20) as endpoint:
        client = await RawClient.connected(endpoint, level=5)
        assert b"\x21\x00\x05" in client.connack
        for packet_id in range(1, 7):
            client.publish(b"1,2", packet_id, level=5)
        assert (await client.packet(DISCONNECT))[0] == 0x93
        assert len(intake.received) == 5


CONNECTS = {
    "MQTT 3.1": (client_bytes.packet(0x10, client_bytes.binary("MQIsdp") + b"\3\2\0\x3c\0\1a"), b"\x20\2\0\1"),
    "MQTT 6": (client_bytes.packet(0x10, client_bytes.binary("MQTT") + b"\6\2\0\x3c\0\0\1a"), b"\x20\3\0\x84\0"),
    "session without id": (client_bytes.simple_connect("", 4, clean=False), b"\x20\2\0\2"),
    "too long an id": (client_bytes.simple_connect("x" * 129, 5), b"\x20\3\0\x85\0"),
    "authentication method": (client_bytes.simple_connect("a", 5, authentication_method="x"), b"\x20\3\0\x8c\0"),
    "malformed": (client_bytes.packet(0x10, client_bytes.binary("MQTT") + b"\5\1\0\x3c\0\0\1a"), b"\x20\3\0\x81\0"),
    "no CONNECT": (client_bytes.PINGREQ, b""),
    "HTTP": (b"GET / HTTP/1.1\r\n\r\n", b""),
}


@pytest.mark.parametrize("name", CONNECTS)
async def test_connects_that_are_refused(name: str) -> None:
    data, answer = CONNECTS[name]
    async with serving(FakeIntake()) as endpoint:
        client = await RawClient.open(endpoint)
        client.send(data)
        assert await client.ended() == answer
        assert endpoint.stats.connections == 0


async def test_an_empty_client_id_is_assigned() -> None:
    async with serving(FakeIntake()) as endpoint:
        new = await RawClient.connected(endpoint, "", 5)
        assert b"\x12\x00\x19assigned-" in new.connack
        await RawClient.connected(endpoint, "", 4)
        assert endpoint.stats.sessions == 2


@both
async def test_what_is_malformed_ends_the_connection_with_its_reason(level: int) -> None:
    async with serving(FakeIntake()) as endpoint:
        client = await RawClient.connected(endpoint, level=level)
        client.send(b"\x30\x02\xff\xff")
        said = await client.ended()
        assert said[2:3] == b"\x81" if level == 5 else said == b""
        assert endpoint.stats.protocol_errors == 1


async def test_auth_is_refused() -> None:
    async with serving(FakeIntake()) as endpoint:
        client = await RawClient.connected(endpoint, level=5)
        client.send(b"\xf0\x02\x18\x00")
        assert (await client.packet(DISCONNECT))[0] == 0x82


# ------------------------------------------------------------------------------------------- time and limits


@both
async def test_keep_alive_is_enforced_and_a_ping_keeps_alive(level: int) -> None:
    async with serving(FakeIntake()) as endpoint:
        silent = await RawClient.connected(endpoint, "silent", level, keep_alive_s=1)
        lively = await RawClient.connected(endpoint, "lively", level, keep_alive_s=2)
        ending = asyncio.create_task(silent.ended())
        for _ in range(8):
            await asyncio.sleep(0.5)
            lively.send(client_bytes.PINGREQ)
            await lively.packet(PINGRESP)
        said = await ending
        assert said[2:3] == b"\x8d" if level == 5 else said == b""
        assert endpoint.stats.keep_alive_timeouts == 1
        assert endpoint.stats.connections == 1


async def test_connect_must_come_in_time() -> None:
    async with serving(FakeIntake(), connect_timeout_s=0.5) as endpoint:
        client = await RawClient.open(endpoint)
        client.send(b"\x10")
        assert await client.ended() == b""
        assert endpoint.stats.connect_timeouts == 1
        dripping = await RawClient.open(endpoint)
        with contextlib.suppress(ConnectionResetError):
            for byte in client_bytes.simple_connect("a client id that is long enough"):
                dripping.send(bytes((byte,)))
                await dripping.silent(0.1)
        assert endpoint.stats.connect_timeouts == 2


async def test_connections_are_bounded_in_number_and_rate() -> None:
    async with serving(FakeIntake(), max_connections=2) as endpoint:
        kept = [await RawClient.connected(endpoint, f"c{i}") for i in range(2)]
        assert await (await RawClient.open(endpoint)).ended() == b""
        assert endpoint.stats.connections_refused == 1
        await kept[0].close()
        await until(lambda: endpoint.stats.connections == 1)
        await RawClient.connected(endpoint, "c3")
    async with serving(FakeIntake(), connects_per_s=0.1, connect_burst=2) as endpoint:
        for i in range(2):
            await RawClient.connected(endpoint, f"c{i}")
        assert await (await RawClient.open(endpoint)).ended() == b""
        assert endpoint.stats.rate_refused == 1


async def test_a_client_of_3_1_1_is_slowed_to_what_the_disk_takes() -> None:
    intake = FakeIntake(hold=True)
    async with serving(intake, receive_maximum=10, max_pending_messages=20) as endpoint:
        client = await RawClient.connected(endpoint)
        for number in range(1, 1001):
            client.publish(b"%d,2" % (number % 90), number)
        await settled()
        assert len(intake.received) == 20  # and not one more, whatever was read already
        assert endpoint.stats.paused == 1
        reading = asyncio.create_task(client.acks(1000))
        while not reading.done():
            intake.commit()
            assert intake.waiting <= 20
            await asyncio.sleep(0.001)
        assert await reading == list(range(1, 1001))
        assert intake.payloads == [b"%d,2" % (number % 90) for number in range(1, 1001)]


async def test_a_full_intake_stops_reading_and_pings_are_still_answered() -> None:
    intake = FakeIntake()
    async with serving(intake) as endpoint:
        senders = [await RawClient.connected(endpoint, f"s{i}", keep_alive_s=1) for i in range(5)]
        idle = await RawClient.connected(endpoint, "idle")
        intake.limit = 0
        for sender in senders:
            sender.publish(b"1,2", 1)
            sender.publish(b"3,4", 2)
        idle.send(client_bytes.PINGREQ)
        await idle.packet(PINGRESP)
        await asyncio.sleep(2.5)  # whoever has to wait is not silent
        assert intake.received == []
        intake.limit = 3
        intake.commit()
        for sender in senders:
            assert await sender.acks(2) == [1, 2]
        assert intake.most_waiting <= 3
        assert endpoint.stats.keep_alive_timeouts == 0


async def test_a_reader_that_does_not_read_is_cut_off() -> None:
    limits = {"max_write_buffer_bytes": 1024, "max_queued_messages": 1000, "max_queued_bytes": 1 << 30}
    async with serving(FakeIntake(), **limits) as endpoint:
        client = await RawClient.connected(endpoint, clean=False)
        client.send(client_bytes.subscribe(4, Subscribe(1, (("t1/commands", 1),))))
        await client.packet(SUBACK)
        client.writer.transport.pause_reading()
        sent = [endpoint.deliver("t1", "t1/commands", b"x" * 1_000_000) for _ in range(16)]
        assert endpoint.stats.slow_readers == 1
        assert endpoint.stats.connections == 0
        assert not any(each.done() for each in sent)  # they wait in the session for the device's return


# ------------------------------------------------------------------------------------------- wills and takeover


@both
async def test_the_will_is_journaled_unless_the_device_says_goodbye(level: int) -> None:
    intake = FakeIntake()
    async with serving(intake) as endpoint:
        polite = await RawClient.connected(endpoint, "polite", level, will=WILL)
        polite.send(client_bytes.disconnect(level, Disconnect()))
        assert await polite.ended() == b""
        assert intake.received == []
        lost = await RawClient.connected(endpoint, "lost", level, will=WILL)
        lost.abort()
        await until(lambda: intake.payloads == [b"0,0"])
        if level == 5:
            wants = await RawClient.connected(endpoint, "wants", 5, will=WILL)
            wants.send(client_bytes.disconnect(5, Disconnect(0x04)))
            await until(lambda: len(intake.received) == 2)
        broken = await RawClient.connected(endpoint, "broken", level, will=Will("any", b"1,1", 0, True))
        broken.send(b"\0\0")
        await until(lambda: intake.received[-1].retained)
        assert intake.received[-1].device_id == "broken"
        assert endpoint.stats.wills == len(intake.received)


@both
async def test_the_same_client_id_takes_over(level: int) -> None:
    intake = FakeIntake(hold=True)
    async with serving(intake) as endpoint:
        old = await RawClient.connected(endpoint, "twice", level, will=WILL)
        old.publish(b"1,2", 1, level=level)
        await until(lambda: bool(intake.received))
        new = await RawClient.connected(endpoint, "twice", level)
        said = await old.ended()
        assert said[2:3] == b"\x8e" if level == 5 else said == b""
        assert intake.payloads == [b"1,2", b"0,0"]
        assert endpoint.stats.taken_over == 1
        intake.commit()  # the old one's commit must not reach the new one
        assert await new.silent()
        new.publish(b"1,2", 1, level=level, dup=True)
        await until(lambda: len(intake.received) == 3)
        intake.commit()
        assert await new.acks(1) == [1]


# ------------------------------------------------------------------------------------------- commands


@both
async def test_only_the_own_command_topic_can_be_subscribed_to(level: int) -> None:
    async with serving(FakeIntake()) as endpoint:
        client = await RawClient.connected(endpoint, level=level)
        wanted = ("t1/commands", "t2/commands", "#", "+/commands", "t1/commands/#")
        client.send(client_bytes.subscribe(level, Subscribe(9, tuple((topic, 2) for topic in wanted))))
        body = await client.packet(SUBACK)
        refused = 0x87 if level == 5 else 0x80
        assert list(body[-5:]) == [1, refused, refused, refused, refused]
        assert endpoint.stats.subscriptions_refused == 4
        client.send(client_bytes.unsubscribe(level, Unsubscribe(10, ("t1/commands", "t2/commands"))))
        body = await client.packet(UNSUBACK)
        assert body == (b"\0\x0a\0\0\x11" if level == 5 else b"\0\x0a")
        assert await endpoint.deliver("t1", "t1/commands", b"late") is False


@pytest.mark.parametrize("client_id", ["+", "#", "a/b", "+/commands"])
async def test_a_client_id_cannot_widen_its_command_topic(client_id: str) -> None:
    async with serving(FakeIntake()) as endpoint:
        client = await RawClient.connected(endpoint, client_id)
        client.send(client_bytes.subscribe(4, Subscribe(9, ((f"{client_id}/commands", 1),))))
        assert await client.packet(SUBACK) == b"\0\x09\x80"


async def subscribed(endpoint: MqttEndpoint, level: int, qos: int = 1, **more: object) -> RawClient:
    client = await RawClient.connected(endpoint, level=level, **more)
    client.send(client_bytes.subscribe(level, Subscribe(1, (("t1/commands", qos),))))
    await client.packet(SUBACK)
    return client


def command_of(level: int, body: bytes) -> tuple[int, bytes]:
    start = 2 + len("t1/commands")
    return int.from_bytes(body[start : start + 2]), body[start + 2 + (level == 5) :]


@both
async def test_a_command_is_delivered_when_the_device_acknowledges_it(level: int) -> None:
    async with serving(FakeIntake()) as endpoint:
        client = await subscribed(endpoint, level)
        done = endpoint.deliver("t1", "t1/commands", b"getinfo")
        packet_id, payload = command_of(level, await client.packet(PUBLISH))
        assert payload == b"getinfo"
        assert not done.done()
        client.send(client_bytes.puback(level, PubAck(packet_id)))
        assert await done is True
        assert endpoint.stats.commands_delivered == 1
        assert await endpoint.deliver("t1", "t1/other", b"") is False
        assert await endpoint.deliver("t2", "t1/commands", b"") is False
        if level == 5:
            refused = endpoint.deliver("t1", "t1/commands", b"no")
            packet_id, _ = command_of(level, await client.packet(PUBLISH))
            client.send(client_bytes.puback(5, PubAck(packet_id, 0x83)))
            assert await refused is False


async def test_a_command_at_qos_0_is_done_once_sent() -> None:
    async with serving(FakeIntake()) as endpoint:
        client = await subscribed(endpoint, 4, qos=0, clean=False)
        assert await endpoint.deliver("t1", "t1/commands", b"a") is True
        assert (await client.packet(PUBLISH)).endswith(b"a")
        await client.close()
        await until(lambda: endpoint.stats.connections == 0)
        assert await endpoint.deliver("t1", "t1/commands", b"b") is False


@both
async def test_commands_wait_in_the_session_and_are_sent_again(level: int) -> None:
    async with serving(FakeIntake(), max_queued_messages=3) as endpoint:
        session = {"clean": False, "session_expiry_s": 1000}
        window = {"receive_maximum": 1} if level == 5 else {}
        client = await subscribed(endpoint, level, **session, **window)
        first = endpoint.deliver("t1", "t1/commands", b"first")
        second = endpoint.deliver("t1", "t1/commands", b"second")  # on version 5 not sent yet
        packet_id, _ = command_of(level, await client.packet(PUBLISH))
        client.abort()
        await until(lambda: endpoint.stats.connections == 0)
        third = endpoint.deliver("t1", "t1/commands", b"third")
        assert await endpoint.deliver("t1", "t1/commands", b"too many") is False
        back = await RawClient.open(endpoint)
        back.send(client_bytes.simple_connect(level=level, **session))
        assert (await back.packet(CONNACK))[:2] == b"\x01\x00"  # session present
        again = await back.reader.readexactly(1)
        assert again == b"\x3a"  # DUP, QoS 1
        length = (await back.reader.readexactly(1))[0]
        assert command_of(level, await back.reader.readexactly(length)) == (packet_id, b"first")
        rest = [command_of(level, await back.packet(PUBLISH)) for _ in range(2)]
        assert [payload for _, payload in rest] == [b"second", b"third"]
        for number in (packet_id, *(number for number, _ in rest)):
            back.send(client_bytes.puback(level, PubAck(number)))
        assert await asyncio.gather(first, second, third) == [True, True, True]


async def test_the_clients_own_receive_maximum_and_packet_size_hold() -> None:
    async with serving(FakeIntake()) as endpoint:
        client = await subscribed(endpoint, 5, receive_maximum=2, maximum_packet_bytes=100)
        assert await endpoint.deliver("t1", "t1/commands", b"x" * 100) is False
        for number in range(3):
            endpoint.deliver("t1", "t1/commands", b"%d" % number)
        ids = [command_of(5, await client.packet(PUBLISH))[0] for _ in range(2)]
        assert await client.silent()
        client.send(client_bytes.puback(5, PubAck(ids[0])))
        assert command_of(5, await client.packet(PUBLISH))[1] == b"2"


async def test_sessions_end_by_expiry_by_number_and_by_a_clean_start() -> None:
    async with serving(FakeIntake(), max_sessions=2) as endpoint:
        client = await subscribed(endpoint, 5, clean=False, session_expiry_s=1)
        await client.close()
        await until(lambda: endpoint.stats.connections == 0)
        waiting = endpoint.deliver("t1", "t1/commands", b"x")
        assert await waiting is False  # when the session has expired
        assert endpoint.stats.sessions_expired == 1
        for name in ("a", "b", "c"):
            stays = await RawClient.connected(endpoint, name, 4, clean=False)
            await stays.close()
            await until(lambda: endpoint.stats.connections == 0)
        assert (endpoint.stats.sessions, endpoint.stats.sessions_evicted) == (2, 1)
        assert (await RawClient.connected(endpoint, "a", 4, clean=False)).connack[0] == 0
        assert (await RawClient.connected(endpoint, "c", 4, clean=False)).connack[0] == 1
        assert (await RawClient.connected(endpoint, "c", 4, clean=True)).connack[0] == 0


async def test_a_session_longer_than_allowed_is_shortened_and_said_so() -> None:
    async with serving(FakeIntake(), session_expiry_s=60) as endpoint:
        client = await RawClient.connected(endpoint, level=5, clean=False, session_expiry_s=3600)
        assert b"\x11\x00\x00\x00\x3c" in client.connack
        brief = await RawClient.connected(endpoint, "brief", 5, clean=True)
        brief.send(client_bytes.disconnect(5, Disconnect(0, 100)))  # 0 cannot become more
        assert (await brief.packet(DISCONNECT))[0] == 0x82


# ------------------------------------------------------------------------------------------- credentials

SECRET = hash_password("right", n=16)


async def test_passwords_are_verified_and_remembered() -> None:
    credentials = (
        Credential(username="u1", password_hash=SECRET),
        Credential(username="u2", password_env="U2_PASSWORD"),
    )
    options = {"anonymous": False, "credentials": credentials, "environment": {"U2_PASSWORD": "env"}}
    async with serving(FakeIntake(), **options) as endpoint:
        for name, password in (("u1", b"right"), ("u1", b"right"), ("u2", b"env")):
            await RawClient.connected(endpoint, name, username=name, password=password)
        wrong = (("u1", b"wrong"), ("u2", b"wrong"), ("nobody", b"right"), ("u1", None), (None, None))
        for name, password in wrong:
            for level, answers in ((4, (4, 5)), (5, (0x86, 0x87))):
                client = await RawClient.open(endpoint)
                client.send(client_bytes.simple_connect("x", level, username=name, password=password))
                # what follows a CONNECT at once must not be read before the answer
                client.publish(b"1,2", 1, level=level)
                assert (await client.packet(CONNACK))[1] == answers[name is None]
        assert endpoint.stats.credentials_refused == 10
        assert endpoint.stats.messages == 0


async def test_what_follows_connect_at_once_waits_for_the_password() -> None:
    intake = FakeIntake()
    credential = Credential(username="u", password_hash=SECRET)
    async with serving(intake, anonymous=False, credentials=(credential,)) as endpoint:
        client = await RawClient.open(endpoint)
        client.send(client_bytes.simple_connect("t1", username="u", password=b"right"))
        client.publish(b"1,2", 1)
        assert (await client.packet(CONNACK))[1] == 0
        assert await client.acks(1) == [1]


async def test_a_bound_credential_speaks_for_its_own_device_only() -> None:
    intake = FakeIntake()
    bound = {
        "anonymous": False,
        "credentials": (
            Credential(username="a", password_hash=SECRET, device_id="A"),
            Credential(username="b", password_hash=SECRET, device_id="B"),
            Credential(username="free", password_hash=SECRET),
        ),
        "command_topics": ("{device_id}/commands", "{client_id}/commands"),
    }
    async with serving(intake, **bound) as endpoint:
        a = await RawClient.connected(endpoint, "one", username="a", password=b"right")
        a.publish(b"1,2", 1, topic="t/A/pos")
        a.publish(b"3,4", 2, topic="own")
        a.publish(b"5,6", 3, topic="t/B/pos")
        a.publish(b"B,7,8", 4, topic="own")
        assert await a.acks(4) == [1, 2, 3, 4]
        assert [received.device_id for received in intake.received] == ["A"] * 4
        assert intake.reasons() == [
            "the credential belongs to A, the topic to B",
            "the credential belongs to A, the payload to B",
        ]
        assert intake.payloads[3] == b"B,7,8"
        assert endpoint.stats.alien_payloads == 1
        # the same client id under another credential is another client, and hears nothing of A
        b = await RawClient.connected(endpoint, "one", username="b", password=b"right")
        free = await RawClient.connected(endpoint, "A", username="free", password=b"right")
        assert endpoint.stats.taken_over == 0
        for client, granted in ((b, 0x80), (free, 1)):
            client.send(client_bytes.subscribe(4, Subscribe(1, (("A/commands", 1),))))
            assert (await client.packet(SUBACK))[2] == granted
        assert await endpoint.deliver("A", "A/commands", b"for A") is False
        a.send(client_bytes.subscribe(4, Subscribe(1, (("A/commands", 1),))))
        assert (await a.packet(SUBACK))[2] == 1
        endpoint.deliver("A", "A/commands", b"for A")
        assert (await a.packet(PUBLISH)).endswith(b"for A")
        assert await b.silent()
        assert await free.silent()


async def test_credentials_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_text(f'[[credentials]]\nusername = "u"\npassword_hash = "{SECRET}"\ndevice_id = "A"\n')
    intake = FakeIntake()
    async with serving(intake, anonymous=False, credentials_file=str(path)) as endpoint:
        client = await RawClient.connected(endpoint, username="u", password=b"right")
        client.publish(b"1,2", 1, topic="own")
        await client.acks(1)
        assert intake.received[0].device_id == "A"
    path.write_text('[[credentials]]\nuser = "u"\n')
    with pytest.raises(BadInput, match=r"devices\.toml.*user"):
        MqttEndpoint(EndpointOptions(credentials_file=str(path), routes=ROUTES), FakeIntake())


def test_hashes_are_salted_and_slow_by_default() -> None:
    assert hash_password("x", n=16) != hash_password("x", n=16)
    assert hash_password("x").startswith("scrypt$16384$8$1$")
    assert "right" not in SECRET


# ------------------------------------------------------------------------------------------- options

BAD = {
    "anonymous": {"anonymous": True, "listen": "0.0.0.0:1883"},
    "listen": {"anonymous": True, "listen": "1883"},
    "credentials": {},
    "credentials[0]": {"credentials": (Credential(username="a"),)},
    "credentials[0].password_hash": {"credentials": (Credential(username="a", password_hash="secret"),)},
    "credentials[0].password_env": {"credentials": (Credential(username="a", password_env="NOT_SET"),)},
    "credentials[1].username": {"credentials": (Credential(username="a", password_hash=SECRET),) * 2},
    "credentials_file": {"credentials_file": "/does/not/exist.toml"},
    "tls.cert": {"anonymous": True, "tls": TlsOptions(cert="/no/cert.pem", key="/no/key.pem")},
    "max_pending_messages": {"anonymous": True, "max_pending_messages": 256},
    "reference_time": {"anonymous": True, "reference_time": "yesterday"},
    "routes": {"anonymous": True},
    "command_topics[0]": {"anonymous": True, "command_topics": ("commands/#",)},
    "routes[0].protocol": {"anonymous": True, "routes": [{"filter": "a", "protocol": "nonsense"}]},
}


@pytest.mark.parametrize("key", BAD)
async def test_bad_options_are_refused_with_key_and_fix(key: str) -> None:
    import msgspec

    options = msgspec.convert(msgspec.to_builtins(BAD[key]), EndpointOptions)
    with pytest.raises(BadInput) as refused:
        MqttEndpoint(options, FakeIntake(), environment={})
    assert f"sources.endpoint.{key}" in [problem.where for problem in refused.value.problems]
    assert all(problem.fix for problem in refused.value.problems)


async def test_a_port_that_is_taken_is_said_with_its_key() -> None:
    async with serving(FakeIntake()) as endpoint:
        other = MqttEndpoint(
            EndpointOptions(listen=f"127.0.0.1:{endpoint.port}", anonymous=True, routes=ROUTES), FakeIntake()
        )
        with pytest.raises(BadInput, match=r"sources\.endpoint\.listen: cannot listen"):
            await other.start()


# ------------------------------------------------------------------------------------------- the end


@both
async def test_a_graceful_stop_acknowledges_what_is_committed_and_says_goodbye(level: int) -> None:
    intake = FakeIntake(hold=True)
    async with serving(intake) as endpoint:
        running = asyncio.create_task(endpoint.run())
        client = await RawClient.connected(endpoint, level=level, will=WILL)
        client.publish(b"1,2", 1, level=level)
        await until(lambda: bool(intake.received))
        port = endpoint.port
        stopping = asyncio.create_task(endpoint.stop())
        await settled()
        client.publish(b"3,4", 2, level=level)  # too late: neither journaled nor acknowledged
        await settled()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
        assert await client.silent()
        intake.commit()
        assert await client.acks(1) == [1]
        said = await client.ended()
        assert said[2:3] == b"\x8b" if level == 5 else said == b""
        await asyncio.wait_for(stopping, 5)
        await asyncio.wait_for(running, 5)
        assert intake.payloads == [b"1,2"]  # and no will: the device did nothing wrong


async def test_a_stop_does_not_wait_for_ever_for_a_full_disk() -> None:
    intake = FakeIntake(hold=True)
    async with serving(intake, stop_timeout_s=0.2) as endpoint:
        client = await RawClient.connected(endpoint)
        client.publish(b"1,2", 1)
        await until(lambda: bool(intake.received))
        running = asyncio.create_task(endpoint.run())
        await asyncio.sleep(0)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(running, 5)
        assert await client.ended() == b""
        assert endpoint.stats.acknowledged == 0


async def test_two_thousand_trackers_come_at_once() -> None:
    intake = FakeIntake()
    async with serving(intake, connects_per_s=10_000, connect_burst=5_000) as endpoint:

        async def tracker(number: int) -> None:
            client = await RawClient.open(endpoint)
            client.send(client_bytes.simple_connect(f"d{number}", 4 + number % 2))
            client.publish(b"1,2", 1, topic=f"t/d{number}/pos", level=4 + number % 2)
            body = await client.packet(CONNACK)
            assert body[1] == 0
            assert await client.packet(PUBACK) == b"\0\1"
            clients.append(client)

        clients: list[RawClient] = []
        await asyncio.gather(*(tracker(number) for number in range(2_000)))
        assert endpoint.stats.connections == 2_000
        assert {received.device_id for received in intake.received} == {f"d{number}" for number in range(2_000)}
        for client in clients:
            client.abort()
        await until(lambda: endpoint.stats.connections == 0)
        assert endpoint.stats.sessions == 0
