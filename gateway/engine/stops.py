"""Arrivals and departures at the stops of a vehicle's plan.

An arrival is not "entered a zone": it is a halt (or manoeuvring) in the zone that is too long for traffic, at the place
where the mean of its fixes lies inside with probability 0.9. It is told at the time of the crossing into the zone.
"""

from __future__ import annotations

import math

from gateway import geo
from gateway.engine.fixes import metres_between
from gateway.engine.observed import Crossing, Leaving, Observed, Order, StopSeen, Visit
from gateway.engine.scene import Scene, withdrawn
from gateway.geofence import p_inside
from gateway.model import Event, Stop

FAR_M = 250.0
"""Taken for the distance of a zone that is out of reach."""
INDEPENDENT_FIXES = 4
"""Errors of neighbouring fixes are alike, so the mean of many is hardly better than that of a few."""
LEAVING_MS = 5_000
P_OUTSIDE = 0.1


def advance_stops(seen: Observed, scene: Scene) -> list[Event]:
    """What this fix says of the plan's stops, exits first."""
    if scene.plan is None or not seen.plan_open:
        return []
    near = dict(scene.fix.stops)
    visited = [i for i, s in seen.stops.items() if s.visit is not None and i not in near]
    if not near and not visited:
        return []
    events: list[Event] = []
    for stop_id in scene.plan.in_order([*near, *visited]):
        events += _advance(seen, scene, stop_id, near.get(stop_id, FAR_M))
    events.sort(key=lambda e: (e.type != "stop.departed", e.time_ms))
    if any(e.type == "stop.departed" for e in events):
        events += _completed(seen, scene)
    return events


def _advance(seen: Observed, scene: Scene, stop_id: str, distance_m: float) -> list[Event]:
    stop = seen.stops.get(stop_id)
    if stop is None:
        stop = StopSeen()
    if stop.visit is None:
        if distance_m > 0 or _waits_for_twin(seen, scene, stop_id):
            return []
        seen.stops[stop_id] = stop
        stop.visit = _entered(seen, scene, stop_id)
    visit = stop.visit
    _measure(visit, seen, scene, stop_id, distance_m)
    events: list[Event] = []
    if not visit.arrived:
        events += _arrival(seen, scene, stop_id, stop, visit, distance_m)
    if visit.arrived:
        return events + _departure(seen, scene, stop_id, stop, visit, distance_m)
    if visit.leaving is not None and visit.leaving.far_ms is not None:
        stop.visit = None
    return events


def _waits_for_twin(seen: Observed, scene: Scene, stop_id: str) -> bool:
    """Two stops of a plan at one place are served in their order."""
    twins = scene.plan.twins.get(stop_id, ()) if scene.plan else ()
    return any(t not in seen.stops or seen.stops[t].state in ("open", "at") for t in twins)


def _entered(seen: Observed, scene: Scene, stop_id: str) -> Visit:
    crossing = scene.crossed_stop(stop_id, entering=True)
    stand = seen.stand
    if stand is not None and _halted(seen, scene) and stand.since_ms < crossing.time_ms:
        first_ms = min(crossing.min_ms, stand.since_ms)
        crossing = Crossing(stand.since_ms, first_ms, max(first_ms, stand.first_ms))
    return Visit(entered=crossing, first_ms=scene.fix.time_ms, last_ms=scene.fix.time_ms)


def _halted(seen: Observed, scene: Scene) -> bool:
    """Is this fix one of the present halt's?"""
    stand = seen.stand
    return stand is not None and stand.until_ms is None and stand.last_ms == scene.fix.time_ms


def _measure(visit: Visit, seen: Observed, scene: Scene, stop_id: str, distance_m: float) -> None:
    """Note where in the zone the vehicle stands, how far it drove in it, and whether it is on its way out."""
    fix, before, stand = scene.fix, scene.before, seen.stand
    halted = _halted(seen, scene)
    if stand is not None and halted and (distance_m <= 0 or visit.stand_first_ms == stand.first_ms):
        if visit.stand_first_ms != stand.first_ms:
            visit.stand_first_ms, visit.inside_m, visit.weight = stand.first_ms, 0.0, 0.0
        weight = 1 / max(fix.accuracy_m, 1.0) ** 2
        visit.weight += weight
        visit.inside_m += (distance_m - visit.inside_m) * weight / visit.weight
        visit.still_ms = fix.time_ms
    elif stand is not None and stand.until_ms is not None and stand.first_ms == visit.stand_first_ms:
        visit.still_ms = max(visit.still_ms, stand.until_ms)
    if distance_m <= 0:
        if visit.leaving is not None and not visit.arrived and not halted:
            visit.entered, visit.first_ms, visit.path_m = scene.crossed_stop(stop_id, entering=True), fix.time_ms, 0.0
        if before is not None and visit.last_ms == before.time_ms:
            visit.path_m += metres_between(before, fix)
        visit.last_ms, visit.leaving = fix.time_ms, None
        return
    if visit.leaving is None:
        visit.leaving = Leaving(crossing=scene.crossed_stop(stop_id, entering=False))
    held = stand is not None and stand.until_ms is None and stand.first_ms == visit.stand_first_ms
    margin_m = scene.options.arrival.exit_margin_m
    if not held and distance_m > margin_m and p_inside(distance_m, fix.accuracy_m) < P_OUTSIDE:
        if visit.leaving.far_ms is None:
            visit.leaving.far_ms = fix.time_ms
    else:
        visit.leaving.far_ms = None


# ------------------------------------------------------------------------------------------------------ arrival


def _arrival(
    seen: Observed, scene: Scene, stop_id: str, stop: StopSeen, visit: Visit, distance_m: float
) -> list[Event]:
    found = _stood(seen, scene, stop_id, stop, visit) or _dwelt(seen, scene, stop, visit, distance_m)
    if found is None or scene.plan is None:
        return []
    confidence, reasons = found
    stand = seen.stand
    planned = scene.plan.stops[stop_id]
    if stand is not None and stand.first_ms == visit.stand_first_ms:
        stand.served = stop_id
        visit.stationary_ms = max(stand.since_ms, visit.entered.time_ms)
    expected = _expected(seen, scene)
    visit.found, visit.arrived, stop.visits = stop.state, True, stop.visits + 1
    crossing = visit.entered
    arrived = scene.stop_event(
        "arrived",
        planned,
        stop.visits,
        crossing,
        stationary_ms=visit.stationary_ms,
        confidence=round(confidence, 3),
        method="stand",
        distance_to_stop_m=_to_stop_m(planned, scene),
        evidence=scene.evidence("arrive", (crossing.min_ms, crossing.max_ms), f"stop/{stop_id}", reasons),
        **lateness(planned, crossing.time_ms),
    )
    events = [arrived]
    if visit.found != "served":
        events += _out_of_order(seen, scene, stop_id, stop, visit, expected)
    stop.state = "at"
    return events


def _stood(
    seen: Observed, scene: Scene, stop_id: str, stop: StopSeen, visit: Visit
) -> tuple[float, tuple[str, ...]] | None:
    stand, rule = seen.stand, scene.options.arrival
    if stand is None or stand.first_ms != visit.stand_first_ms or stand.served not in (None, stop_id):
        return None
    p = p_inside(visit.inside_m, stand.accuracy_m / math.sqrt(min(stand.fixes, INDEPENDENT_FIXES)))
    if p < rule.p_inside:
        return None
    stood_s = stand.lasted_s(scene.fix.time_ms)
    need_s = rule.stand_s
    if stop.state == "served":
        need_s = rule.stand_again_s
    elif stand.fixes > 1 and _expected(seen, scene) == stop_id:
        need_s = rule.stand_expected_s
    if scene.fix.ignition is False and stand.until_ms is None:
        return p, (f"p_inside = {p:.2f}", "ignition off")
    if stood_s < need_s:
        return None
    return p, (f"speed < {rule.slow_mps} m/s for {stood_s:.0f} s (needs {need_s:.0f} s)", f"p_inside = {p:.2f}")


def _dwelt(
    seen: Observed, scene: Scene, stop: StopSeen, visit: Visit, distance_m: float
) -> tuple[float, tuple[str, ...]] | None:
    """Inside for long without one long halt: only when so slow that it is no traffic, and not while served next door."""
    rule = scene.options.arrival
    dwell_s = (visit.last_ms - visit.first_ms) / 1000
    need_s = rule.stand_again_s if stop.state == "served" else rule.dwell_s
    p = p_inside(distance_m, scene.fix.accuracy_m)
    if dwell_s < need_s or p < rule.p_inside or visit.path_m > rule.crawl_mps * dwell_s:
        return None
    if any(s.state == "at" for s in seen.stops.values()):
        return None
    return p, (f"inside for {dwell_s:.0f} s at {visit.path_m / dwell_s:.1f} m/s", f"p_inside = {p:.2f}")


def _expected(seen: Observed, scene: Scene) -> str | None:
    """The plan's next stop: the first after everything that was reached."""
    if scene.plan is None:
        return None
    waiting = None
    for stop_id in reversed(scene.plan.order):
        stop = seen.stops.get(stop_id)
        if stop is not None and stop.state in ("at", "served"):
            break
        waiting = stop_id
    return waiting


def _out_of_order(
    seen: Observed, scene: Scene, stop_id: str, stop: StopSeen, visit: Visit, expected: str | None
) -> list[Event]:
    """Stops before this one that are still open were left out, or nobody saw: both are said."""
    if scene.plan is None:
        return []
    events: list[Event] = []
    crossing = visit.entered
    if stop.state in ("missed", "unknown"):
        events.append(withdrawn(_left_out(scene, stop_id, stop.state, crossing), ("the vehicle came after all",)))
    skipped = []
    for earlier in scene.plan.order[: scene.plan.order.index(stop_id)]:
        state = seen.stops.setdefault(earlier, StopSeen())
        if state.state == "open" and (state.visit is None or not state.visit.arrived):
            skipped.append(earlier)
            state.state = "unknown" if _was_blind(seen, crossing) else "missed"
            events.append(_left_out(scene, earlier, state.state, crossing))
    instead = skipped[0] if skipped else expected if expected != stop_id else None
    visit.order = Order(tuple(skipped), instead, seen.blind_ms, seen.known_ms)
    if instead is not None:
        events.append(_out_of_sequence(scene, stop_id, stop, instead, crossing))
    seen.blind_ms, seen.known_ms = 0, crossing.time_ms
    return events


def _left_out(scene: Scene, stop_id: str, kind: str, crossing: Crossing) -> Event:
    why = "a later stop was reached, this one was not seen"
    return scene.stop_event(kind, scene.stop(stop_id), 1, crossing, measures={"why": why})


def _out_of_sequence(scene: Scene, stop_id: str, stop: StopSeen, expected: str, crossing: Crossing) -> Event:
    measures = {"expected": expected, "actual": stop_id}
    return scene.stop_event("out_of_sequence", scene.stop(stop_id), stop.visits, crossing, measures=measures)


def _was_blind(seen: Observed, crossing: Crossing) -> bool:
    return seen.blind_ms > 0.1 * max(1, crossing.time_ms - seen.known_ms)


def _to_stop_m(stop: Stop, scene: Scene) -> float:
    return round(geo.distance_m(scene.fix.lat_deg, scene.fix.lon_deg, stop.lat_deg, stop.lon_deg), 1)


def lateness(stop: Stop, time_ms: int) -> dict[str, object]:
    """Against the scheduled arrival, else the window; the class against the window, else within 5 minutes of schedule."""
    due_ms, start_ms, end_ms = stop.scheduled_arrival_ms, stop.window_start_ms, stop.window_end_ms
    if due_ms is None and start_ms is None and end_ms is None:
        return {}
    reference_ms = due_ms if due_ms is not None else min(max(time_ms, start_ms or time_ms), end_ms or time_ms)
    first_ms = start_ms if start_ms is not None else reference_ms - 300_000
    last_ms = end_ms if end_ms is not None else reference_ms + 300_000
    named = "early" if time_ms < first_ms else "late" if time_ms > last_ms else "on_time"
    return {"lateness_s": round((time_ms - reference_ms) / 1000, 1), "early_late": named}


# ----------------------------------------------------------------------------------------------------- departure


def _departure(
    seen: Observed, scene: Scene, stop_id: str, stop: StopSeen, visit: Visit, distance_m: float
) -> list[Event]:
    leaving, rule = visit.leaving, scene.options.arrival
    if leaving is None or leaving.far_ms is None or scene.plan is None:
        return []
    if scene.fix.time_ms - leaving.far_ms < LEAVING_MS:
        return []
    planned = scene.plan.stops[stop_id]
    stop.visit = None
    if visit.stationary_ms is not None:
        stood_s = (visit.still_ms - visit.stationary_ms) / 1000
        if stood_s < rule.min_service_s and planned.service_s >= 2 * rule.min_service_s:
            return _taken_back(seen, scene, planned, stop, visit, stood_s)
    stop.state = "served"
    crossing = leaving.crossing
    measures: dict[str, object] = {"dwell_s": round((crossing.time_ms - visit.entered.time_ms) / 1000, 1)}
    if visit.stationary_ms is not None:
        measures["moving_at_ms"] = visit.still_ms
    reasons = (f"outside by {distance_m:.0f} m", f"for {(scene.fix.time_ms - leaving.far_ms) / 1000:.0f} s")
    return [
        scene.stop_event(
            "departed",
            planned,
            stop.visits,
            crossing,
            confidence=round(1 - p_inside(distance_m, scene.fix.accuracy_m), 3),
            distance_to_stop_m=_to_stop_m(planned, scene),
            measures=measures,
            evidence=scene.evidence("depart", (crossing.min_ms, crossing.max_ms), f"stop/{stop_id}", reasons),
        )
    ]


def _taken_back(
    seen: Observed, scene: Scene, planned: Stop, stop: StopSeen, visit: Visit, stood_s: float
) -> list[Event]:
    """The arrival did not happen, and what followed from it does not either."""
    reasons = (f"left after standing {stood_s:.0f} s of {planned.service_s:.0f} s planned",)
    event = scene.stop_event("arrived", planned, stop.visits, visit.entered, **lateness(planned, visit.entered.time_ms))
    events = [withdrawn(event, reasons)]
    order, stop.state = visit.order, visit.found
    if order is not None:
        seen.blind_ms, seen.known_ms = order.blind_ms + seen.blind_ms, order.known_ms
        if order.expected is not None:
            said = _out_of_sequence(scene, planned.stop_id, stop, order.expected, visit.entered)
            events.append(withdrawn(said, reasons))
        events += _open_again(seen, scene, order.skipped, visit.entered)
    stop.visits -= 1
    if stop.state in ("missed", "unknown"):
        events.append(_left_out(scene, planned.stop_id, stop.state, visit.entered))
    return events


def _open_again(seen: Observed, scene: Scene, skipped: tuple[str, ...], crossing: Crossing) -> list[Event]:
    """Stops that only this arrival made seem left out; one that another later stop's arrival tells of stays so."""
    if scene.plan is None:
        return []
    events: list[Event] = []
    reached = [i for i, s in seen.stops.items() if s.state in ("at", "served")]
    last = max((scene.plan.order.index(i) for i in scene.plan.in_order(reached)), default=-1)
    for stop_id in skipped:
        stop = seen.stops[stop_id]
        known = stop_id in scene.plan.stops and stop.state in ("missed", "unknown")
        if known and scene.plan.order.index(stop_id) > last:
            events.append(
                withdrawn(_left_out(scene, stop_id, stop.state, crossing), ("the later stop was not reached",))
            )
            stop.state = "open"
    return events


def _completed(seen: Observed, scene: Scene) -> list[Event]:
    """The route is done when its last stop was left and no more stops were left out than served."""
    if scene.plan is None:
        return []
    states = [seen.stops[i].state if i in seen.stops else "open" for i in scene.plan.order]
    served = states.count("served")
    if states[-1] != "served" or "open" in states or "at" in states or 2 * served < len(states):
        return []
    seen.plan_open = False
    plan = scene.plan.plan
    now = Crossing(scene.fix.time_ms, scene.fix.time_ms, scene.fix.time_ms)
    measures = {"served": served, "left_out": len(states) - served}
    key = f"plan/{plan.plan_id}/route.completed"
    return [
        scene.event("route.completed", key, now, plan_id=plan.plan_id, plan_version=plan.version, measures=measures)
    ]
