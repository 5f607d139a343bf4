"""What the HTTP side may ask of the running gateway; the application hands it over, tests build their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from prometheus_client import CollectorRegistry

from gateway.engine import Engine
from gateway.journal import Counts, Intake, Journal, Registry, Watch
from gateway.web.errors import NotNow
from gateway.web.options import WebOptions

T = TypeVar("T")


class Ask(Protocol):
    def __call__(self, question: Callable[[Engine], T]) -> Awaitable[T]:
        """An answer from the engine, between two of its steps."""


@dataclass(slots=True)
class Streams:
    """The places for readers of the live stream."""

    places: int
    open: int = 0
    refused: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server stops: streams have no end of their own."""

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places, for as long as the block lasts. Raises NotNow when all are taken."""
        if self.open >= self.places:
            self.refused += 1
            raise NotNow(f"{self.open} streams are open, no more are served")
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


@dataclass(slots=True)
class WebState:
    journal: Journal
    intake: Intake
    registry: Registry
    concluded: Watch
    ask: Ask
    readmit: Callable[[str], Awaitable[Counts]]
    """Takes what lies in quarantine of a device in again, as it decodes today."""
    source: str
    now_ms: Callable[[], int]
    options: WebOptions = field(default_factory=WebOptions)
    readiness: Callable[[], Mapping[str, str | None]] = dict
    """Part → what troubles it, None when all is well. Ready means: intake takes and keeps positions."""
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)
    streams: Streams = field(init=False)

    def __post_init__(self) -> None:
        self.streams = Streams(self.options.streams_max)
