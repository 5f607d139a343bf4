"""What happened between two fixes: when the wheels stopped, and when a point on the way was passed.

A vehicle drives at its own speed and then waits, or waits and then drives; it does not crawl evenly from fix to fix. So a
crossing is placed by the speeds at both ends, which for reports 10–30 s apart is worth several seconds over a straight
interpolation.
"""

from __future__ import annotations

SLOW_MPS = 1.5
BRAKING_MPS2 = 2.0


def passing_s(
    along_m: float, length_m: float, duration_s: float, from_mps: float | None, to_mps: float | None
) -> float:
    """When `along_m` of the `length_m` between two fixes was passed, in seconds after the first, 0…`duration_s`."""
    if length_m <= 0 or duration_s <= 0:
        return 0.0
    share = min(1.0, max(0.0, along_m / length_m))
    mean = length_m / duration_s
    halts, starts = to_mps is not None and to_mps < SLOW_MPS, from_mps is not None and from_mps < SLOW_MPS
    if halts and from_mps is not None and not starts:
        cruise = max(from_mps, mean)
        return min(duration_s, share * length_m / cruise + share * cruise / (2 * BRAKING_MPS2))
    if starts and to_mps is not None and not halts:
        cruise, left = max(to_mps, mean), 1 - share
        return max(0.0, duration_s - left * length_m / cruise - left * cruise / (2 * BRAKING_MPS2))
    return share * duration_s


def wheels_stopped_s(length_m: float, duration_s: float, from_mps: float | None) -> float:
    """When a vehicle that moved at the first fix and stands at the second came to a halt, in seconds after the first."""
    if from_mps is None or from_mps < SLOW_MPS:
        return duration_s
    return min(duration_s, length_m / from_mps + from_mps / (2 * BRAKING_MPS2))
