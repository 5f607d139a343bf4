"""The ingest endpoint: trackers connect to the gateway itself, over MQTT 3.1.1 or 5.

It is no broker: it routes nothing between clients. What a tracker publishes is journaled, and PUBACK means "on disk".
What it may subscribe to is its own command topic. Beyond that, on purpose:

* QoS 2 is not spoken. MQTT 5 is told so (Maximum QoS 1) and closed with 0x9B when it tries; 3.1.1 has no word for it and
  is closed. A will of QoS 2 is kept all the same in 3.1.1, where nobody has to agree on it, and refused in 5.
* A retained message is state (`Received.retained`), and nothing is kept to be sent to subscribers.
* A will is journaled when the connection ends without DISCONNECT 0x00; its delay is taken as 0. Not when the gateway stops.
* A message that cannot be read, or names a device that its credential does not own, goes to quarantine and is
  acknowledged: sent again it would be no better, and those behind it would never come.
* A payload that a stream's decoder only took in (NMEA epochs span payloads) is acknowledged with its predecessor: a crash
  can cost the epoch that was still open, per topic.
* A client id belongs to its credential. A second connection of the same one takes over; another credential's does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from gateway.problems import BadInput, Problem
from gateway.sources.mqtt_access import Gatekeeper, hash_password, tls_context
from gateway.sources.mqtt_connection import Connection
from gateway.sources.mqtt_hub import LINGER_S, Hub
from gateway.sources.mqtt_options import (
    Credential,
    EndpointOptions,
    EndpointStats,
    TlsOptions,
    is_loopback,
    option_problems,
    split_address,
)
from gateway.sources.topics import Router, TopicRoute, route_problems
from gateway.times import parse_rfc3339

if TYPE_CHECKING:
    from gateway.journal import Intake

__all__ = [
    "Credential",
    "EndpointOptions",
    "EndpointStats",
    "MqttEndpoint",
    "TlsOptions",
    "TopicRoute",
    "hash_password",
]

log = logging.getLogger(__name__)

BACKLOG = 4096
TICK_S = 0.25
CHECKS_EVERY_S = 1.0
SPARE_DESCRIPTORS = 256
"""Open files of the rest of the gateway."""


def problems(
    options: EndpointOptions, where: str = "sources.endpoint", environment: Mapping[str, str] = os.environ
) -> list[Problem]:
    """Everything that is wrong with a configured endpoint, before it listens; `where` is its table's name."""
    found = option_problems(options, where) + route_problems(options.routes, f"{where}.routes", knows_client_id=True)
    if not options.routes:
        found.append(Problem(f"{where}.routes", "no topic is routed", "add a route with filter and protocol"))
    try:
        Gatekeeper(options, where, environment)
    except BadInput as error:
        found += error.problems
    try:
        if options.tls is not None:
            tls_context(options.tls, f"{where}.tls")
    except BadInput as error:
        found += error.problems
    return found


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _allow_descriptors(wanted: int) -> None:
    """A connection is an open file, and many systems allow a process 1,024 of them until it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning("only %d open files are allowed (ulimit -n), too few for all of max_connections", allowed)


class MqttEndpoint:
    """Raises BadInput for options that cannot be meant; `where` is their table's name in those words.

    `run` serves until it is cancelled or `stop` is called. Who needs to know the port calls `start` before.
    """

    def __init__(
        self,
        options: EndpointOptions,
        intake: Intake,
        now_ms: Callable[[], int] = _wall_ms,
        *,
        where: str = "sources.endpoint",
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        if found := problems(options, where, environment):
            raise BadInput(found)
        self._options = options
        self._where = where
        self._tls = None if options.tls is None else tls_context(options.tls, f"{where}.tls")
        router = Router(
            options.routes,
            where=f"{where}.routes",
            knows_client_id=True,
            max_payload_bytes=options.max_packet_bytes,
            reference_ms=None if options.reference_time is None else parse_rfc3339(options.reference_time),
        )
        self._hub = Hub(options, intake, router, Gatekeeper(options, where, environment), now_ms)
        self._servers: list[asyncio.Server] = []
        self._ticking: asyncio.Task[None] | None = None
        self._stopping = False
        self._stopped = asyncio.Event()

    @property
    def stats(self) -> EndpointStats:
        return self._hub.stats

    @property
    def port(self) -> int:
        """The port of the first address, once it listens."""
        return int(self._servers[0].sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen. Raises BadInput where an address cannot be had."""
        loop = asyncio.get_running_loop()
        _allow_descriptors(self._options.max_connections + SPARE_DESCRIPTORS)
        for address in self._options.addresses:
            host, port = split_address(address)
            if self._tls is None and not is_loopback(host):
                log.warning("%s: trackers send their passwords in the clear; set %s.tls", address, self._where)
            try:
                self._servers.append(await self._listen(host, port))
            except OSError as error:
                self._close_servers()
                what = f"cannot listen on {address}: {error.strerror or error}"
                fix = "stop what listens there (often mosquitto), or choose another port"
                raise BadInput([Problem(f"{self._where}.listen", what, fix)]) from error
            log.info("%s listens on %s%s", self._options.name, address, "" if self._tls is None else " with TLS")
        self.stats.connected = 1
        self._ticking = loop.create_task(self._tick())

    async def _listen(self, host: str, port: int) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(
            lambda: Connection(self._hub),
            host,
            port,
            backlog=BACKLOG,
            ssl=self._tls,
            # asyncio refuses to be told how patient to be with TLS where there is none
            ssl_handshake_timeout=self._options.connect_timeout_s if self._tls else None,
            ssl_shutdown_timeout=LINGER_S if self._tls else None,
        )

    async def run(self) -> None:
        if not self._servers and not self._stopping:
            await self.start()
        try:
            await self._stopped.wait()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Take nothing more, acknowledge what is committed within `stop_timeout_s`, say goodbye. The intake must run."""
        if self._stopping:
            await self._stopped.wait()
            return
        self._stopping = True
        self._close_servers()
        if self._ticking is not None:
            self._ticking.cancel()
        hub = self._hub
        hub.stopping = True
        commits = {future for connection in hub.connections for future in connection.commits()}
        last = hub.submit(hub.router.end(hub.now_ms()))
        commits |= set() if last is None else {last}
        if commits:
            await asyncio.wait(commits, timeout=self._options.stop_timeout_s)
        for connection in list(hub.connections):
            connection.stop()
        hub.cancel_tasks()
        hub.sessions.end()
        hub.gatekeeper.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await hub.quiet.wait()
        for connection in list(hub.closing):
            connection.abort()
        self.stats.connected = 0
        self._stopped.set()

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()

    def deliver(self, device_id: str, topic: str, payload: bytes) -> asyncio.Future[bool]:
        """Send a command to a device that subscribed to `topic`, now or when it is back. The future is True once the
        device has acknowledged it (at QoS 0: once it is sent), False when it will never come: no such session, or its
        bounds are reached, or it ended. Cancelling the future does not take the command back.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        session = self._hub.sessions.of_device(device_id, topic)
        qos = None if session is None else session.granted(topic)
        if session is None or qos is None or not session.push(topic, payload, qos, done):
            self.stats.commands_refused += 1
            done.set_result(False)
        elif session.holder is not None:
            session.holder.send_queued()
        return done

    async def _tick(self) -> None:
        """Silence: of streams (an epoch closes), of clients, of absent devices."""
        loop, hub = asyncio.get_running_loop(), self._hub
        checked_s = loop.time()
        while True:
            await asyncio.sleep(TICK_S)
            if hub.router.has_streams:
                hub.submit(hub.router.idle(hub.now_ms()))
            now_s = loop.time()
            if now_s - checked_s < CHECKS_EVERY_S:
                continue
            checked_s = now_s
            for connection in list(hub.connections):
                connection.check_time(now_s)
            for connection in [each for each, deadline_s in hub.closing.items() if deadline_s < now_s]:
                connection.abort()
            hub.sessions.expire(now_s)
