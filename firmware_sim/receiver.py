"""A GNSS receiver: what it says of where it truly is.

Error: a Gauss–Markov process per axis (each error resembles the one before; after `MEMORY_S` by 1/e), wider with HDOP;
now and then a reflection that pulls the fix 20–60 m aside for up to a minute, which the receiver notices in 60 % of
cases; on the move the error changes faster than at a standstill, where the fix wanders round the vehicle for minutes.
"""

from __future__ import annotations

import math
import random

from msgspec import Struct

from firmware_sim.city import to_geo
from firmware_sim.vehicle import State
from gateway.model import Position

R68_OF_SIGMA = 1.5096
"""Radius that holds 68 % of a round two-dimensional normal error, in sigmas of one axis."""
MEMORY_S = 35.0
STANDING_MEMORY_S = 90.0
NOTICED = 0.6
COURSE_FROM_MPS = 0.8
ALTITUDE_M = 12.0
USUAL_HDOP = 0.95


class Sky(Struct, frozen=True, kw_only=True):
    """How well a receiver sees, and how often a reflection catches it. `sigma_m` is per axis, at the usual HDOP."""

    sigma_m: float
    bursts_per_h: float = 3.0
    cold_s: float = 0.0


class Receiver:
    """One receiver; every number it invents comes from `dice`."""

    def __init__(self, device_id: str, sky: Sky, dice: random.Random) -> None:
        self.device_id = device_id
        self.sky = sky
        self._dice = dice
        self._on_since_ms: int | None = None
        self._last_ms = 0
        self._east = dice.gauss(0, 1)
        self._north = dice.gauss(0, 1)
        self._up = dice.gauss(0, 1)
        self._view = dice.gauss(0, 1)
        self._course_deg = dice.uniform(0, 360)
        self._burst_until_ms = 0
        self._burst_m = (0.0, 0.0)
        self._burst_noticed = False

    def fix(self, truth: State) -> Position:
        """The fix of this moment; call in rising time. Without satellites yet: a position that is not valid."""
        if self._on_since_ms is None:
            self._on_since_ms = self._last_ms = truth.time_ms
        elapsed_s = (truth.time_ms - self._last_ms) / 1000.0
        self._last_ms = truth.time_ms
        self._live(elapsed_s, truth.speed_mps > COURSE_FROM_MPS, truth.time_ms)
        if truth.time_ms - self._on_since_ms < self.sky.cold_s * 1000:
            return Position(
                device_id=self.device_id, time_ms=truth.time_ms, lat_deg=None, lon_deg=None, fix="none", valid=False, satellites=0
            )  # fmt: skip
        reflected = truth.time_ms < self._burst_until_ms
        hdop = max(0.6, USUAL_HDOP * math.exp(0.22 * self._view) * (1.5 if reflected and self._burst_noticed else 1.0))
        sigma_m = self.sky.sigma_m * hdop / USUAL_HDOP
        pull_east_m, pull_north_m = self._burst_m if reflected else (0.0, 0.0)
        lat_deg, lon_deg = to_geo(
            truth.x_m + sigma_m * self._east + pull_east_m, truth.y_m + sigma_m * self._north + pull_north_m
        )
        told_m = math.hypot(*self._burst_m) if reflected and self._burst_noticed else 0.0
        speed_mps, course_deg = self._motion(truth)
        return Position(
            device_id=self.device_id,
            time_ms=truth.time_ms,
            lat_deg=lat_deg,
            lon_deg=lon_deg,
            altitude_m=round(ALTITUDE_M + 1.8 * sigma_m * self._up, 1),
            speed_mps=speed_mps,
            course_deg=course_deg,
            fix="3d",
            satellites=max(4, min(22, round(15.5 - 5.0 * (hdop - USUAL_HDOP)))),
            hdop=round(hdop, 2),
            accuracy_m=round(math.hypot(R68_OF_SIGMA * sigma_m, told_m), 1),
        )

    def _live(self, elapsed_s: float, moving: bool, now_ms: int) -> None:
        memory_s = MEMORY_S if moving else STANDING_MEMORY_S
        self._east = self._drift(self._east, elapsed_s / memory_s)
        self._north = self._drift(self._north, elapsed_s / memory_s)
        self._up = self._drift(self._up, elapsed_s / memory_s)
        self._view = self._drift(self._view, elapsed_s / 240.0)
        if now_ms >= self._burst_until_ms and self._dice.random() < elapsed_s * self.sky.bursts_per_h / 3600.0:
            self._burst_until_ms = now_ms + round(1000 * self._dice.uniform(5, 60))
            away_m, towards = self._dice.uniform(20, 60), self._dice.uniform(0, math.tau)
            self._burst_m = (away_m * math.sin(towards), away_m * math.cos(towards))
            self._burst_noticed = self._dice.random() < NOTICED

    def _drift(self, value: float, share: float) -> float:
        keep = math.exp(-share)
        return keep * value + math.sqrt(1 - keep * keep) * self._dice.gauss(0, 1)

    def _motion(self, truth: State) -> tuple[float, float]:
        """Speed and course from Doppler: good on the move; at a standstill a course means nothing."""
        speed_mps = round(abs(truth.speed_mps + self._dice.gauss(0, 0.15)), 2)
        if truth.speed_mps > COURSE_FROM_MPS:
            self._course_deg = truth.course_deg + self._dice.gauss(0, 1.5)
        else:
            self._course_deg += self._dice.gauss(0, 25)
        return speed_mps, round(self._course_deg % 360.0, 1) % 360.0
