"""The running gateway: one journal, what fills it, what reads it, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from gateway.config import Config
from gateway.geofence import read_fences, read_plans
from gateway.journal import DiskTrouble, Intake, Journal, Registry, Retained, Watch
from gateway.metrics import GatewayCollector, new_registry
from gateway.model import Assignment, Command, DevicePut, FencesPut, PlanPut
from gateway.problems import BadInput, Problem
from gateway.readmission import Readmission
from gateway.runner import EngineRunner
from gateway.sinks.dispatch import DispatchSink
from gateway.sinks.influx import InfluxSink
from gateway.sinks.webhook import WebhookSink
from gateway.sources.mqtt_client import MqttClientSource
from gateway.sources.mqtt_endpoint import MqttEndpoint
from gateway.sources.recording import RecordingSource
from gateway.sources.serial_port import SerialSource
from gateway.web.app import create_app
from gateway.web.server import WebServer
from gateway.web.state import WebState

log = logging.getLogger(__name__)

Source: TypeAlias = SerialSource | MqttClientSource | MqttEndpoint | RecordingSource
RETAIN_EVERY_S = 20.0
RETAIN_PAUSE_S = 0.1
SERVING_ENDS_S = 5.0
JOURNAL_NAME = "gateway.journal"


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Gateway:
    """Built from a configuration, inside the event loop that `run` serves in. Raises BadInput for what a person must mend,
    JournalError when the journal cannot be had.
    """

    def __init__(self, config: Config, *, now_ms: Callable[[], int] = wall_ms) -> None:
        self.config, self._now_ms = config, now_ms
        folder = Path(config.gateway.data_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.server = WebServer(config.web)
        self.journal = Journal.open(folder / JOURNAL_NAME, config.journal)
        self.committed, self.concluded = Watch(self.journal.last_entry_id), Watch()
        world = self.journal.world()
        assignments = [c.assignment for c in world if isinstance(c, DevicePut)]
        self.registry = Registry(assignments, config.registry.unknown)
        self.intake = Intake(self.journal, self.registry, config.intake, now_ms=now_ms, committed=self.committed)
        self.runner = EngineRunner(
            self.journal,
            self.intake,
            self.committed,
            self.concluded,
            config.engine,
            now_ms=now_ms,
            snapshot_every_s=config.gateway.snapshot_every_s,
        )
        self.source = f"/gateway/{config.gateway.name}"
        self.sources = self._sources()
        self.sinks = self._sinks()

    def _sources(self) -> dict[str, Source]:
        parts = self.config.sources
        found: dict[str, Source] = {}
        for serial in parts.serial:
            found[f"serial:{serial.name}"] = SerialSource(serial, self.intake, now_ms=self._now_ms)
        for mqtt in parts.mqtt:
            found[f"mqtt:{mqtt.name}"] = MqttClientSource(mqtt, self.intake, now_ms=self._now_ms)
        for recording in parts.recording:
            found[f"recording:{recording.name}"] = RecordingSource(recording, self.intake, now_ms=self._now_ms)
        if parts.endpoint is not None:
            found["endpoint"] = MqttEndpoint(parts.endpoint, self.intake, now_ms=self._now_ms)
        return found

    def _sinks(self) -> dict[str, InfluxSink | DispatchSink | WebhookSink]:
        parts, fleet = self.config.sinks, self.config.gateway.fleet
        found: dict[str, InfluxSink | DispatchSink | WebhookSink] = {}
        if parts.influx is not None:
            found["influx"] = InfluxSink(parts.influx, self.journal, self.committed, self.concluded)
        if parts.mqtt is not None:
            found["mqtt"] = DispatchSink(parts.mqtt, self.journal, self.concluded, self.source, fleet)
        if parts.webhook is not None:
            found["webhook"] = WebhookSink(parts.webhook, self.journal, self.concluded, self.source)
        return found

    async def run(self, stop: asyncio.Event, started: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop` is set, then lose nothing. `started` is called once everything listens."""
        try:
            commands = self.file_commands()
            await self.runner.restore()
            for source in self.sources.values():
                if isinstance(source, MqttEndpoint):
                    await source.start()
            async with asyncio.TaskGroup() as group:
                core = {"intake": group.create_task(self.intake.run(), name="intake")}
                core["engine"] = group.create_task(self.runner.run(), name="engine")
                for command in commands:
                    await self.intake.command(command)
                sinks = [group.create_task(s.run(), name=name) for name, s in self.sinks.items()]
                sinks.append(group.create_task(self._retain(), name="retention"))
                serving = group.create_task(self.server.run(create_app(self.web_state())), name="web")
                sources = [group.create_task(s.run(), name=name) for name, s in self.sources.items()]
                log.info("the gateway runs: %s", ", ".join([*self.sources, *self.sinks, f"web:{self.server.port}"]))
                started()
                await stop.wait()
                log.info("stopping: sources first, then what they brought is brought to its readers")
                await self._stop(sources, core, sinks, serving)
        finally:
            self.server.stop()
            self.journal.close()

    async def _stop(
        self,
        sources: list[asyncio.Task[None]],
        core: Mapping[str, asyncio.Task[None]],
        sinks: list[asyncio.Task[None]],
        serving: asyncio.Task[None],
    ) -> None:
        for source in self.sources.values():
            if isinstance(source, MqttEndpoint):
                await source.stop()
        await _end(sources)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.gateway.drain_s):
                await self.intake.drain()
                while self.runner.entry_id < self.journal.last_entry_id or any(self.backlog().values()):
                    await asyncio.sleep(0.02)
        self.server.stop()
        await asyncio.wait([serving], timeout=SERVING_ENDS_S)  # requests under way still have an engine to ask
        await _end([serving, *sinks])
        await _end([core["engine"], core["intake"]])

    def file_commands(self) -> list[Command]:
        """Devices, plans and fences of the configuration that are not in force yet. Raises BadInput for mistakes."""
        now_ms = self._now_ms()
        world = self.journal.world()
        in_force = {repr(c.assignment) for c in world if isinstance(c, DevicePut)}
        in_force |= {repr(c.plan) for c in world if isinstance(c, PlanPut)}
        in_force |= {repr(f) for c in world if isinstance(c, FencesPut) for f in c.fences}
        listed = [Assignment(device_id=d.device_id, vehicle_id=d.vehicle_id) for d in self.config.registry.devices]
        commands: list[Command] = [DevicePut(now_ms, a) for a in listed if repr(a) not in in_force]
        vehicles = {a.vehicle_id for a in listed}
        for name in self.config.gateway.plans:
            plans = read_plans(_bytes_of(name), name, lambda v: v in vehicles or self._may_be_a_vehicle(v))
            commands += [PlanPut(now_ms, plan) for plan in plans if repr(plan) not in in_force]
        for name in self.config.gateway.fences:
            fences = tuple(f for f in read_fences(_bytes_of(name), name) if repr(f) not in in_force)
            if fences:
                commands.append(FencesPut(now_ms, fences))
        return commands

    def _may_be_a_vehicle(self, vehicle_id: str) -> bool:
        """Where devices register themselves, a plan may come before its vehicle's first word."""
        return self.registry.unknown == "register" or self.registry.knows_vehicle(vehicle_id)

    async def _retain(self) -> None:
        """A share of what must go, now and then; at once again while there is more."""
        while True:
            try:
                retained = await asyncio.to_thread(self.journal.retain, self._now_ms())
            except DiskTrouble as e:
                log.warning("nothing could be removed from the journal: %s", e)
                retained = Retained()
            for reader in retained.gaps:
                log.error("reader %s is too far behind: what it had not read was removed", reader)
            await asyncio.sleep(RETAIN_PAUSE_S if retained.more else RETAIN_EVERY_S)

    def backlog(self) -> dict[str, int]:
        """By sink, how many entries or sequence numbers it still has to deliver."""
        behind: dict[str, int] = {}
        for name, sink in self.sinks.items():
            if isinstance(sink, InfluxSink):
                behind[name] = self.journal.last_entry_id - sink.stats.position_entry
                behind[name] += max(0, self.journal.last_seq - sink.stats.event_seq)
            else:
                behind[name] = max(0, self.journal.last_seq - sink.stats.low_water_seq)
        return behind

    def readiness(self) -> dict[str, str | None]:
        """Part → what is in its way."""
        parts: dict[str, str | None] = {"intake": self.intake.trouble}
        failed = f"failed on {self.runner.errors} entries; the log says how" if self.runner.errors else None
        parts["engine"] = self.runner.trouble or failed
        parts |= {name: sink.stats.trouble for name, sink in self.sinks.items()}
        return parts

    def web_state(self) -> WebState:
        metrics = new_registry()
        metrics.register(GatewayCollector(self))
        return WebState(
            journal=self.journal,
            intake=self.intake,
            registry=self.registry,
            concluded=self.concluded,
            ask=self.runner.ask,
            readmit=Readmission(self.journal, self.intake, self.config.sources).device,
            source=self.source,
            now_ms=self._now_ms,
            options=self.config.web,
            readiness=self.readiness,
            metrics=metrics,
        )


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _bytes_of(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as e:
        raise BadInput([Problem(name, e.strerror or str(e), "name a file that can be read")]) from e
