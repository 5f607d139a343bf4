"""The engine: what positions, plans and zones add up to. Pure: no clock, no I/O, no randomness."""

from gateway.engine.engine import Engine
from gateway.engine.options import EngineOptions
from gateway.engine.views import NextStop, VehicleView

__all__ = ["Engine", "EngineOptions", "NextStop", "VehicleView"]
