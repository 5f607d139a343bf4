"""The client of a fleet's own broker: subscribes, journals, and acknowledges only what is on disk.

Why nothing that the broker acknowledged to a tracker is lost on the way here:

* the client id is fixed and the session persistent, so the broker keeps what comes while the gateway is away;
* a message is acknowledged once the journal's commit that holds it is done, in the order of arrival, and what was not
  acknowledged comes again after a reconnect (the journal removes what is double);
* nothing that was read is discarded, whatever its QoS: while the intake is full nothing is taken, and when the inbox is
  long nothing is read, so the broker keeps the rest. (The receive window alone does not bound the inbox: Mosquitto 2.0
  sends all of a backlog once its oldest message is acknowledged, whatever the window, its issue 2301.)

Of a protocol whose messages span payloads (NMEA epochs) a payload counts as taken when it was fed to its decoder: a
crash can cost the epoch that was still open, per topic.

The broker must be told to keep a backlog. For Mosquitto: `max_queued_messages 0` (its default drops all beyond 1,000),
`max_inflight_messages 1000`, `persistence true`, `set_tcp_nodelay true`, and `message_size_limit`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import aiomqtt
from msgspec import Meta, Struct
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.journal import Intake
from gateway.model import Received
from gateway.problems import BadInput, Problem
from gateway.sources.backoff import Backoff
from gateway.sources.stats import SourceStats
from gateway.sources.topics import Router, TopicRoute, route_problems
from gateway.times import parse_rfc3339

log = logging.getLogger(__name__)
paho_log = logging.getLogger(f"{__name__}.paho")
paho_log.setLevel(logging.CRITICAL)  # what it logs as an error comes as an exception, too

IDLE_EVERY_S = 0.1
STABLE_S = 10.0
"""A connection that lasted this long was a success: the next failure starts with a short wait again."""
TAKEN_AT_ONCE = 500
READ_AT_ONCE = 100
INBOX_LONG = 2000
"""Messages read and not yet taken, from which on nothing more is read from the socket."""
REFUSED = 0x80
"""Reason codes of a SUBACK from here on say no."""

_Pending: TypeAlias = "asyncio.Queue[tuple[asyncio.Future[int] | None, list[int]]]"


class MqttClientOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[sources.mqtt]]`: one broker. `client_id` is required: it is what the broker keeps the backlog under, so it must
    stay the same over restarts and be used by nobody else.

    `protocol` "5" costs twice the CPU per message (paho builds the properties of each), and lets the gateway say how many
    messages may be on their way unacknowledged (`window`) and how long the broker keeps its backlog
    (`session_expiry_s`); with 3.1.1 the broker's configuration decides. `password_env` names the environment variable
    that holds the password. `tls_insecure`: check neither the broker's certificate nor its name.
    `reference_time` (RFC 3339): for recordings played through a broker, dates what the messages leave open.
    """

    host: str
    client_id: str
    routes: tuple[TopicRoute, ...]
    name: str = "mqtt"
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    protocol: Literal["5", "3.1.1"] = "3.1.1"
    username: str | None = None
    password_env: str | None = None
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    tls_insecure: bool = False
    window: Annotated[int, Meta(ge=1, le=65535)] = 1000
    session_expiry_s: Annotated[int, Meta(ge=0, le=0xFFFFFFFF)] = 7 * 86_400
    keepalive_s: Annotated[int, Meta(ge=5, le=65535)] = 30
    max_payload_bytes: Annotated[int, Meta(ge=1)] = 256 * 1024
    reconnect_first_s: Annotated[float, Meta(gt=0)] = 0.5
    reconnect_max_s: Annotated[float, Meta(gt=0)] = 30.0
    reference_time: str | None = None


def problems(options: MqttClientOptions, where: str) -> list[Problem]:
    """What is wrong with a configured broker before anybody connects to it."""
    found = route_problems(options.routes, f"{where}.routes")
    if not options.routes:
        found.append(Problem(f"{where}.routes", "no topic is routed", "add a route with filter and protocol"))
    if not options.client_id:
        found.append(Problem(f"{where}.client_id", "is empty", "give this gateway a fixed client id of its own"))
    if options.password_env and options.password_env not in os.environ:
        what = f"the environment has no {options.password_env}"
        found.append(Problem(f"{where}.password_env", what, "set it to the broker's password before starting"))
    if options.password_env and options.username is None:
        found.append(Problem(f"{where}.username", "a password without a user name", "add the user name"))
    for key in ("ca_file", "cert_file", "key_file"):
        name = getattr(options, key)
        if name is not None and not options.tls:
            found.append(Problem(f"{where}.{key}", "is set, but tls is off", "add tls = true"))
        elif name is not None and not Path(name).is_file():
            found.append(Problem(f"{where}.{key}", f"{name} is no file", "name a PEM file that exists"))
    if options.reference_time is not None:
        try:
            parse_rfc3339(options.reference_time)
        except ValueError as error:
            found.append(Problem(f"{where}.reference_time", str(error), "write it as 2026-11-22T10:00:00Z"))
    return found


class MqttStats(SourceStats, kw_only=True):
    """`acknowledged`: messages of QoS 1 whose commit is done."""

    messages: int = 0
    acknowledged: int = 0


class _Client(aiomqtt.Client):
    """aiomqtt's client, acknowledging by hand, read in handfuls, and holding the broker back while its inbox is long.

    One object serves one connection. What it reaches into is aiomqtt 2's; the pin of the dependency says so.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._paused = False
        # Before connecting: messages of the kept session arrive together with the CONNACK, and what arrives before
        # this is set is acknowledged on arrival. aiomqtt 2 hands through no setting of its own for it.
        self._client.manual_ack_set(True)

    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except BaseException:
            self._client.disconnect()  # closes what an attempt that timed out left open; aiomqtt forgets that socket
            raise

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036 - handed on as they are
        try:
            await super().__aexit__(*error)
        finally:
            self._client.disconnect()  # aiomqtt leaves the socket open where reading raised

    def _on_socket_open(self, client: Any, userdata: Any, sock: Any) -> None:
        super()._on_socket_open(client, userdata, sock)
        self._loop.call_soon_threadsafe(self._loop.add_reader, sock.fileno(), self._read)  # in place of aiomqtt's

    def _read(self) -> None:
        """As many packets as are there, within reason. A long inbox is bounded by not reading: TCP tells the broker."""
        try:
            for _ in range(READ_AT_ONCE):
                waiting = self._queue.qsize()
                self._client.loop_read()
                if self._queue.qsize() == waiting and not self._decrypted():
                    break
        except Exception as error:
            if not self._disconnected.done():
                self._disconnected.set_exception(error)
            self._stop_reading()
        if self._queue.qsize() >= INBOX_LONG:
            self._stop_reading()
        elif self._decrypted() and not self._paused:
            self._loop.call_soon(self._read)

    def _decrypted(self) -> bool:
        """Whether TLS holds bytes that were read already: they do not make the socket readable."""
        sock = self._client.socket()
        return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0

    def _stop_reading(self) -> None:
        if (sock := self._client.socket()) is not None:
            self._loop.remove_reader(sock.fileno())
            self._paused = True

    def _read_on(self) -> None:
        if (sock := self._client.socket()) is not None:
            self._loop.add_reader(sock.fileno(), self._read)
            self._loop.call_soon(self._read)
            self._paused = False

    async def take(self) -> list[aiomqtt.Message]:
        """Wait for a message, then take what else is there; MqttError once all is taken and the connection is gone."""
        taken = [] if self._queue.qsize() else [await anext(self.messages)]
        while self._queue.qsize() and len(taken) < TAKEN_AT_ONCE:
            taken.append(self._queue.get_nowait())
        if self._paused and self._queue.qsize() < INBOX_LONG // 2 and not self._disconnected.done():
            self._read_on()
        return taken

    def acknowledge(self, message_id: int) -> None:
        self._client.ack(message_id, 1)


def _tls_context(options: MqttClientOptions) -> ssl.SSLContext:
    """Read anew for each connection, so a renewed certificate is picked up. Raises OSError."""
    context = ssl.create_default_context(cafile=options.ca_file)
    if options.cert_file:
        context.load_cert_chain(options.cert_file, options.key_file)
    if options.tls_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _stop_if_cancelled() -> None:
    """A cancellation is lost where it meets the success of what Python 3.11's `wait_for`, in aiomqtt, waits for."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class MqttClientSource:
    """Reads one broker until cancelled. Raises BadInput for options that are wrong."""

    def __init__(self, options: MqttClientOptions, intake: Intake, *, now_ms: Callable[[], int] = _now_ms) -> None:
        if found := problems(options, f"sources.mqtt {options.name!r}"):
            raise BadInput(found)
        self.options = options
        self.stats = MqttStats()
        self.trouble: str | None = "not connected yet"
        reference = options.reference_time
        self.router = Router(
            options.routes,
            max_payload_bytes=options.max_payload_bytes,
            reference_ms=None if reference is None else parse_rfc3339(reference),
        )
        self._intake = intake
        self._now_ms = now_ms
        self._connections = 0

    async def run(self) -> None:
        """Connect, take, acknowledge; reconnect for ever."""
        backoff = Backoff(self.options.reconnect_first_s, self.options.reconnect_max_s)
        try:
            while True:
                started_s = time.monotonic()
                try:
                    await self._session()
                except (aiomqtt.MqttError, OSError) as error:
                    self._lost(error)
                _stop_if_cancelled()
                if time.monotonic() - started_s > STABLE_S:
                    backoff.reset()
                await asyncio.sleep(backoff.wait_s())
        finally:
            self.stats.connected = 0
            self._submit(self.router.end(self._now_ms()))

    async def _session(self) -> None:
        """One connection, until it is lost: then MqttError or OSError."""
        context = await asyncio.to_thread(_tls_context, self.options) if self.options.tls else None
        try:
            async with self._client(context) as client:
                _stop_if_cancelled()
                await self._work(client)
        finally:
            self.stats.connected = 0

    async def _work(self, client: _Client) -> None:
        """Taking goes on while the subscription is under way: a backlog may arrive ahead of its answer, and fill the
        inbox. (Not a TaskGroup: Python 3.11's loses a cancellation that meets an error.)
        """
        pending: _Pending = asyncio.Queue()
        work = [self._take(client, pending), self._acknowledge(client, pending), self._subscribe(client)]
        if self.router.spans_payloads:
            work.append(self._idle())
        tasks = [asyncio.create_task(each) for each in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _client(self, context: ssl.SSLContext | None) -> _Client:
        options = self.options
        session: dict[str, Any] = {"protocol": aiomqtt.ProtocolVersion.V311, "clean_session": False}
        if options.protocol == "5":
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = options.session_expiry_s
            properties.ReceiveMaximum = options.window
            session = {"protocol": aiomqtt.ProtocolVersion.V5, "clean_start": False, "properties": properties}
        return _Client(
            options.host,
            options.port or (8883 if options.tls else 1883),
            identifier=options.client_id,
            username=options.username,
            password=os.environ.get(options.password_env) if options.password_env else None,
            keepalive=options.keepalive_s,
            tls_context=context,
            logger=paho_log,
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
            **session,
        )

    async def _subscribe(self, client: _Client) -> None:
        """On every connection: the broker may have lost the session. MQTT 5 has it send what it retains once only."""
        filters = self.router.filters
        codes: Any
        if self.options.protocol == "5":
            wish = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
            codes = await client.subscribe([(each, wish) for each in filters])
        else:
            codes = await client.subscribe([(each, 1) for each in filters])
        for each, code in zip(filters, codes, strict=False):
            granted = getattr(code, "value", code)  # a plain number before MQTT 5
            if granted >= REFUSED:
                raise ConnectionError(f"the broker refuses the subscription to {each}: {code}")
            if granted == 0:
                log.warning("%s: the broker grants %s at QoS 0 only: it may lose messages", self.options.name, each)
        self._found()

    def _found(self) -> None:
        self.stats.connected = 1
        self.stats.reconnects += self._connections > 0
        self._connections += 1
        self.trouble = None
        log.info("%s: connected to the broker %s", self.options.name, self.options.host)

    def _lost(self, error: BaseException) -> None:
        """Said once per cause: a wrong password does not fill the log."""
        cause = error.__cause__ or error  # aiomqtt names the place, and keeps the reason as the cause
        reason = str(cause) or type(cause).__name__
        if reason != self.trouble:
            log.warning(
                "%s: no connection to the broker %s: %s; trying again", self.options.name, self.options.host, reason
            )
        self.trouble = reason

    async def _take(self, client: _Client, pending: _Pending) -> None:
        while True:
            if self._intake.full:
                await self._intake.room()
            messages = await client.take()
            received_ms = self._now_ms()
            for message in messages:
                self._handle(message, received_ms, pending)
            self.stats.last_received_ms = received_ms
            await asyncio.sleep(0)  # a full inbox must not keep the others from their turn

    def _handle(self, message: aiomqtt.Message, received_ms: int, pending: _Pending) -> None:
        payload = message.payload
        self.stats.messages += 1
        self.stats.received_bytes += len(payload)
        received = self.router.receive(message.topic.value, payload, message.retain, received_ms, self.options.name)
        futures = list(dict.fromkeys(self._submit(received)))
        if message.qos == 0:
            return
        for future in futures[:-1]:
            pending.put_nowait((future, []))
        pending.put_nowait((futures[-1] if futures else None, [message.mid]))

    def _submit(self, received: list[Received]) -> list[asyncio.Future[int]]:
        self.stats.count(received)
        return [self._intake.submit(each) for each in received]

    async def _acknowledge(self, client: _Client, pending: _Pending) -> None:
        """In the order of arrival, as MQTT asks; a batch's messages share a future, so most waits return at once."""
        while True:
            future, message_ids = await pending.get()
            if future is not None:
                if not future.done():
                    await asyncio.wait({future})
                if future.cancelled() or future.exception() is not None:
                    raise ConnectionError("the journal did not take a message; the broker will send it again")
            for message_id in message_ids:
                client.acknowledge(message_id)
            self.stats.acknowledged += len(message_ids)

    async def _idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_EVERY_S)
            self._submit(self.router.idle(self._now_ms()))
