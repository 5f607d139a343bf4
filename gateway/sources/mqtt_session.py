"""MQTT sessions of devices: what outlives a connection is its subscriptions and the commands not yet acknowledged.

Sessions live in memory. After a restart of the gateway a device finds no session present, and subscribes again.
Time is seconds of any steady clock, given by the caller.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Protocol, TypeAlias

from msgspec import Struct

from gateway.sources.mqtt_options import EndpointOptions, EndpointStats
from gateway.sources.mqtt_packets import Publish
from gateway.sources.topics import matches

MAX_SUBSCRIPTIONS = 32
Key: TypeAlias = tuple[str, str]
"""Whose client id (see `mqtt_access.Identity.owner`), and the client id."""


class Holder(Protocol):
    """The connection that a session is attached to."""

    def send_queued(self) -> None: ...
    def taken_over(self) -> None: ...


class _Outgoing(Struct):
    """A command on its way. `packet_id` is 0 until it was sent at QoS 1; `done` says whether the device has it."""

    topic: str
    payload: bytes
    qos: int
    done: asyncio.Future[bool]
    packet_id: int = 0

    @property
    def bytes(self) -> int:
        return len(self.topic) + len(self.payload)

    def settle(self, delivered: bool) -> None:
        if not self.done.done():  # the caller may have cancelled it
            self.done.set_result(delivered)


class Session:
    def __init__(self, key: Key, device_id: str | None, options: EndpointOptions) -> None:
        self.key = key
        self.device_id = device_id
        self.subscriptions: dict[str, int] = {}
        self.holder: Holder | None = None
        self.expires_s = 0.0
        self._max_messages = options.max_queued_messages
        self._max_bytes = options.max_queued_bytes
        self._queue: deque[_Outgoing] = deque()
        self._sent: dict[int, _Outgoing] = {}
        self._kept_bytes = 0
        self._last_id = 0

    def granted(self, topic: str) -> int | None:
        """The QoS at which the device subscribed to a topic, None where it did not."""
        return max((qos for pattern, qos in self.subscriptions.items() if matches(pattern, topic)), default=None)

    def push(self, topic: str, payload: bytes, qos: int, done: asyncio.Future[bool]) -> bool:
        """Queue a command; False where the session's bounds, or QoS 0 to an absent device, forbid it."""
        message = _Outgoing(topic, payload, qos, done)
        too_many = len(self._queue) + len(self._sent) >= self._max_messages
        if too_many or self._kept_bytes + message.bytes > self._max_bytes or (not qos and self.holder is None):
            return False
        self._queue.append(message)
        self._kept_bytes += message.bytes
        return True

    def ready(self, window: int) -> Iterator[Publish]:
        """What is to be sent now, while fewer than `window` QoS 1 messages are unacknowledged. One that was sent
        before is marked as such; one of QoS 0 is done by being sent.
        """
        while self._queue and (len(self._sent) < window or not self._queue[0].qos):
            message = self._queue.popleft()
            again = message.packet_id != 0
            if message.qos:
                message.packet_id = message.packet_id or self._free_id()
                self._sent[message.packet_id] = message
            else:
                self._release(message, delivered=True)
            yield Publish(message.topic, message.payload, message.qos, dup=again, packet_id=message.packet_id)

    def acknowledged(self, packet_id: int, delivered: bool) -> bool:
        """The device's PUBACK; False where nothing of that number was sent."""
        message = self._sent.pop(packet_id, None)
        if message is not None:
            self._release(message, delivered)
        return message is not None

    def left(self) -> None:
        """The connection is gone: what it did not acknowledge is first in the queue again, under its old number."""
        self.holder = None
        self._queue.extendleft(reversed(self._sent.values()))
        self._sent.clear()

    def end(self) -> None:
        """Nothing will be delivered any more."""
        self.left()
        for message in self._queue:
            message.settle(delivered=False)
        self._queue.clear()

    def _release(self, message: _Outgoing, delivered: bool) -> None:
        self._kept_bytes -= message.bytes
        message.settle(delivered)

    def _free_id(self) -> int:
        taken = self._sent.keys() | {message.packet_id for message in self._queue}
        while True:
            self._last_id = self._last_id % 65_535 + 1
            if self._last_id not in taken:
                return self._last_id


class Sessions:
    """All sessions by key. Those of absent devices are bounded: the one longest absent goes first."""

    def __init__(self, options: EndpointOptions, stats: EndpointStats) -> None:
        self._options = options
        self._stats = stats
        self._sessions: dict[Key, Session] = {}
        self._absent: OrderedDict[Key, Session] = OrderedDict()
        self._of_device: dict[str, dict[Key, Session]] = {}

    def open(self, key: Key, device_id: str | None, clean: bool, holder: Holder, now_s: float) -> tuple[Session, bool]:
        """The session of a client that connects, and whether it was present. Whoever holds it is taken over first."""
        session = self._sessions.get(key)
        if session is not None and session.holder is not None:
            self._stats.taken_over += 1
            session.holder.taken_over()
            session = self._sessions.get(key)
        if session is not None and (clean or session.expires_s <= now_s):
            self._remove(session)
            session = None
        present = session is not None
        if session is None:
            session = self._sessions[key] = Session(key, device_id, self._options)
            if device_id is not None:
                self._of_device.setdefault(device_id, {})[key] = session
        self._absent.pop(key, None)
        session.holder = holder
        self._count()
        return session, present

    def leave(self, session: Session, expiry_s: int, now_s: float) -> None:
        """The connection is gone; the session stays for `expiry_s`."""
        session.left()
        if not expiry_s:
            self._remove(session)
            return
        session.expires_s = now_s + expiry_s
        self._absent[session.key] = session
        if len(self._absent) > self._options.max_sessions:
            self._stats.sessions_evicted += 1
            self._remove(next(iter(self._absent.values())))

    def expire(self, now_s: float) -> None:
        """End the sessions whose time is over."""
        over = [session for session in self._absent.values() if session.expires_s <= now_s]
        self._stats.sessions_expired += len(over)
        for session in over:
            self._remove(session)

    def of_device(self, device_id: str, topic: str) -> Session | None:
        """The device's session that subscribed to the topic: one that is connected, else the youngest."""
        found: Session | None = None
        for session in self._of_device.get(device_id, {}).values():
            if session.granted(topic) is not None and (found is None or found.holder is None):
                found = session
        return found

    def end(self) -> None:
        for session in list(self._sessions.values()):
            self._remove(session)

    def _remove(self, session: Session) -> None:
        session.end()
        del self._sessions[session.key]
        self._absent.pop(session.key, None)
        if session.device_id is not None:
            siblings = self._of_device[session.device_id]
            del siblings[session.key]
            if not siblings:
                del self._of_device[session.device_id]
        self._count()

    def _count(self) -> None:
        self._stats.sessions = len(self._sessions)
