"""What a source counts about itself; /metrics reads it. Plain numbers, never per device."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from gateway.model import Malformed, Received


class SourceStats(Struct, kw_only=True):
    """`reconnects` counts connections made after the first one; `connected` is 1 or 0."""

    connected: int = 0
    reconnects: int = 0
    received_bytes: int = 0
    frames: int = 0
    malformed: int = 0
    last_received_ms: int = 0

    def count(self, received: Iterable[Received]) -> None:
        for each in received:
            self.frames += 1
            self.malformed += any(isinstance(message, Malformed) for message in each.frame.messages)
