"""Inside or not, as a probability: a fix is a cloud, not a point."""

from __future__ import annotations

from math import erfc, log, sqrt
from typing import Any, overload

import numpy as np

from gateway.geofence.grid import Floats

RADIUS_PER_SIGMA = sqrt(-2.0 * log(1.0 - 0.68))
"""1.5096. Of a round normal error the share 1 - exp(-r² / 2σ²) lies within r; for 68 % of it r is this many σ, where σ is
the standard deviation along any one axis, so also across a boundary."""

_erfc: Any = np.frompyfunc(erfc, 1, 1)


@overload
def p_inside(distance_m: float, accuracy_m: float) -> float: ...
@overload
def p_inside(distance_m: Floats, accuracy_m: Floats | float) -> Floats: ...
def p_inside(distance_m: Any, accuracy_m: Any) -> Any:
    """Probability that the true place is inside, of a fix at a signed distance (negative inside) from the boundary.

    `accuracy_m` > 0 is the radius that holds the truth with 68 %. The boundary is taken as straight, which flatters a zone
    smaller than the error: ask only of fixes whose accuracy is worth the zone. A floats' answer and an array's are equal
    to the bit.
    """
    if isinstance(distance_m, float | int) and isinstance(accuracy_m, float | int):
        return 0.5 * erfc(distance_m * RADIUS_PER_SIGMA / (accuracy_m * sqrt(2.0)))
    scaled = np.asarray(distance_m * RADIUS_PER_SIGMA / (accuracy_m * sqrt(2.0)))
    return 0.5 * _erfc(scaled).astype(np.float64)
