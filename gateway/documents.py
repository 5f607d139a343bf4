"""Positions and plans as JSON, for files and the API; their JSON Schemas come from the structs here.

python -m gateway.documents docs      writes docs/{position,plan,event}.schema.json
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gateway import geo
from gateway.cloudevents import CloudEvent
from gateway.model import Plan, Position, Scalar, Stop
from gateway.problems import BadInput, Problem, position_problems
from gateway.times import parse_rfc3339, rfc3339

MAX_STOPS = 2_000
MAX_PATH_POINTS = 200_000
SWAPPED_WITHIN_M = 20_000.0
"""A stop this near to its path only once its latitude and longitude are exchanged was written the wrong way round."""


class PositionDocument(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A position as the gateway tells it; absent or null means not known."""

    device_id: str
    time: str | None
    lat_deg: float | None
    lon_deg: float | None
    altitude_m: float | None = None
    speed_mps: float | None = None
    course_deg: float | None = None
    fix: str | None = None
    valid: bool
    satellites: int | None = None
    hdop: float | None = None
    accuracy_m: float | None = None
    attributes: dict[str, Scalar] = msgspec.field(default_factory=dict)
    device_time: str | None = None
    received: str | None = None
    marks: tuple[str, ...] = ()


def position_document(position: Position, received_ms: int | None = None) -> PositionDocument:
    p = position
    return PositionDocument(
        device_id=p.device_id,
        time=_rfc3339(p.time_ms),
        lat_deg=p.lat_deg,
        lon_deg=p.lon_deg,
        altitude_m=p.altitude_m,
        speed_mps=p.speed_mps,
        course_deg=p.course_deg,
        fix=p.fix,
        valid=p.valid,
        satellites=p.satellites,
        hdop=p.hdop,
        accuracy_m=p.accuracy_m,
        attributes=p.attributes,
        device_time=_rfc3339(p.device_time_ms),
        received=_rfc3339(received_ms),
        marks=p.marks,
    )


def _rfc3339(time_ms: int | None) -> str | None:
    return None if time_ms is None else rfc3339(time_ms)


class LineString(Struct, frozen=True, forbid_unknown_fields=True):
    coordinates: tuple[tuple[float, ...], ...]
    type: Literal["LineString"] = "LineString"


class ZonePolygon(Struct, frozen=True, forbid_unknown_fields=True):
    coordinates: tuple[tuple[tuple[float, ...], ...], ...]
    type: Literal["Polygon"] = "Polygon"


class StopDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    stop_id: str
    sequence: int
    lat_deg: float
    lon_deg: float
    radius_m: float = 50.0
    kind: str = "delivery"
    site_id: str | None = None
    scheduled_arrival: str | None = None
    window_start: str | None = None
    window_end: str | None = None
    service_s: float = 0.0
    tz: str | None = None
    zone: ZonePolygon | None = None
    external_ids: dict[str, str] = msgspec.field(default_factory=dict)


class PlanDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A tour of one vehicle. Times are RFC 3339 with a zone; `path` is GeoJSON (lon, lat)."""

    plan_id: str
    vehicle_id: str
    stops: tuple[StopDocument, ...]
    version: int = 1
    start: str | None = None
    path: LineString | None = None
    external_ids: dict[str, str] = msgspec.field(default_factory=dict)


def read_plans(data: bytes, where: str, known_vehicle: Callable[[str], bool] = lambda _: True) -> list[Plan]:
    """Plans from JSON: one object, or an array of them. All are good or BadInput lists what is wrong with each."""
    try:
        raw = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as e:
        raise BadInput([Problem(where, f"is not JSON: {e}", "a plan, or an array of plans, is expected")]) from e
    rows = raw if isinstance(raw, list) else [raw]
    plans: list[Plan] = []
    problems: list[Problem] = []
    for i, row in enumerate(rows):
        at = f"{where}: plans[{i}]" if isinstance(raw, list) else where
        try:
            document = msgspec.convert(row, PlanDocument)
        except msgspec.ValidationError as e:
            problems.append(_of_validation(at, e))
            continue
        plan, found = plan_of(document, at)
        if not known_vehicle(document.vehicle_id):
            fix = "register a device for it first, or correct the id"
            found.append(Problem(f"{at}.vehicle_id", f"no vehicle {document.vehicle_id!r} is known", fix))
        problems += found
        if plan is not None:
            plans.append(plan)
    seen: set[str] = set()
    for plan in plans:
        if plan.plan_id in seen:
            problems.append(Problem(where, f"plan_id {plan.plan_id!r} stands twice", "give each plan an id of its own"))
        seen.add(plan.plan_id)
    if problems:
        raise BadInput(problems)
    return plans


def _of_validation(at: str, error: msgspec.ValidationError) -> Problem:
    what, _, path = str(error).partition(" - at `$")
    return Problem(f"{at}{path.rstrip('`')}", what, "see docs/plan.schema.json")


def plan_of(document: PlanDocument, at: str) -> tuple[Plan | None, list[Problem]]:
    """The plan a document means, or None, and what is wrong with it."""
    problems: list[Problem] = []
    path = tuple((float(c[0]), float(c[1])) for c in document.path.coordinates) if document.path else None
    if path is not None:
        problems += _path_problems(f"{at}.path", path)
    if not document.stops:
        problems.append(Problem(f"{at}.stops", "is empty", "a plan needs at least one stop"))
    if len(document.stops) > MAX_STOPS:
        problems.append(Problem(f"{at}.stops", f"has {len(document.stops)} stops", f"split it: {MAX_STOPS} at most"))
    stops: list[Stop] = []
    for i, each in enumerate(document.stops):
        stop, found = _stop_of(each, f"{at}.stops[{i}]")
        problems += found
        if stop is not None:
            stops.append(stop)
    problems += _order_problems(at, stops)
    if path and not problems:
        problems += _swapped_problems(at, stops, path)
    start_ms = _time(document.start, f"{at}.start", problems)
    if problems:
        return None, problems
    plan = Plan(
        plan_id=document.plan_id,
        vehicle_id=document.vehicle_id,
        stops=tuple(stops),
        version=document.version,
        start_ms=start_ms,
        path=path,
        external_ids=document.external_ids,
    )
    return plan, []


def _stop_of(document: StopDocument, at: str) -> tuple[Stop | None, list[Problem]]:
    d = document
    problems = position_problems(at, d.lat_deg, d.lon_deg)
    if not 1 <= d.radius_m <= 50_000:
        problems.append(Problem(f"{at}.radius_m", f"is {d.radius_m}", "write a radius of 1 to 50,000 metres"))
    if not 0 <= d.service_s <= 7 * 86_400:
        problems.append(Problem(f"{at}.service_s", f"is {d.service_s}", "write seconds, from 0 to a week"))
    times = {
        name: _time(getattr(d, name), f"{at}.{name}", problems)
        for name in ("window_start", "window_end", "scheduled_arrival")
    }
    start, end = times["window_start"], times["window_end"]
    if start is not None and end is not None and end < start:
        problems.append(Problem(f"{at}.window_end", "lies before window_start", "exchange them, or mend the date"))
    zone = None
    if d.zone is not None:
        zone = tuple(tuple((float(c[0]), float(c[1])) for c in ring) for ring in d.zone.coordinates)
        for ring in zone:
            for lon, lat in ring:
                problems += position_problems(f"{at}.zone", lat, lon)
    if problems:
        return None, problems
    stop = Stop(
        stop_id=d.stop_id,
        sequence=d.sequence,
        lat_deg=d.lat_deg,
        lon_deg=d.lon_deg,
        radius_m=d.radius_m,
        kind=d.kind,
        site_id=d.site_id,
        window_start_ms=start,
        window_end_ms=end,
        scheduled_arrival_ms=times["scheduled_arrival"],
        service_s=d.service_s,
        tz=d.tz,
        zone=zone,
        external_ids=d.external_ids,
    )
    return stop, []


def _time(text: str | None, at: str, problems: list[Problem]) -> int | None:
    if text is None:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError as e:
        problems.append(Problem(at, str(e), "write RFC 3339, for example 2026-03-02T08:30:00Z"))
        return None


def _path_problems(at: str, path: tuple[tuple[float, float], ...]) -> list[Problem]:
    if not 2 <= len(path) <= MAX_PATH_POINTS:
        return [Problem(at, f"has {len(path)} points", f"a path has 2 to {MAX_PATH_POINTS} points")]
    for i, (lon, lat) in enumerate(path):
        found = position_problems(f"{at}.coordinates[{i}]", lat, lon)
        if found:
            return found
    return []


def _order_problems(at: str, stops: list[Stop]) -> list[Problem]:
    """Stops are listed in the order of their sequence, and no stop is due before the one it follows."""
    problems: list[Problem] = []
    ids: set[str] = set()
    due: tuple[int, str] | None = None
    for i, stop in enumerate(stops):
        here = f"{at}.stops[{i}]"
        if stop.stop_id in ids:
            problems.append(Problem(f"{here}.stop_id", f"{stop.stop_id!r} stands twice", "give each stop its own id"))
        ids.add(stop.stop_id)
        if i and stop.sequence <= stops[i - 1].sequence:
            what = f"is {stop.sequence} after {stops[i - 1].sequence}: the stop comes before its predecessor"
            problems.append(Problem(f"{here}.sequence", what, "list the stops in rising sequence"))
        if stop.scheduled_arrival_ms is not None:
            if due is not None and stop.scheduled_arrival_ms < due[0]:
                what = f"is before the scheduled_arrival of its predecessor {due[1]!r}"
                problems.append(Problem(f"{here}.scheduled_arrival", what, "mend the time or the sequence"))
            due = (stop.scheduled_arrival_ms, stop.stop_id)
        if (
            i
            and stop.window_end_ms is not None
            and (before := stops[i - 1].window_start_ms) is not None
            and stop.window_end_ms < before
        ):
            what = f"closes before the window of its predecessor {stops[i - 1].stop_id!r} opens"
            problems.append(Problem(f"{here}.window_end", what, "mend the windows or the sequence"))
    return problems


def _swapped_problems(at: str, stops: list[Stop], path: tuple[tuple[float, float], ...]) -> list[Problem]:
    problems: list[Problem] = []
    lon, lat = path[0]
    for i, stop in enumerate(stops):
        if not -90 <= stop.lon_deg <= 90:
            continue
        as_written = geo.distance_m(stop.lat_deg, stop.lon_deg, lat, lon)
        exchanged = geo.distance_m(stop.lon_deg, stop.lat_deg, lat, lon)
        if as_written > 10 * SWAPPED_WITHIN_M and exchanged < SWAPPED_WITHIN_M:
            fix = f"write lat_deg {stop.lon_deg}, lon_deg {stop.lat_deg}"
            problems.append(Problem(f"{at}.stops[{i}]", "lies on the path only with its coordinates swapped", fix))
    return problems


def plan_document(plan: Plan) -> PlanDocument:
    return PlanDocument(
        plan_id=plan.plan_id,
        vehicle_id=plan.vehicle_id,
        version=plan.version,
        start=_rfc3339(plan.start_ms),
        path=LineString(coordinates=plan.path) if plan.path else None,
        external_ids=plan.external_ids,
        stops=tuple(stop_document(s) for s in plan.stops),
    )


def stop_document(stop: Stop) -> StopDocument:
    return StopDocument(
        stop_id=stop.stop_id,
        sequence=stop.sequence,
        lat_deg=stop.lat_deg,
        lon_deg=stop.lon_deg,
        radius_m=stop.radius_m,
        kind=stop.kind,
        site_id=stop.site_id,
        scheduled_arrival=_rfc3339(stop.scheduled_arrival_ms),
        window_start=_rfc3339(stop.window_start_ms),
        window_end=_rfc3339(stop.window_end_ms),
        service_s=stop.service_s,
        tz=stop.tz,
        zone=ZonePolygon(coordinates=stop.zone) if stop.zone else None,
        external_ids=stop.external_ids,
    )


def schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schemas (2020-12) of what goes in and out, by file name."""
    documents: Iterable[tuple[str, Any]] = (
        ("position", PositionDocument),
        ("plan", PlanDocument),
        ("event", CloudEvent),
    )
    found = {}
    for name, kind in documents:
        schema = msgspec.json.schema(kind)
        found[f"{name}.schema.json"] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return found


def write_schemas(folder: Path) -> None:
    for name, schema in schemas().items():
        text = msgspec.json.format(msgspec.json.encode(schema, order="deterministic"), indent=2)
        (folder / name).write_bytes(text + b"\n")


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
