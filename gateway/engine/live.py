"""What is predicted for a vehicle, and was said about it: a matter of reception, outside the rewind."""

from __future__ import annotations

from msgspec import Struct, field

from gateway.eta import Progress


class Said(Struct):
    """What dispatch was told of one stop's ETA."""

    p50_ms: int | None = None
    method: str = ""
    told_ms: int = 0
    updates: int = 0
    late_side: bool = False
    risk_since_ms: int | None = None
    late_since_ms: int | None = None
    calm_since_ms: int | None = None
    warned: str | None = None
    """The warning in force: at_risk or late."""
    warnings: int = 0
    """How many spells of warnings dispatch heard of; numbers their keys."""
    spell: tuple[str, ...] = ()
    """The warnings of this spell: each once."""
    kept: str | None = None
    """The newest of them, while its stop is too far ahead to be named."""
    given: bool = False
    """Did dispatch hear of this spell?"""
    peak_delay_s: float = 0.0


class Sample(Struct, frozen=True, array_like=True):
    """A prediction kept until the stop is reached, to learn from its error."""

    predicted_ms: int
    ahead_s: float
    between: int


class Live(Struct):
    plan_id: str | None = None
    progress: Progress = field(default_factory=Progress)
    pass_m: float | None = None
    """Where the pass that is being measured began, and when."""
    pass_ms: int = 0
    passed: list[str] = field(default_factory=list)
    """Stops that the vehicle drove past, unserved."""
    at_stop: str | None = None
    stationary_ms: int = 0
    stops: dict[str, Said] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    due_ms: int | None = None
    """When its ETAs are looked at next."""
    unavailable_since_ms: int | None = None
