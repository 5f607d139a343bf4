"""What the HTTP side may ask of the running gateway; the application hands it over, tests build their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from prometheus_client import CollectorRegistry

from gateway.engine import Engine
from gateway.journal import Intake, Journal, Registry, Watch
from gateway.web.options import WebOptions

T = TypeVar("T")


class Ask(Protocol):
    def __call__(self, question: Callable[[Engine], T]) -> Awaitable[T]:
        """An answer from the engine, between two of its steps."""


@dataclass(slots=True)
class WebState:
    journal: Journal
    intake: Intake
    registry: Registry
    concluded: Watch
    ask: Ask
    source: str
    now_ms: Callable[[], int]
    options: WebOptions = field(default_factory=WebOptions)
    readiness: Callable[[], Mapping[str, str | None]] = dict
    """Part → what troubles it, None when all is well. Ready means: intake takes and keeps positions."""
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)
    streams: int = 0
    streams_refused: int = 0
