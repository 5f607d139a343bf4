"""Placeholder."""

from msgspec import Struct


class Live(Struct):
    due_ms: int = 0
    progress_m: float | None = None
