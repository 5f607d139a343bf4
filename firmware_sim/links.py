"""How records leave a tracker: over MQTT, kept until acknowledged, or over a serial line, once and for good or ill."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from msgspec import Struct

from firmware_sim.mqtt import Session, connect_packet
from firmware_sim.serial_line import SerialLine
from firmware_sim.world import Tracker

CONNECT_S = 10.0
ACKNOWLEDGE_S = 15.0
KEEPALIVE_S = 60
RETRY_S = (0.3, 10.0)


class Broker(Struct, frozen=True):
    host: str
    port: int
    username: str | None = None
    password: str | None = None


class MqttLink:
    """One tracker's own connection: `run` is its task; `look` tells it that time has passed."""

    def __init__(self, tracker: Tracker, broker: Broker, seed: int) -> None:
        assert tracker.device.topic is not None
        self.tracker = tracker
        self.published = 0
        self.resent = 0
        self.reconnects = 0
        self.trouble: str | None = None
        """Why the last attempt failed; None while all is well."""
        self._topic = tracker.device.topic
        self._broker = broker
        self._dice = random.Random(f"{seed}/{tracker.vehicle_id}/link")
        self._session: Session | None = None
        self._online = asyncio.Event()
        self._work = asyncio.Event()

    def look(self, now_ms: int) -> None:
        """The network may have come or gone, and there may be something to send."""
        if self.tracker.online(now_ms):
            self._online.set()
            if len(self.tracker.firmware.store):
                self._work.set()
        elif self._online.is_set():
            self._online.clear()
            if self._session is not None:
                self._session.cut()

    @property
    def pending(self) -> bool:
        """Has it records to send, and a network to send them over?"""
        return self._online.is_set() and len(self.tracker.firmware.store) > 0

    async def run(self) -> None:
        """Connect, send, wait for the answer, and begin again whenever the link breaks. Until cancelled."""
        retry_s = RETRY_S[0]
        try:
            while True:
                await self._online.wait()
                try:
                    self._session = await self._connect()
                    self.trouble, retry_s = None, RETRY_S[0]
                    await self._send(self._session)
                except (OSError, TimeoutError) as e:
                    self.reconnects += 1
                    self.trouble = str(e) or "no answer in time"
                    if self._session is not None:
                        self._session.cut()
                self._session = None
                await asyncio.sleep(retry_s * self._dice.uniform(0.5, 1.0))
                retry_s = min(2 * retry_s, RETRY_S[1])
        finally:
            if self._session is not None:
                self._session.leave()

    async def _connect(self) -> Session:
        broker = self._broker
        hello = connect_packet(self.tracker.device.device_id, KEEPALIVE_S, broker.username, broker.password)
        return await Session.open(broker.host, broker.port, hello, timeout_s=CONNECT_S, on_lost=self._work.set)

    async def _send(self, session: Session) -> None:
        store = self.tracker.firmware.store
        while True:
            if session.closed:
                raise ConnectionResetError("the link is down")
            records = store.take()
            if not records:
                await self._next_work(session)
                continue
            try:
                self.published += len(records)
                await session.publish(self._topic, self.tracker.firmware.packet(records), ACKNOWLEDGE_S)
            except BaseException:
                self.published -= len(records)
                self.resent += len(records)
                store.returned()
                raise
            store.acknowledged()

    async def _next_work(self, session: Session) -> None:
        """Sleep until there is something to send; stay alive meanwhile."""
        self._work.clear()
        try:
            async with asyncio.timeout(KEEPALIVE_S / 2):
                await self._work.wait()
        except TimeoutError:
            session.ping()


class SerialFeed:
    """A receiver on a serial line: every record is written at once; what does not fit is lost, and counted."""

    def __init__(self, tracker: Tracker, line: SerialLine) -> None:
        self.tracker = tracker
        self.line = line
        self.written = 0
        self.lost = 0

    def look(self, now_ms: int) -> None:  # noqa: ARG002 - a wire has no outages of its own
        firmware = self.tracker.firmware
        while records := firmware.store.take():
            if self.line.write(firmware.packet(records)):
                self.written += len(records)
            else:
                self.lost += len(records)
            firmware.store.acknowledged()


Link = MqttLink | SerialFeed


async def drained(links: Sequence[Link], within_s: float) -> None:
    """Wait until nothing that could be sent is waiting, but no longer than `within_s`."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + within_s
    while loop.time() < end_s and any(isinstance(link, MqttLink) and link.pending for link in links):
        await asyncio.sleep(0.05)
