"""Events to dispatch over MQTT: CloudEvents at QoS 1 under `dispatch/v1/{fleet}/{vehicle}/{type}`, never retained.

An event counts as delivered when the broker acknowledged it. While the broker is away the events wait in the journal; an
event whose acknowledgement was lost is published again under the same id.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import ssl
from typing import Literal
from urllib.parse import quote

import aiomqtt
from msgspec import Struct
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway import cloudevents
from gateway.journal import Journal, Stored, Watch
from gateway.sinks.lanes import Lanes

log = logging.getLogger(__name__)

DELAY_MIN_S = 0.5


class DispatchOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[sinks.mqtt]`: the broker that dispatch listens to. The password comes from the environment."""

    host: str
    port: int = 1883
    client_id: str = "telematics-gateway-dispatch"
    protocol: Literal["3.1.1", "5"] = "5"
    prefix: str = "dispatch/v1"
    username: str | None = None
    password_env: str = "DISPATCH_MQTT_PASSWORD"
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    publish_timeout_s: float = 10.0
    retry_max_s: float = 30.0
    parallel: int = 64
    positions: bool = False


def topic_of(prefix: str, fleet: str, vehicle_id: str, event_type: str) -> str:
    """The topic of an event. Ids are percent-encoded, so a vehicle named `a/+` makes one level and no wildcard."""
    return f"{prefix}/{quote(fleet, safe='')}/{quote(vehicle_id, safe='')}/{event_type}"


class DispatchSink:
    def __init__(
        self,
        options: DispatchOptions,
        journal: Journal,
        concluded: Watch,
        source: str,
        fleet: str,
        reader: str = "mqtt",
    ) -> None:
        self.options, self._source, self._fleet = options, source, fleet
        self._lanes = Lanes(
            journal, concluded, reader, self._deliver, parallel=options.parallel, positions=options.positions
        )
        self.stats = self._lanes.stats
        self._client: aiomqtt.Client | None = None
        self._connected = asyncio.Event()
        self._broken = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stay_connected(), name="dispatch-connection")
            group.create_task(self._lanes.run(), name="dispatch-lanes")

    async def _stay_connected(self) -> None:
        delay_s = DELAY_MIN_S
        while True:
            try:
                async with self._new_client() as client:
                    self._client, delay_s = client, DELAY_MIN_S
                    self._broken.clear()
                    self._connected.set()
                    self._recovered()
                    await self._until_broken(client)
            except (aiomqtt.MqttError, OSError) as e:
                self._failed(e)
            finally:
                self._connected.clear()
                self._client = None
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
            delay_s = min(delay_s * 2, self.options.retry_max_s)

    async def _until_broken(self, client: aiomqtt.Client) -> None:
        """Ends when a publish failed or the connection did; the message iterator is how aiomqtt tells the latter."""
        listening = asyncio.create_task(anext(aiter(client.messages), None))
        broken = asyncio.create_task(self._broken.wait())
        try:
            done, _ = await asyncio.wait({listening, broken}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (listening, broken):
                task.cancel()
            await asyncio.gather(listening, broken, return_exceptions=True)

    def _new_client(self) -> aiomqtt.Client:
        o = self.options
        context = None
        if o.tls:
            context = ssl.create_default_context(cafile=o.ca_file)
            if o.cert_file:
                context.load_cert_chain(o.cert_file, o.key_file)
        return aiomqtt.Client(
            o.host,
            o.port,
            identifier=o.client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if o.protocol == "5" else aiomqtt.ProtocolVersion.V311,
            username=o.username,
            password=os.environ.get(o.password_env) if o.username else None,
            tls_context=context,
            timeout=o.publish_timeout_s,
            max_inflight_messages=o.parallel,
            max_concurrent_outgoing_calls=o.parallel,
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
        )

    async def _deliver(self, stored: Stored) -> None:
        event = stored.event
        topic = topic_of(self.options.prefix, self._fleet, event.vehicle_id, event.type)
        body = cloudevents.encode(event, self._source, stored.emitted_ms)
        properties = None
        if self.options.protocol == "5":
            properties = Properties(PacketTypes.PUBLISH)
            properties.ContentType = "application/cloudevents+json"
        while True:
            await self._connected.wait()
            client = self._client
            if client is None:
                continue
            try:
                await client.publish(topic, body, qos=1, properties=properties)
            except aiomqtt.MqttError as e:
                self._failed(e)
                self._connected.clear()
                self._broken.set()
            else:
                return

    def _failed(self, error: Exception) -> None:
        self.stats.failures += 1
        if self.stats.trouble is None:
            log.warning("dispatch broker %s:%d is away: %s; events wait", self.options.host, self.options.port, error)
        self.stats.trouble = str(error) or type(error).__name__

    def _recovered(self) -> None:
        if self.stats.trouble is not None:
            log.info("dispatch broker %s:%d is back", self.options.host, self.options.port)
        self.stats.trouble = None
