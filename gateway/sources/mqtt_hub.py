"""What the connections of one ingest endpoint share: options, counters, sessions, and the way into the journal."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING

import msgspec

from gateway.model import Frame, Malformed, Received, Reply
from gateway.sources.mqtt_access import ConnectRate, Gatekeeper
from gateway.sources.mqtt_options import EndpointOptions, EndpointStats
from gateway.sources.mqtt_session import Sessions
from gateway.sources.topics import Router

if TYPE_CHECKING:
    from gateway.journal import Intake
    from gateway.sources.mqtt_connection import Connection

LINGER_S = 5.0
"""How long a closed connection may take to accept what was written to it."""


class Hub:
    """`quiet` is set while no connection that was closed still has bytes to get rid of."""

    def __init__(
        self,
        options: EndpointOptions,
        intake: Intake,
        router: Router,
        gatekeeper: Gatekeeper,
        now_ms: Callable[[], int],
    ) -> None:
        self.options = options
        self.intake = intake
        self.router = router
        self.gatekeeper = gatekeeper
        self.now_ms = now_ms
        self.stats = EndpointStats()
        self.sessions = Sessions(options, self.stats)
        self.connections: set[Connection] = set()
        self.closing: dict[Connection, float] = {}
        self.quiet = asyncio.Event()
        self.quiet.set()
        self.stopping = False
        self._rate = ConnectRate(options.connects_per_s, options.connect_burst)
        self._waiting: OrderedDict[Connection, None] = OrderedDict()
        self._letting_on: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------- connections

    def admits(self, address: str, now_s: float) -> bool:
        """Whether one more connection is taken, from this address."""
        if not self._rate.allows(address, now_s):
            self.stats.rate_refused += 1
            return False
        if len(self.connections) + len(self.closing) >= self.options.max_connections:
            self.stats.connections_refused += 1
            return False
        return True

    def joined(self, connection: Connection) -> None:
        self.stats.accepted += 1
        self.connections.add(connection)
        self.stats.connections = len(self.connections)

    def left(self, connection: Connection) -> None:
        self.waits_no_more(connection)
        self.connections.discard(connection)
        self.stats.connections = len(self.connections)

    def closes(self, connection: Connection, deadline_s: float) -> None:
        self.closing[connection] = deadline_s
        self.quiet.clear()

    def closed(self, connection: Connection) -> None:
        self.closing.pop(connection, None)
        if not self.closing:
            self.quiet.set()

    # ------------------------------------------------------------------------------- messages

    def keep(
        self, topic: str, payload: bytes, retained: bool, client_id: str, bound: str | None
    ) -> asyncio.Future[int] | None:
        """Hand a message to the journal; `bound` is the device that the sender's credential belongs to.

        The future is done once all of it is on disk; None where a stream's decoder only took it in.
        """
        now_ms = self.now_ms()
        said = self.router.receive(topic, payload, retained, now_ms, self.options.name, client_id, bound)
        if bound is not None:
            said = [self._owned(bound, received) if received.topic == topic else received for received in said]
        self.stats.last_received_ms = now_ms
        return self.submit(said)

    def submit(self, said: Sequence[Received]) -> asyncio.Future[int] | None:
        """Hand over what was decoded; the future of its last frame, which is done when all of them are on disk."""
        self.stats.count(said)
        future = None
        for received in said:
            future = self.intake.submit(received)
        return future

    def _owned(self, bound: str, received: Received) -> Received:
        """The frame, or its way into quarantine where its payload speaks for a device that is not the credential's."""
        for message in received.frame.messages:
            if not isinstance(message, Reply) and message.device_id not in {None, bound}:
                self.stats.alien_payloads += 1
                reason = f"the credential belongs to {bound}, the payload to {message.device_id}"
                frame = Frame(raw=received.frame.raw, messages=(Malformed(reason=reason, device_id=bound),))
                return msgspec.structs.replace(received, frame=frame)
        return received

    # ------------------------------------------------------------------------------- waiting for the disk

    def wait_for_room(self, connection: Connection) -> None:
        """The intake is full: the connection goes on in its turn, once there is room."""
        self._waiting[connection] = None
        if self._letting_on is None or self._letting_on.done():
            self._letting_on = self.start(self._let_on())

    def waits(self, connection: Connection) -> bool:
        return connection in self._waiting

    def waits_no_more(self, connection: Connection) -> None:
        self._waiting.pop(connection, None)

    async def _let_on(self) -> None:
        while self._waiting:
            await self.intake.room()
            while self._waiting and not self.intake.full:
                next(iter(self._waiting)).go_on()

    # ------------------------------------------------------------------------------- tasks

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """A task that is kept until it is done, or the endpoint stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
