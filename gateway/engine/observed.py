"""What a vehicle's fixes add up to: a function of the fixes in order of their time, and of nothing else.

`Observed` is plain data: a checkpoint is its msgpack bytes, and a rewind decodes one and advances it again.
"""

from __future__ import annotations

from msgspec import Struct, field

from gateway.engine.fixes import Fix
from gateway.engine.motion import Stand


class Crossing(Struct, frozen=True, array_like=True):
    """When a boundary was crossed, and between which bounds that is known."""

    time_ms: int
    min_ms: int
    max_ms: int


class Leaving(Struct):
    """A vehicle seen outside, not yet believed. `far_ms`: since when it is beyond the exit boundary, and moving."""

    crossing: Crossing
    far_ms: int | None = None


class Order(Struct, frozen=True):
    """What an arrival said of the order of stops, and the coverage it closed: undone if the arrival is taken back."""

    skipped: tuple[str, ...]
    """Stops before it that it turned from open to missed or unknown."""
    expected: str | None
    """Where the vehicle should have been instead; None: it came in order."""
    blind_ms: int
    known_ms: int


class Visit(Struct):
    """A vehicle in the zone of a stop. Counts as an arrival only once `arrived`."""

    entered: Crossing
    first_ms: int
    last_ms: int
    path_m: float = 0.0
    stand_first_ms: int | None = None
    inside_m: float = 0.0
    """Mean signed distance to the boundary over the present stand's fixes, weighted by their accuracy."""
    weight: float = 0.0
    still_ms: int = 0
    """When it was last seen to stand here."""
    stationary_ms: int | None = None
    """When the wheels stopped, of the halt that made it an arrival."""
    arrived: bool = False
    leaving: Leaving | None = None
    found: str = "open"
    """The stop's state before the arrival."""
    order: Order | None = None


class StopSeen(Struct):
    """One stop of the vehicle's plan: `visits` counts confirmed ones only."""

    visits: int = 0
    state: str = "open"
    """open, at, served, missed, unknown"""
    visit: Visit | None = None


class FenceSeen(Struct):
    """One generic zone in which the vehicle is, or which it may be entering."""

    inside: bool = False
    visit: int = 0
    entered_ms: int | None = None
    pending: Crossing | None = None
    """The crossing that is not yet believed: into the zone, or out of it when `inside`."""
    initial: bool = False
    """The pending crossing is none: the vehicle was there when the zone, or the vehicle, came to be known."""
    first_ms: int = 0
    sure: bool = False
    """A fix beyond the boundary left no doubt."""
    stand_first_ms: int | None = None
    """The halt during which this zone was last entered or left: drift within one halt changes it once at most."""


class Observed(Struct):
    last: Fix | None = None
    suspect: Fix | None = None
    """A fix that the vehicle could not have reached; believed once a second one agrees."""
    stand: Stand | None = None
    plan_id: str | None = None
    plan_open: bool = False
    stops: dict[str, StopSeen] = field(default_factory=dict)
    fences: dict[str, FenceSeen] = field(default_factory=dict)
    fence_visits: dict[str, int] = field(default_factory=dict)
    blind_ms: int = 0
    """Of the time since `known_ms`, how much no fix covered."""
    known_ms: int = 0
