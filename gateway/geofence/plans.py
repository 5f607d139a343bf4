"""Plans from JSON, with the zones of their stops checked as strictly as fences are."""

from __future__ import annotations

from collections.abc import Callable

from gateway import documents
from gateway.geofence.coordinates import Findings, polygon_of
from gateway.model import Plan


def read_plans(data: bytes, where: str, known_vehicle: Callable[[str], bool] = lambda _: True) -> list[Plan]:
    """`gateway.documents.read_plans`, and BadInput as well for a stop's zone that is no proper polygon."""
    plans = documents.read_plans(data, where, known_vehicle)
    problems = Findings(where)
    for i, plan in enumerate(plans):
        for k, stop in enumerate(plan.stops):
            if stop.zone:
                at = f"plans[{i}].stops[{k}].zone.coordinates"
                polygon_of([[list(point) for point in ring] for ring in stop.zone], at, problems)
    problems.refuse()
    return plans
