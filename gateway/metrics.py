"""What Prometheus may ask. Figures are read when it asks; nothing is counted twice, and no device is a label."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from gateway.app import Gateway

PREFIX = "gateway"
GAUGES = {"connected", "opened", "connections", "in_flight", "sessions"}
"""Figures of sources and sinks that go up and down; the others only rise."""
LEFT_OUT = {"trouble", "low_water_seq", "position_entry", "event_seq"}


def new_registry() -> CollectorRegistry:
    """A registry with the process's own figures."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


class GatewayCollector(Collector):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def collect(self) -> Iterator[Metric]:
        yield from self._accounting()
        yield from self._progress()
        yield from self._intake()
        yield from _of_parts("source", {n: s.stats for n, s in self._gateway.sources.items()})
        yield from _of_parts("sink", {n: s.stats for n, s in self._gateway.sinks.items()})

    def _accounting(self) -> Iterator[Metric]:
        total = self._gateway.journal.totals
        help_text = "Records by what became of them: received = journaled + duplicate + quarantined + state_only."
        records = CounterMetricFamily(f"{PREFIX}_records", help_text, labels=["fate"])
        for name in ("received", "journaled", "duplicate", "quarantined", "state_only"):
            records.add_metric([name], getattr(total, name))
        yield records

    def _intake(self) -> Iterator[Metric]:
        intake, journal = self._gateway.intake, self._gateway.journal
        for name, value, help_text in (
            ("intake_queued_messages", intake.queued_messages, "Messages that wait for the disk."),
            ("intake_queued_bytes", intake.queued_bytes, "Raw bytes that wait for the disk."),
            ("journal_size_bytes", journal.size_bytes, "What the journal holds; free pages and its log not counted."),
        ):
            yield GaugeMetricFamily(f"{PREFIX}_{name}", help_text, value)
        for name, value, help_text in (
            ("batches", intake.stats.batches, "Batches that are on the disk."),
            ("messages", intake.stats.messages, "Messages that are on the disk."),
            ("retries", intake.stats.retries, "Commits that failed for the disk and were tried again."),
            ("set_apart", intake.stats.set_apart, "Arrivals that broke a commit and went to quarantine alone."),
        ):
            yield CounterMetricFamily(f"{PREFIX}_intake_{name}", help_text, value)

    def _progress(self) -> Iterator[Metric]:
        g = self._gateway
        lag = GaugeMetricFamily(f"{PREFIX}_engine_lag_entries", "Entries that the engine has still to take.")
        lag.add_metric([], g.journal.last_entry_id - g.runner.entry_id)
        yield lag
        errors = CounterMetricFamily(f"{PREFIX}_engine_errors", "Entries that the engine failed on: mistakes of ours.")
        errors.add_metric([], g.runner.errors)
        yield errors
        backlog = GaugeMetricFamily(f"{PREFIX}_sink_backlog", "What a sink has still to deliver.", labels=["sink"])
        for name, behind in g.backlog().items():
            backlog.add_metric([name], behind)
        yield backlog
        trouble = GaugeMetricFamily(
            f"{PREFIX}_trouble", "1 where a part is in trouble; /readyz says why.", labels=["part"]
        )
        for part, why in g.readiness().items():
            trouble.add_metric([part], 0 if why is None else 1)
        yield trouble


def _of_parts(kind: str, parts: dict[str, msgspec.Struct]) -> Iterator[Metric]:
    """Every number that a source or sink counts, by its field's name, one series a part."""
    families: dict[str, Metric] = {}
    for part, stats in parts.items():
        for field in msgspec.structs.fields(stats):
            value = getattr(stats, field.name)
            if field.name in LEFT_OUT or not isinstance(value, int | float):
                continue
            gauge = field.name in GAUGES or field.name.endswith(("_ms", "_s", "_baud"))
            family = families.setdefault(field.name, _family(kind, field.name, gauge=gauge))
            family.add_metric([part], value)  # type: ignore[attr-defined]  # both families have it, their base has not
    yield from families.values()


def _family(kind: str, name: str, *, gauge: bool) -> Metric:
    make = GaugeMetricFamily if gauge else CounterMetricFamily
    return make(f"{PREFIX}_{kind}_{name}", f"{name.replace('_', ' ')}, by {kind}".capitalize() + ".", labels=[kind])
