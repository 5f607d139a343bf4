"""Everything the engine remembers of one vehicle, as plain data: its snapshot is this, in msgpack."""

from __future__ import annotations

from msgspec import Struct, field

from gateway.engine.history import History
from gateway.engine.live import Live
from gateway.engine.silence import Rhythm
from gateway.model import Position


class Vehicle(Struct):
    vehicle_id: str
    device_id: str | None = None
    position: Position | None = None
    """The newest fix that drove the vehicle, as it came."""
    received_ms: int = 0
    history: History = field(default_factory=History)
    rhythm: Rhythm = field(default_factory=Rhythm)
    live: Live = field(default_factory=Live)
    """What is predicted and was said about it: outside the rewind."""
