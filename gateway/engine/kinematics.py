"""What happened between two fixes: when the wheels stopped, and when a point on the way was passed.

A vehicle drives at its own speed and then waits, or waits and then drives; it does not crawl evenly from fix to fix. So a
crossing is placed by the speeds at both ends, which for reports 10–30 s apart is worth several seconds over a straight
interpolation.
"""

from __future__ import annotations

SLOW_MPS = 1.5
BRAKING_MPS2 = 2.0
USUAL_MPS = 8.0
"""The least that a vehicle is taken to drive at between two halts: towns average this between their lights."""
SHORT_REST_S = 20.0
"""Time that the drive does not explain was a halt at one end, up to this; of more, half was lost on the way."""


def passing_s(
    along_m: float, length_m: float, duration_s: float, from_mps: float | None, to_mps: float | None
) -> float:
    """When `along_m` of the `length_m` between two fixes was passed, in seconds after the first, 0…`duration_s`."""
    if length_m <= 0 or duration_s <= 0:
        return 0.0
    share = min(1.0, max(0.0, along_m / length_m))
    mean = length_m / duration_s
    halts, starts = to_mps is not None and to_mps < SLOW_MPS, from_mps is not None and from_mps < SLOW_MPS
    if halts and starts:
        drive_s = length_m / max(USUAL_MPS, mean)
        return (duration_s - drive_s) / 2 + share * drive_s
    if halts and from_mps is not None:
        cruise = max(from_mps, mean)
        drive_s = length_m / cruise + cruise / (2 * BRAKING_MPS2)
        return min(duration_s, share * (drive_s + _lost_s(duration_s - drive_s)))
    if starts and to_mps is not None:
        cruise = max(to_mps, mean)
        drive_s = length_m / cruise + cruise / (2 * BRAKING_MPS2)
        return max(0.0, duration_s - (1 - share) * (drive_s + _lost_s(duration_s - drive_s)))
    return share * duration_s


def wheels_stopped_s(length_m: float, duration_s: float, from_mps: float | None) -> float:
    """When a vehicle that stands at the second fix came to a halt, in seconds after the first."""
    if from_mps is None:
        return duration_s
    if from_mps < SLOW_MPS:
        return duration_s - max(0.0, duration_s - length_m / USUAL_MPS) / 2
    drive_s = length_m / from_mps + from_mps / (2 * BRAKING_MPS2)
    return min(duration_s, drive_s + _lost_s(duration_s - drive_s))


def _lost_s(rest_s: float) -> float:
    return max(0.0, rest_s - SHORT_REST_S) / 2
