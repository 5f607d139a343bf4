"""One tracker's connection to the ingest endpoint.

Work is done in `data_received` without awaiting: every packet that is there is read, its frames are handed to the
intake, and its packet identifier waits, in a group, for the future of the commit that will hold it. The journal commits
in batches whose futures are shared, so one commit costs a connection one callback and one write of PUBACKs.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import deque
from enum import Enum
from typing import cast

from msgspec import Struct

from gateway.sources import mqtt_wire as wire
from gateway.sources.mqtt_access import Identity, common_name
from gateway.sources.mqtt_hub import LINGER_S, Hub
from gateway.sources.mqtt_packets import (
    Announced,
    Connect,
    Disconnect,
    Fault,
    Packet,
    PingReq,
    PubAck,
    Publish,
    Reason,
    Subscribe,
    Unsubscribe,
)
from gateway.sources.mqtt_session import MAX_SUBSCRIPTIONS, Session
from gateway.sources.mqtt_wire import Reader

MAX_CLIENT_ID_CHARS = 128
COMMANDS_IN_FLIGHT = 16
_COUNTERS = {
    Reason.PACKET_TOO_LARGE: "oversized",
    Reason.QOS_NOT_SUPPORTED: "qos2_refused",
    Reason.RECEIVE_MAXIMUM_EXCEEDED: "receive_maximum_exceeded",
    Reason.UNSUPPORTED_VERSION: "versions_refused",
    Reason.BAD_CREDENTIALS: "credentials_refused",
    Reason.NOT_AUTHORIZED: "credentials_refused",
    Reason.BAD_AUTHENTICATION_METHOD: "credentials_refused",
    Reason.SERVER_BUSY: "busy_refused",
    Reason.KEEP_ALIVE_TIMEOUT: "keep_alive_timeouts",
}
"""What counts a connection that the server ended; what is not here is a protocol error."""


class _State(Enum):
    NEW = "waits for CONNECT"
    CHECKING = "its password is being verified"
    OPEN = "open"
    OVER = "over"


class _Group(Struct):
    """Messages whose commit is told by one future; `packet_ids` are those of QoS 1."""

    future: asyncio.Future[int]
    packet_ids: list[int]
    messages: int = 0


class Connection(asyncio.Protocol):
    """Reads a client, and answers it. It ends in `_end`, whoever ends it."""

    _transport: asyncio.Transport

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._options = hub.options
        self._stats = hub.stats
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(hub.options.max_packet_bytes, hub.options.alias_maximum)
        self._state = _State.NEW
        self._reading = True
        self._heard_s = self._loop.time()
        self._connect = Connect(level=4, client_id="", clean=True, keep_alive_s=0)
        self._identity = Identity()
        self._client_id = ""
        self._session: Session | None = None
        self._will = False
        self._expiry_s = 0
        self._groups: deque[_Group] = deque()
        self._pending = 0
        self._unacknowledged = 0
        self._acks: list[int] = []

    # ------------------------------------------------------------------------------- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if not self._hub.admits(str(peer[0]) if peer else "", self._loop.time()):
            self._state = _State.OVER
            self._transport.abort()
            return
        endpoint = transport.get_extra_info("socket")
        if endpoint is not None:  # a tracker without keep alive that lost its radio must not stay for ever
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._hub.joined(self)

    def data_received(self, data: bytes) -> None:
        if self._state is _State.OVER:
            return
        if self._state is not _State.NEW:  # a CONNECT that comes byte by byte must come in time all the same
            self._heard_s = self._loop.time()
        self._stats.received_bytes += len(data)
        self._reader.feed(data)
        if self._reading:
            self._work()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # how it was lost makes no difference
        self._leave()
        self._hub.closed(self)

    def go_on(self) -> None:
        """Read on: there is room in the intake, or this connection's own commits are done."""
        self._hub.waits_no_more(self)
        if self._pending > self._options.max_pending_messages // 2:
            return  # a commit of its own will call
        self._heard_s = self._loop.time()
        self._work()

    def check_time(self, now_s: float) -> None:
        """Called about once a second: a client that is silent too long is let go."""
        silent_s = now_s - self._heard_s
        if self._state is _State.NEW:
            if silent_s > self._options.connect_timeout_s:
                self._stats.connect_timeouts += 1
                self._close()
        elif self._state is _State.OPEN and self._reading and 0 < 1.5 * self._connect.keep_alive_s < silent_s:
            self._refuse(Reason.KEEP_ALIVE_TIMEOUT, "nothing came for 1.5 times the keep alive")

    # ------------------------------------------------------------------------------- reading

    def _work(self) -> None:
        """Handle what was read, until that is used up, or the client has to wait, or it is over."""
        while self._state is _State.OPEN or self._state is _State.NEW:
            if self._reader.publish_is_next and self._must_wait():
                break
            packet = self._reader.next()
            if packet is None:
                self._read(True)
                break
            self._handle(packet)
        self._send_acks()

    def _must_wait(self) -> bool:
        """Whether the disk is behind; reading stops then, and what was read already stays in the reader.

        Only messages wait: a client that has nothing to say gets its PINGRESP however full the disk is.
        """
        full = self._hub.intake.full
        if not full and not self._hub.stopping and self._pending < self._options.max_pending_messages:
            return False
        if self._reading:
            self._stats.paused += 1
        self._read(False)
        if full:
            self._hub.wait_for_room(self)
        return True

    def _read(self, on: bool) -> None:
        if on is self._reading:
            return
        self._reading = on
        if on:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _handle(self, packet: Packet | Fault) -> None:
        match packet:
            case Publish():
                self._published(packet)
            case PubAck():
                self._command_acknowledged(packet)
            case PingReq():
                self._write(wire.PINGRESP)
            case Subscribe():
                self._subscribe(packet)
            case Unsubscribe():
                self._unsubscribe(packet)
            case Connect():
                self._connected(packet)
            case Disconnect():
                self._disconnected(packet)
            case Fault():
                self._refuse(packet.reason, packet.text)

    # ------------------------------------------------------------------------------- CONNECT

    def _connected(self, connect: Connect) -> None:
        self._connect = connect
        self._client_id = connect.client_id or f"assigned-{secrets.token_hex(8)}"
        if connect.authentication_method is not None:
            return self._refuse(Reason.BAD_AUTHENTICATION_METHOD, "user name and password only")
        if connect.level == 4 and not connect.client_id and not connect.clean:
            return self._refuse(Reason.CLIENT_ID_INVALID, "a session needs a client id")
        if len(self._client_id) > MAX_CLIENT_ID_CHARS:
            return self._refuse(Reason.CLIENT_ID_INVALID, f"more than {MAX_CLIENT_ID_CHARS} characters")
        if connect.level == 5 and connect.will is not None and connect.will.qos == 2:
            return self._refuse(Reason.QOS_NOT_SUPPORTED, "a will of QoS 2")
        certificate = common_name(self._transport.get_extra_info("peercert"))
        answer = self._hub.gatekeeper.at_once(connect.username, connect.password, certificate)
        if answer is not None:
            return self._admit(answer)
        self._state = _State.CHECKING
        self._read(False)
        self._hub.start(self._check(connect.username or "", connect.password or b""))
        return None

    async def _check(self, username: str, password: bytes) -> None:
        answer = await self._hub.gatekeeper.verify(username, password)
        if self._state is _State.CHECKING:
            self._admit(answer)
            self._work()

    def _admit(self, answer: Identity | Reason) -> None:
        if isinstance(answer, Reason):
            return self._refuse(answer, "")
        connect, hub = self._connect, self._hub
        self._identity = answer
        self._will = connect.will is not None
        self._expiry_s = min(connect.session_expiry_s, self._options.session_expiry_s)
        device_id = hub.gatekeeper.device_of(answer, self._client_id)
        key = (answer.owner, self._client_id)
        self._session, present = hub.sessions.open(key, device_id, connect.clean, self, self._loop.time())
        self._state = _State.OPEN
        self._heard_s = self._loop.time()
        announced = Announced(
            receive_maximum=self._options.receive_maximum,
            maximum_packet_bytes=self._options.max_packet_bytes,
            alias_maximum=self._options.alias_maximum,
            session_expiry_s=self._expiry_s if self._expiry_s != connect.session_expiry_s else None,
            assigned_id=None if connect.client_id else self._client_id,
        )
        self._write(wire.connack(connect.level, Reason.SUCCESS, present, announced))
        return self.send_queued()

    # ------------------------------------------------------------------------------- messages in

    def _published(self, message: Publish) -> None:
        if message.qos == 2:
            return self._refuse(Reason.QOS_NOT_SUPPORTED, "QoS 2 is not supported: publish at QoS 1")
        if message.qos and self._connect.level == 5 and self._unacknowledged >= self._options.receive_maximum:
            return self._refuse(Reason.RECEIVE_MAXIMUM_EXCEEDED, "more unacknowledged messages than were agreed on")
        self._stats.messages += 1
        bound = self._identity.device_id
        future = self._hub.keep(message.topic, message.payload, message.retain, self._client_id, bound)
        return self._await_commit(future, message.packet_id)

    def _await_commit(self, future: asyncio.Future[int] | None, packet_id: int) -> None:
        """Acknowledge once the future is done. A message that opened no frame yet (None) has none of its own: it is
        acknowledged with its predecessor, for PUBACKs go out in the order of their PUBLISH.
        """
        group = self._groups[-1] if self._groups else None
        if group is None or (future is not None and future is not group.future):
            if future is None:
                if packet_id:
                    self._acks.append(packet_id)
                return
            group = _Group(future, [])
            self._groups.append(group)
            future.add_done_callback(self._committed)
        group.messages += 1
        self._pending += 1
        if packet_id:
            self._unacknowledged += 1
            group.packet_ids.append(packet_id)

    def _committed(self, future: asyncio.Future[int]) -> None:
        """A commit is on disk: acknowledge all of its messages in one write, and perhaps read on."""
        if future.cancelled() or future.exception() is not None:
            return self._close()  # not acknowledged, so the client will send it again
        while self._groups and self._groups[0].future.done():
            group = self._groups.popleft()
            self._pending -= group.messages
            self._unacknowledged -= len(group.packet_ids)
            self._acks += group.packet_ids
        self._send_acks()
        if not self._reading and self._state is _State.OPEN and not self._hub.waits(self):
            self.go_on()
        return None

    def _send_acks(self) -> None:
        if not self._acks:
            return
        if self._state is _State.OPEN:
            self._stats.acknowledged += len(self._acks)
            self._write(wire.pubacks(self._acks))
        self._acks.clear()

    # ------------------------------------------------------------------------------- commands out

    def _subscribe(self, packet: Subscribe) -> None:
        assert self._session is not None
        own = self._own_topics()
        codes: list[int] = []
        for topic_filter, qos in packet.filters:
            if topic_filter not in own or len(self._session.subscriptions) >= MAX_SUBSCRIPTIONS:
                self._stats.subscriptions_refused += 1
                codes.append(Reason.NOT_AUTHORIZED)
                continue
            self._session.subscriptions[topic_filter] = min(qos, 1)
            codes.append(min(qos, 1))
        self._write(wire.suback(self._connect.level, packet.packet_id, codes))

    def _unsubscribe(self, packet: Unsubscribe) -> None:
        assert self._session is not None
        had = [self._session.subscriptions.pop(name, None) is not None for name in packet.filters]
        codes = [Reason.SUCCESS if each else Reason.NO_SUBSCRIPTION_EXISTED for each in had]
        self._write(wire.unsuback(self._connect.level, packet.packet_id, codes))

    def _own_topics(self) -> set[str]:
        """The command topics with this client's names in them; a name that would widen one is no name."""
        names = {
            "{client_id}": self._client_id,
            "{device_id}": self._identity.device_id or self._client_id,
            "{username}": self._identity.username or "",
        }
        own: set[str] = set()
        for template in self._options.command_topics:
            used = {placeholder: name for placeholder, name in names.items() if placeholder in template}
            if any(not name or set(name) & set("/+#") for name in used.values()):
                continue
            for placeholder, name in used.items():
                template = template.replace(placeholder, name)
            own.add(template)
        return own

    def send_queued(self) -> None:
        """Send the commands that wait in the session, as far as the client's window goes."""
        if self._session is None or self._state is not _State.OPEN:
            return
        connect = self._connect
        for message in self._session.ready(min(connect.receive_maximum, COMMANDS_IN_FLIGHT)):
            if self._state is not _State.OPEN:  # a slow reader was cut off: the session keeps what is left
                break
            data = wire.publish(connect.level, message)
            if connect.maximum_packet_bytes is not None and len(data) > connect.maximum_packet_bytes:
                self._stats.commands_refused += 1
                self._session.acknowledged(message.packet_id, delivered=False)
                continue
            self._write(data)

    def _command_acknowledged(self, packet: PubAck) -> None:
        assert self._session is not None
        accepted = packet.reason < Reason.UNSPECIFIED
        if self._session.acknowledged(packet.packet_id, accepted) and accepted:
            self._stats.commands_delivered += 1
        self.send_queued()

    # ------------------------------------------------------------------------------- the end

    def _disconnected(self, packet: Disconnect) -> None:
        if packet.session_expiry_s is not None:
            if packet.session_expiry_s and not self._connect.session_expiry_s:
                return self._refuse(
                    Reason.PROTOCOL_ERROR, "a session that ends with its connection cannot be prolonged"
                )
            self._expiry_s = min(packet.session_expiry_s, self._options.session_expiry_s)
        self._will = self._will and packet.reason != Reason.SUCCESS
        return self._close()

    def _refuse(self, reason: Reason, text: str) -> None:
        """End the connection for a reason that is counted and, where the version has words for it, said."""
        counter = _COUNTERS.get(reason, "protocol_errors")
        setattr(self._stats, counter, getattr(self._stats, counter) + 1)
        self._say_end(reason, text)

    def taken_over(self) -> None:
        self._say_end(Reason.TAKEN_OVER, "another connection has this client id")

    def stop(self) -> None:
        """The endpoint stops, which is no fault of the device: its will is not journaled."""
        self._will = False
        open_now = self._state is _State.OPEN
        self._say_end(Reason.SHUTTING_DOWN if open_now else Reason.SERVER_BUSY, "the gateway stops")

    def commits(self) -> set[asyncio.Future[int]]:
        """What the connection's acknowledgements still wait for."""
        return {group.future for group in self._groups}

    def _say_end(self, reason: Reason, text: str) -> None:
        level = self._reader.level
        if self._state is _State.OPEN:
            self._send_acks()
            self._write(wire.disconnect(level, reason, text))
        elif level:
            self._write(wire.connack(level, reason))
        self._close()

    def _write(self, data: bytes) -> None:
        if self._state is _State.OVER or not data:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > self._options.max_write_buffer_bytes:
            self._stats.slow_readers += 1
            self._leave()
            self._transport.abort()

    def _close(self) -> None:
        if self._state is _State.OVER:
            return
        self._leave()
        self._hub.closes(self, self._loop.time() + LINGER_S)
        self._transport.close()

    def abort(self) -> None:
        self._leave()
        self._transport.abort()

    def _leave(self) -> None:
        """Hand back what the endpoint holds for this connection; its will is journaled unless it said goodbye."""
        if self._state is _State.OVER:
            return
        self._state = _State.OVER
        self._groups.clear()
        self._hub.left(self)
        if self._session is not None:
            self._hub.sessions.leave(self._session, self._expiry_s, self._loop.time())
        will = self._connect.will
        if self._will and will is not None:
            self._stats.wills += 1
            self._hub.keep(will.topic, will.payload, will.retain, self._client_id, self._identity.device_id)
