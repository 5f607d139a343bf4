"""Ties the predictor to the vehicles: progress along the plan's path, what each pass and visit teaches, and the ETAs."""

from __future__ import annotations

import numpy as np

from gateway.engine.fixes import Fix
from gateway.engine.live import Live, Sample
from gateway.engine.observed import Observed
from gateway.engine.options import EngineOptions
from gateway.engine.vehicle import Vehicle
from gateway.engine.world import PlanRecord, World
from gateway.eta import Course, Forecast, Predictor, Progress, Seen, Where, follow, site_of
from gateway.eta.path import PIECE_M
from gateway.model import Eta, Event

PASS_M = 100.0
"""Passes are measured over at least this far: fixes are too coarse to time a single piece."""
CREEP_M, CREEP_MS = 10.0, 60_000
"""… but who creeps teaches every minute, so that a jam is known while it lasts."""
PASSED_M = 150.0
"""This far beyond a stop on the path, and not in its zone: it was driven past."""
SAMPLES_PER_STOP = 48
SAMPLED_STOPS = 4
NOW_S = 1.0


class Forecaster:
    def __init__(self, options: EngineOptions, world: World, predictor: Predictor | None = None) -> None:
        self._options = options
        self._world = world
        self.predictor = predictor or Predictor()
        self._courses: dict[str, tuple[PlanRecord, Course]] = {}
        self.learning = True
        """False while entries are stepped again whose lessons the tables already contain."""

    def _course(self, plan_id: str | None) -> Course | None:
        record = None if plan_id is None else self._world.record(plan_id)
        if record is None:
            return None
        made = self._courses.get(record.plan.plan_id)
        if made is None or made[0] is not record:
            course = self.predictor.course(record.plan.stops, record.path, record.plan.start_ms)
            made = self._courses[record.plan.plan_id] = (record, course)
        return made[1]

    def forget(self, plan_ids: list[str]) -> None:
        for plan_id in plan_ids:
            self._courses.pop(plan_id, None)

    # ------------------------------------------------------------------------------------------------------ each fix

    def follow(self, vehicle: Vehicle, fix: Fix, events: list[Event]) -> None:
        """Take the newest fix, and what it led to."""
        live, seen = vehicle.live, vehicle.history.observed
        if seen.plan_id != live.plan_id:
            if live.plan_id is not None:
                self._courses.pop(live.plan_id, None)
            live = vehicle.live = Live(plan_id=seen.plan_id, due_ms=live.due_ms)
        course = self._course(seen.plan_id) if seen.plan_open else None
        if course is None:
            return
        x, y = course.path.plane(fix.lat_deg, fix.lon_deg)
        first_m = next(iter(course.stop_m.values()))
        follow(
            live.progress,
            course.path,
            Seen(fix.time_ms, x, y, fix.accuracy_m, fix.speed_mps, fix.course_deg),
            first_m,
        )
        for event in events:
            if event.stop is not None and event.plan_id == live.plan_id:
                self._visited(live, course, event)
        if live.at_stop is not None and not _stands_at(seen, course, live.at_stop):
            live.at_stop = None  # late data took the arrival back, or the plan lost the stop
        if live.at_stop is None:
            self._measure_pass(live, course, fix.time_ms)
            self._note_passed(vehicle, course)

    def _measure_pass(self, live: Live, course: Course, time_ms: int) -> None:
        """Once far enough from where the measurement began, the table learns how long it took."""
        along_m = live.progress.along_m
        if along_m is None or live.progress.off or course.straight:
            live.pass_m = None
        elif live.pass_m is None or along_m < live.pass_m - PIECE_M:
            live.pass_m, live.pass_ms = along_m, time_ms
        elif along_m - live.pass_m >= (CREEP_M if time_ms - live.pass_ms >= CREEP_MS else PASS_M):
            self._learn_pass(course, live.pass_m, along_m, (time_ms - live.pass_ms) / 1000, time_ms)
            live.pass_m, live.pass_ms = along_m, time_ms

    def _learn_pass(self, course: Course, from_m: float, to_m: float, driven_s: float, now_ms: int) -> None:
        first, last = course.path.piece_at(from_m), course.path.piece_at(to_m)
        metres = np.full(last - first + 1, PIECE_M)
        metres[0] -= from_m - first * PIECE_M
        metres[-1] -= max(0.0, (last + 1) * PIECE_M - to_m)
        pieces = slice(first, last + 1)
        if driven_s > 0 and self.learning:
            self.predictor.travel.learn(course.rows[pieces], metres, course.scheduled[pieces], driven_s, now_ms)

    def _note_passed(self, vehicle: Vehicle, course: Course) -> None:
        live, seen = vehicle.live, vehicle.history.observed
        if not live.progress.on_path or live.progress.along_m is None:
            return
        for stop_id, along_m in course.stop_m.items():
            if along_m + PASSED_M > live.progress.along_m:
                break
            state = seen.stops.get(stop_id)
            if stop_id not in live.passed and (state is None or (state.state == "open" and state.visit is None)):
                live.passed.append(stop_id)
                if self.learning:
                    self.predictor.service.learn_skip(site_of(course.stops[stop_id]))

    def _visited(self, live: Live, course: Course, event: Event) -> None:
        stop = event.stop
        if stop is None or stop.stop_id not in course.stop_m:
            return
        along_m = course.stop_m[stop.stop_id]
        if event.type == "stop.arrived" and event.status != "withdrawn":
            reached_ms = event.stationary_ms or event.time_ms
            if live.pass_m is not None and along_m - live.pass_m >= PIECE_M and reached_ms > live.pass_ms:
                self._learn_pass(course, live.pass_m, along_m, (reached_ms - live.pass_ms) / 1000, reached_ms)
            live.pass_m, live.at_stop, live.stationary_ms = None, stop.stop_id, reached_ms
            live.progress = Progress(along_m=along_m, time_ms=live.progress.time_ms, last=live.progress.last)
            self._learn_errors(live.samples.pop(stop.stop_id, []), reached_ms)
            if stop.stop_id in live.passed:
                live.passed.remove(stop.stop_id)
        elif stop.stop_id == live.at_stop and event.type in ("stop.departed", "stop.arrived"):
            live.at_stop = None
            moving_ms = event.measures.get("moving_at_ms")
            if event.type == "stop.departed" and isinstance(moving_ms, int):
                served_s = (moving_ms - live.stationary_ms) / 1000
                if self.learning:
                    self.predictor.service.learn_visit(site_of(stop), stop.service_s, served_s)
                live.pass_m, live.pass_ms = along_m, moving_ms

    def _learn_errors(self, samples: list[Sample], reached_ms: int) -> None:
        if self.learning:
            for each in samples:
                self.predictor.errors.learn(each.ahead_s, each.between, (reached_ms - each.predicted_ms) / 1000)

    # --------------------------------------------------------------------------------------------------------- ETAs

    def forecasts(self, vehicle: Vehicle, at_ms: int) -> list[Forecast]:
        """Uncorrected predictions for the open stops; none without a usable fix."""
        seen, live = vehicle.history.observed, vehicle.live
        fix = seen.last
        if fix is None or not seen.plan_open or live.plan_id != seen.plan_id or not self.usable(vehicle, at_ms):
            return []
        course = self._course(seen.plan_id)
        if course is None:
            return []
        open_ids = [
            i for i in course.stop_m if i not in live.passed and (i not in seen.stops or seen.stops[i].state == "open")
        ]
        x, y = course.path.plane(fix.lat_deg, fix.lon_deg)
        along_m = live.progress.along_m if live.progress.on_path else None
        at_stop = live.at_stop if live.at_stop is not None and _stands_at(seen, course, live.at_stop) else None
        served_s = (fix.time_ms - live.stationary_ms) / 1000
        return self.predictor.forecasts(course, Where(fix.time_ms, x, y, along_m, at_stop, served_s), open_ids)

    def usable(self, vehicle: Vehicle, at_ms: int) -> bool:
        """Is the newest fix young enough to say something honest?"""
        rule = self._options.silence
        return at_ms - vehicle.received_ms <= 1000 * max(rule.least_s, rule.intervals * vehicle.rhythm.interval_s)

    def etas(self, vehicle: Vehicle, forecasts: list[Forecast], at_ms: int) -> list[Eta]:
        """The predictions with bias and spread of the engine's own past errors."""
        plan_id = vehicle.live.plan_id
        fix = vehicle.history.observed.last
        if plan_id is None or fix is None:
            return []
        earliest_ms = at_ms + round(NOW_S * 1000)
        found: list[Eta] = []
        for each in forecasts:
            spread = self.predictor.errors.spread(each.ahead_s, each.between)
            low, middle, high = (each.time_ms + round(s * 1000) for s in spread)
            eta = Eta(
                vehicle_id=vehicle.vehicle_id,
                plan_id=plan_id,
                stop_id=each.stop_id,
                at_ms=at_ms,
                p10_ms=max(low, earliest_ms),
                p50_ms=max(middle, earliest_ms),
                p90_ms=max(high, earliest_ms),
                remaining_m=round(each.remaining_m, 1),
                age_s=round((at_ms - fix.time_ms) / 1000, 3),
                method=each.method,
            )
            found.append(eta)
        return found

    def sample(self, vehicle: Vehicle, forecasts: list[Forecast]) -> None:
        """Keep what is predicted now, to learn from its error when the stop is reached."""
        for each in forecasts[:SAMPLED_STOPS]:
            kept = vehicle.live.samples.setdefault(each.stop_id, [])
            kept.append(Sample(each.time_ms, each.ahead_s, each.between))
            if len(kept) > SAMPLES_PER_STOP:
                del kept[::2]


def _stands_at(seen: Observed, course: Course, stop_id: str) -> bool:
    stop = seen.stops.get(stop_id)
    return stop is not None and stop.state == "at" and stop_id in course.stops
