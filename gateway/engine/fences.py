"""Entering and leaving generic zones: a probability, two boundaries, a time of confirmation, and the crossing's own time."""

from __future__ import annotations

from gateway.engine.fixes import metres_between
from gateway.engine.motion import Stand
from gateway.engine.observed import Crossing, FenceSeen, Observed
from gateway.engine.scene import Scene
from gateway.geofence import p_inside
from gateway.model import Event

BELIEVED_ACCURACY_M = 100.0
"""Only a fix better than this may show that a zone was passed through between two reports."""

STRAY_SPEEDS = 2.0
SETTLES_MS = 60_000
NEAR_M = 100.0


def advance_fences(seen: Observed, scene: Scene) -> list[Event]:
    """What this fix says of the zones in reach, exits first."""
    near = dict(scene.fix.fences)
    if not near and not seen.fences:
        return []
    stand = seen.stand if seen.stand is not None and seen.stand.until_ms is None else None
    events: list[Event] = []
    for fence_id in sorted(near.keys() | seen.fences.keys()):
        events += _advance(seen, scene, fence_id, near.get(fence_id), stand)
    events.sort(key=lambda e: (e.time_ms, e.type != "geofence.exited", e.key))
    return events


def _advance(seen: Observed, scene: Scene, fence_id: str, distance_m: float | None, stand: Stand | None) -> list[Event]:
    rule, fix = scene.options.fence, scene.fix
    state = seen.fences.get(fence_id) or FenceSeen()
    p = 0.0 if distance_m is None else p_inside(distance_m, fix.accuracy_m)
    if state.inside:
        beyond = distance_m is None or distance_m > 0
        sure = p <= rule.p_outside and (distance_m is None or distance_m > rule.exit_margin_m)
    else:
        beyond = distance_m is not None and distance_m <= 0
        sure = p >= rule.p_inside
    events: list[Event] = []
    if beyond:
        if state.pending is None and not (stand is not None and _is_drift(state, scene, fence_id, stand)):
            _begin(state, scene, fence_id)
            seen.fences[fence_id] = state
        state.sure = state.pending is not None and (state.sure or sure)
        if sure and state.pending is not None and fix.time_ms - state.first_ms >= rule.confirm_s * 1000:
            events.append(_confirmed(seen, scene, fence_id, state, stand))
    elif state.pending is not None:
        if state.sure and not state.inside and not state.initial and stand is None and _drove(scene):
            events.append(_passed(seen, scene, fence_id, state.pending))
        state.pending, state.sure = None, False
    elif not state.inside and distance_m is not None and stand is None:
        events += _jumped_over(seen, scene, fence_id)
    if not state.inside and state.pending is None:
        seen.fences.pop(fence_id, None)
    return events


def _begin(state: FenceSeen, scene: Scene, fence_id: str) -> None:
    """The first fix beyond the boundary: the crossing lies before it, and is kept until it is believed."""
    now_ms = scene.fix.time_ms
    crossing = scene.crossed_fence(fence_id, entering=not state.inside)
    state.initial = crossing is None and not state.inside
    state.pending = crossing or Crossing(now_ms, now_ms, now_ms)
    state.first_ms, state.sure = now_ms, False


def _is_drift(state: FenceSeen, scene: Scene, fence_id: str, stand: Stand) -> bool:
    """A vehicle that stands changes zones by noise only; its membership may settle while the halt is young."""
    before = scene.before
    if before is not None and not state.inside and all(known != fence_id for known, _ in before.fences):
        return metres_between(before, scene.fix) > NEAR_M  # else the zone is new: the vehicle was there before it
    settling = scene.fix.time_ms - stand.first_ms < SETTLES_MS and not (state.inside and stand.fixes > 1)
    return stand.first_ms == state.stand_first_ms or not settling


def _confirmed(seen: Observed, scene: Scene, fence_id: str, state: FenceSeen, stand: Stand | None) -> Event:
    crossing = state.pending
    if crossing is None:
        raise ValueError("nothing to confirm")
    state.pending, state.sure = None, False
    state.stand_first_ms = None if stand is None else stand.first_ms
    reasons = (f"for {(scene.fix.time_ms - state.first_ms) / 1000:.0f} s",)
    if state.inside:
        measures: dict[str, object] = {"dwell_s": round((crossing.time_ms - (state.entered_ms or 0)) / 1000, 1)}
        state.inside = False
        return _event(scene, "exited", fence_id, state.visit, crossing, reasons, measures)
    state.inside, state.entered_ms = True, crossing.time_ms
    state.visit = _next_visit(seen, fence_id)
    return _event(scene, "entered", fence_id, state.visit, crossing, reasons, {"initial": state.initial})


def _next_visit(seen: Observed, fence_id: str) -> int:
    seen.fence_visits[fence_id] = seen.fence_visits.get(fence_id, 0) + 1
    return seen.fence_visits[fence_id]


def _drove(scene: Scene) -> bool:
    """Does the way from the fix before to this one fit the speeds that both tell? A stray fix does not."""
    before, fix = scene.before, scene.fix
    if before is None or before.speed_mps is None or fix.speed_mps is None:
        return True
    duration_s = (fix.time_ms - before.time_ms) / 1000
    noise_m = 2 * (before.accuracy_m + fix.accuracy_m)
    return metres_between(before, fix) - noise_m <= STRAY_SPEEDS * max(before.speed_mps, fix.speed_mps) * duration_s


def _passed(seen: Observed, scene: Scene, fence_id: str, entered: Crossing) -> Event:
    """Inside for too short to confirm, and out again on its way: it passed through."""
    out = scene.crossed_fence(fence_id, entering=False)
    left = out or Crossing(scene.fix.time_ms, entered.time_ms, scene.fix.time_ms)
    measures: dict[str, object] = {"dwell_s": round((left.time_ms - entered.time_ms) / 1000, 1)}
    visit = _next_visit(seen, fence_id)
    return _event(scene, "passed_through", fence_id, visit, entered, ("seen inside once, moving",), measures)


def _jumped_over(seen: Observed, scene: Scene, fence_id: str) -> list[Event]:
    """Both crossings between two reports: nobody saw it inside, yet the way led through."""
    before, fix = scene.before, scene.fix
    if before is None or max(before.accuracy_m, fix.accuracy_m) > BELIEVED_ACCURACY_M:
        return []
    cuts = scene.world.fence_crossings(fence_id, before, fix)
    if len(cuts) < 2 or not cuts[0][1] or cuts[-1][1]:
        return []
    entered = Crossing(scene.passed_ms(cuts[0][0]), before.time_ms, fix.time_ms)
    measures: dict[str, object] = {"dwell_s": round((scene.passed_ms(cuts[-1][0]) - entered.time_ms) / 1000, 1)}
    visit = _next_visit(seen, fence_id)
    reasons = ("both crossings lie between two fixes",)
    return [_event(scene, "passed_through", fence_id, visit, entered, reasons, measures)]


def removed(seen: Observed, scene: Scene, fence_id: str, at_ms: int) -> list[Event]:
    """The zone is no more: who was inside leaves it now, and is told why."""
    state = seen.fences.pop(fence_id, None)
    if state is None or not state.inside:
        return []
    now = Crossing(at_ms, at_ms, at_ms)
    measures: dict[str, object] = {"dwell_s": round((at_ms - (state.entered_ms or at_ms)) / 1000, 1)}
    return [_event(scene, "exited", fence_id, state.visit, now, ("fence removed",), measures, cause="fence_removed")]


def _event(
    scene: Scene,
    kind: str,
    fence_id: str,
    visit: int,
    crossing: Crossing,
    reasons: tuple[str, ...],
    measures: dict[str, object],
    cause: str | None = None,
) -> Event:
    fence = scene.world.fence(fence_id)
    return scene.event(
        f"geofence.{kind}",
        f"fence/{fence_id}/vehicle/{scene.vehicle_id}/visit/{visit}/{kind}",
        crossing,
        cause=cause,
        fence_id=fence_id,
        fence_version=fence.version if fence else None,
        measures=measures,
        evidence=scene.evidence(kind, (crossing.min_ms, crossing.max_ms), f"fence/{fence_id}", reasons),
    )
