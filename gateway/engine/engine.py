"""The engine: a pure function over the journal's entries.

The same entries give the same steps; and however the same items are cut into entries, the same things are said in the
same order. Geometry is asked once per run of frames, decisions are plain Python per vehicle. Time is what the items say.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import structs

from gateway.engine import history as past
from gateway.engine.adherence import availability, review
from gateway.engine.fences import removed
from gateway.engine.fixes import Fix, fix_of, marks_of, metres_between, worth
from gateway.engine.forecaster import Forecaster
from gateway.engine.observed import Observed
from gateway.engine.options import EngineOptions
from gateway.engine.scene import Scene
from gateway.engine.track import advance
from gateway.engine.vehicle import Vehicle
from gateway.engine.views import VehicleView, view_of
from gateway.engine.world import Point, World
from gateway.model import (
    Assignment,
    Command,
    Entry,
    Eta,
    Event,
    Fence,
    FenceRemove,
    FrameItem,
    Item,
    Plan,
    Position,
    Step,
    Tick,
    Verdict,
    seq_of,
)

SWEEP_MS = 3_600_000

_encoder = msgspec.msgpack.Encoder()
_vehicle_decoder = msgspec.msgpack.Decoder(Vehicle)


class Taken(NamedTuple):
    """A journaled position that may drive a vehicle."""

    item: int
    message: int
    vehicle_id: str
    position: Position


class Engine:
    """See the package's docstring. Not thread-safe: one thread steps, and asks for views between steps."""

    def __init__(self, options: EngineOptions | None = None) -> None:
        self.options = options or EngineOptions()
        self._world = World(self.options.plan_grace_s)
        self._vehicles: dict[str, Vehicle] = {}
        self._now_ms = 0
        self._entry_id = 0
        self._deadlines: list[tuple[int, str]] = []
        self._scheduled: dict[str, int] = {}
        """By vehicle, the deadline in the heap that counts; earlier pushes are stale."""
        self._forecaster = Forecaster(self.options, self._world)
        self._sweep_ms = 0
        """When to look for plans that are over: changes nothing that is said."""
        self._learnt_entry = 0
        self._dirty: set[str] = set()
        self._contained: dict[str, int] = {}
        """By vehicle, the entry its restored snapshot already contains."""
        self._events: list[Event] = []

    # ------------------------------------------------------------------------------------------------------ the step

    def step(self, entry: Entry) -> Step:
        """What follows from one entry. Raises for no content: what a device says is data."""
        self._entry_id, self._events = entry.id, []
        self._forecaster.learning = entry.id > self._learnt_entry
        verdicts: list[Verdict] = []
        for run in _runs(entry.items):
            if isinstance(run, list):
                verdicts += self._frames(run)
            else:
                self._pass_time(run.received_ms)
                if not isinstance(run, Tick):
                    self._command(run)
        if self._now_ms >= self._sweep_ms:
            self._sweep()
        first = len(verdicts)
        events = [structs.replace(e, seq=seq_of(entry.id, first + i)) for i, e in enumerate(self._events)]
        return Step(entry_id=entry.id, verdicts=tuple(verdicts), events=tuple(events))

    def _frames(self, run: list[tuple[int, FrameItem]]) -> list[Verdict]:
        """Judge, locate all at once, then let each frame drive its vehicles."""
        verdicts: dict[tuple[int, int], Verdict] = {}
        taken: list[Taken] = []
        for index, item in run:
            for number, message in enumerate(item.messages):
                if not isinstance(message, Position) or item.ordinals[number] < 0 or message.time_ms is None:
                    continue
                vehicle_id, marks = self._judge(message, item.received_ms)
                verdicts[index, number] = Verdict(index, number, vehicle_id, marks)
                if not marks:
                    taken.append(Taken(index, number, vehicle_id, message))
        fixes = self._locate(taken)
        by_item: dict[int, list[tuple[Taken, Fix]]] = {}
        for each, fix in zip(taken, fixes, strict=True):
            by_item.setdefault(each.item, []).append((each, fix))
        for index, item in run:
            self._pass_time(item.received_ms)
            self._heard(item)
            for each in self._drive(by_item.get(index, []), item.received_ms):
                verdicts[each.item, each.message] = Verdict(each.item, each.message, each.vehicle_id, ("late",))
        return [verdicts[k] for k in sorted(verdicts)]

    def _judge(self, position: Position, received_ms: int) -> tuple[str, tuple[str, ...]]:
        marks = marks_of(position, received_ms, self.options.fix)
        assigned = self._world.assignment(position.device_id, position.time_ms or 0)
        if assigned is None:
            return position.device_id, marks
        if not assigned.primary:
            marks = tuple(sorted((*marks, "secondary")))
        return assigned.vehicle_id, marks

    def _locate(self, taken: list[Taken]) -> list[Fix]:
        rule = self.options.fix
        newest: dict[str, Fix | None] = {}
        fixes: list[Fix] = []
        points: list[Point] = []
        for each in taken:
            fix = fix_of(each.position, rule)
            if each.vehicle_id not in newest:
                known = self._vehicles.get(each.vehicle_id)
                newest[each.vehicle_id] = known.history.ring[-1] if known and known.history.ring else None
            before = newest[each.vehicle_id]
            step_m = 0.0 if before is None else metres_between(before, fix)
            if before is None or fix.time_ms > before.time_ms:
                newest[each.vehicle_id] = fix
            plan = self._world.plan_at(each.vehicle_id, fix.time_ms)
            points.append(Point(fix.lat_deg, fix.lon_deg, fix.accuracy_m, step_m, plan))
            fixes.append(fix)
        stops, fences = self._world.locate(points)
        return [
            structs.replace(f, stops=s, fences=z) if s or z else f for f, s, z in zip(fixes, stops, fences, strict=True)
        ]

    def _drive(self, located: list[tuple[Taken, Fix]], received_ms: int) -> list[Taken]:
        """One frame's fixes, by vehicle and fix time. Returns those that came late."""
        by_vehicle: dict[str, list[tuple[Taken, Fix]]] = {}
        for pair in located:
            by_vehicle.setdefault(pair[0].vehicle_id, []).append(pair)
        late: list[Taken] = []
        for vehicle_id, pairs in by_vehicle.items():
            if self._is_contained(vehicle_id):
                continue
            vehicle = self._vehicle(vehicle_id)
            newest_ms = vehicle.history.newest_ms
            old = [p for p in pairs if newest_ms is not None and p[1].time_ms <= newest_ms]
            if old:
                self._rewrite(vehicle, [f for _, f in old], received_ms)
                late += [t for t, _ in old]
            fresh = sorted((p for p in pairs if newest_ms is None or p[1].time_ms > newest_ms), key=_by_time)
            for i, (taken, fix) in enumerate(fresh):
                if i + 1 < len(fresh) and fresh[i + 1][1].time_ms == fix.time_ms:
                    late.append(taken)  # two fixes of one instant: the better one comes last
                    continue
                self._extend(vehicle, taken.position, fix, received_ms)
        return late

    def _extend(self, vehicle: Vehicle, position: Position, fix: Fix, received_ms: int) -> None:
        vehicle.device_id, vehicle.position, vehicle.received_ms = position.device_id, position, received_ms
        events = past.extend(vehicle.history, fix, self._advance_of(vehicle), self.options.late)
        for event in events:
            self._say(event, received_ms)
        seen = vehicle.history.observed
        vehicle.rhythm.standing = seen.stand is not None and seen.stand.until_ms is None
        self._forecaster.follow(vehicle, fix, events)
        if seen.plan_open and vehicle.live.due_ms is None:
            vehicle.live.due_ms = received_ms + 1
            self._schedule(vehicle)

    def _rewrite(self, vehicle: Vehicle, fixes: list[Fix], received_ms: int) -> None:
        """Late fixes rewrite the recent past; beyond the horizon they are stored, and marked."""
        history = vehicle.history
        late = [f for f in fixes if past.reaches(history, f.time_ms)]
        if not late:
            return
        said = past.rewind(history, late, self._advance_of(vehicle), self.options.late)
        for event in said:
            self._say(event, received_ms)
        if said:
            self._say(_history_revised(vehicle.vehicle_id, late, said, received_ms), received_ms)

    def _advance_of(self, vehicle: Vehicle) -> past.Advance:
        def further(seen: Observed, fix: Fix) -> list[Event]:
            return advance(seen, fix, vehicle.vehicle_id, vehicle.device_id, self._world, self.options)

        return further

    def _say(self, event: Event, detected_ms: int) -> None:
        self._events.append(structs.replace(event, detected_ms=detected_ms))

    # ------------------------------------------------------------------------------------------------ time, reception

    def _pass_time(self, now_ms: int) -> None:
        """Fire what came due, in the order of deadlines."""
        self._now_ms = max(self._now_ms, now_ms)
        while self._deadlines and self._deadlines[0][0] <= self._now_ms:
            due_ms, vehicle_id = heapq.heappop(self._deadlines)
            if self._scheduled.get(vehicle_id) != due_ms or self._is_contained(vehicle_id):
                continue
            del self._scheduled[vehicle_id]
            vehicle = self._vehicles[vehicle_id]
            self._dirty.add(vehicle_id)
            self._check_silence(vehicle, due_ms)
            self._review(vehicle)
            self._schedule(vehicle)

    def _check_silence(self, vehicle: Vehicle, due_ms: int) -> None:
        rhythm = vehicle.rhythm
        if rhythm.silent_since_ms is None and rhythm.silent_from_ms(self.options.silence) <= due_ms:
            rhythm.silent_since_ms = rhythm.heard_ms
            self._say(_silence_event(vehicle, "silent", due_ms, rhythm.heard_ms), self._now_ms)

    def _review(self, vehicle: Vehicle) -> None:
        """Look at the vehicle's ETAs: what dispatch must hear, and what to keep to learn from."""
        live, seen, rule = vehicle.live, vehicle.history.observed, self.options.adherence
        if live.due_ms is None or live.due_ms > self._now_ms:
            return
        record = None if seen.plan_id is None else self._world.record(seen.plan_id)
        if record is None or not seen.plan_open or self._now_ms > record.end_ms:
            live.due_ms = None
            return
        live.due_ms = self._now_ms + round(rule.every_s * 1000)
        for event in availability(vehicle, self._forecaster.usable(vehicle, self._now_ms), self._now_ms):
            self._say(event, self._now_ms)
        forecasts = self._forecaster.forecasts(vehicle, self._now_ms)
        self._forecaster.sample(vehicle, forecasts)
        etas = self._forecaster.etas(vehicle, forecasts, self._now_ms)
        for event in review(vehicle, record, etas, self._now_ms, rule):
            self._say(event, self._now_ms)

    def _heard(self, item: FrameItem) -> None:
        if item.retained:
            return
        devices = {m.device_id for m in item.messages}
        if item.device_id is not None and item.duplicates:
            devices.add(item.device_id)
        for device_id in sorted(devices):
            assigned = self._world.assignment(device_id, item.received_ms)
            vehicle_id = device_id if assigned is None else assigned.vehicle_id
            if not self._is_contained(vehicle_id):
                self._hear(self._vehicle(vehicle_id), item.received_ms)

    def _hear(self, vehicle: Vehicle, received_ms: int) -> None:
        rhythm = vehicle.rhythm
        if rhythm.silent_since_ms is not None:
            since_ms, rhythm.silent_since_ms = rhythm.silent_since_ms, None
            self._say(_silence_event(vehicle, "reporting", received_ms, since_ms), received_ms)
            self._schedule(vehicle)
        first = rhythm.heard_ms == 0
        rhythm.heard(received_ms)
        self._dirty.add(vehicle.vehicle_id)
        if first:
            self._schedule(vehicle)

    def _schedule(self, vehicle: Vehicle) -> None:
        """One deadline a vehicle: its next review, or when it would be silent were nothing heard until then."""
        due = [] if vehicle.live.due_ms is None else [vehicle.live.due_ms]
        if vehicle.rhythm.silent_since_ms is None and vehicle.rhythm.heard_ms:
            due.append(vehicle.rhythm.silent_from_ms(self.options.silence))
        known = self._scheduled.get(vehicle.vehicle_id)
        if due and (known is None or min(due) < known):
            self._scheduled[vehicle.vehicle_id] = min(due)
            heapq.heappush(self._deadlines, (min(due), vehicle.vehicle_id))

    def next_deadline_ms(self) -> int | None:
        """When something would come due if nothing else is received; a Tick at or after it lets it fire."""
        return self._deadlines[0][0] if self._deadlines else None

    # ------------------------------------------------------------------------------------------------------- commands

    def _command(self, command: Command) -> None:
        if isinstance(command, FenceRemove):
            self._leave_fence(command)
        self._world.apply(command)

    def _leave_fence(self, command: FenceRemove) -> None:
        for vehicle in sorted(self._vehicles.values(), key=lambda v: v.vehicle_id):
            seen = vehicle.history.observed
            if seen.last is None or self._is_contained(vehicle.vehicle_id):
                continue
            if command.fence_id in seen.fences:
                scene = Scene(vehicle.vehicle_id, vehicle.device_id, self.options, self._world, None, None, seen.last)
                for event in removed(seen, scene, command.fence_id, command.received_ms):
                    self._say(event, command.received_ms)
                self._dirty.add(vehicle.vehicle_id)
            if past.close_fence(vehicle.history, command.fence_id):
                self._dirty.add(vehicle.vehicle_id)

    def _sweep(self) -> None:
        self._sweep_ms = self._now_ms + SWEEP_MS
        self._forecaster.forget(self._world.forget_plans(self._is_past))

    def _is_past(self, vehicle_id: str, start_ms: int, over_ms: int) -> bool:
        """Can no fix of the vehicle, new or late, lie in this span any more, nor be replayed in it?"""
        vehicle = self._vehicles.get(vehicle_id)
        if vehicle is not None and past.is_closed(vehicle.history, over_ms):
            return True
        too_old_ms = over_ms + round(self.options.fix.stale_days * 86_400_000) + SWEEP_MS
        return self._now_ms > too_old_ms and (vehicle is None or not past.holds(vehicle.history, start_ms, over_ms))

    def _vehicle(self, vehicle_id: str) -> Vehicle:
        vehicle = self._vehicles.get(vehicle_id)
        if vehicle is None:
            vehicle = self._vehicles[vehicle_id] = Vehicle(vehicle_id)
        return vehicle

    def _is_contained(self, vehicle_id: str) -> bool:
        return self._contained.get(vehicle_id, -1) >= self._entry_id

    # ------------------------------------------------------------------------------------------------------ snapshots

    def snapshots(self) -> dict[str, bytes]:
        """What changed since the last call, by name. Save all of it as of the last entry stepped."""
        predictor = self._forecaster.predictor
        found = {
            "engine": _encoder.encode(self._now_ms),
            "learnt/errors": predictor.errors.snapshot(),
            "learnt/service": predictor.service.snapshot(),
            "learnt/travel": predictor.travel.snapshot(),
        }
        found |= {f"vehicle/{i}": _encoder.encode(_without_checkpoints(self._vehicles[i])) for i in sorted(self._dirty)}
        self._dirty.clear()
        return found

    @classmethod
    def restore(
        cls, options: EngineOptions, snapshots: Mapping[str, tuple[int, bytes]], world: Sequence[Command]
    ) -> Engine:
        """The engine as of its snapshots (name → entry they contain, bytes); then step the entries after the oldest."""
        engine = cls(options)
        for command in world:
            engine._world.apply(command)
        for name, (entry_id, data) in sorted(snapshots.items()):
            if name == "engine":
                engine._now_ms = msgspec.msgpack.decode(data, type=int)
            elif name.startswith("learnt/"):
                engine._forecaster.predictor.restore(name.removeprefix("learnt/"), data)
                engine._learnt_entry = entry_id
            elif name.startswith("vehicle/"):
                vehicle = _vehicle_decoder.decode(data)
                engine._vehicles[vehicle.vehicle_id] = vehicle
                engine._contained[vehicle.vehicle_id] = entry_id
                engine._schedule(vehicle)
        return engine

    # ---------------------------------------------------------------------------------------------------------- views

    def vehicle_ids(self) -> list[str]:
        return sorted(self._vehicles)

    def vehicle(self, vehicle_id: str) -> VehicleView | None:
        vehicle = self._vehicles.get(vehicle_id)
        return None if vehicle is None else self._view(vehicle)

    def vehicles(self) -> list[VehicleView]:
        return [self._view(self._vehicles[i]) for i in sorted(self._vehicles)]

    def _view(self, vehicle: Vehicle) -> VehicleView:
        etas = {e.stop_id: e for e in self.etas(self._now_ms, vehicle.vehicle_id)}
        return view_of(vehicle, self._world, etas)

    def etas(self, at_ms: int, vehicle_id: str | None = None) -> list[Eta]:
        """Predictions for every open stop, as of `at_ms`; none where none can be honest."""
        ids = sorted(self._vehicles) if vehicle_id is None else [vehicle_id]
        vehicles = [self._vehicles[i] for i in ids if i in self._vehicles]
        return [e for v in vehicles for e in self._forecaster.etas(v, self._forecaster.forecasts(v, at_ms), at_ms)]

    def plans(self) -> list[Plan]:
        return self._world.plans()

    def fences(self) -> list[Fence]:
        return self._world.fences()

    def assignments(self) -> list[Assignment]:
        return self._world.assignments()


def _runs(items: Sequence[Item]) -> Iterator[list[tuple[int, FrameItem]] | Tick | Command]:
    """Frames in a row together (their geometry is asked for at once), everything else by itself."""
    run: list[tuple[int, FrameItem]] = []
    for index, item in enumerate(items):
        if isinstance(item, FrameItem):
            run.append((index, item))
            continue
        if run:
            yield run
            run = []
        yield item
    if run:
        yield run


def _by_time(pair: tuple[Taken, Fix]) -> tuple[int, tuple[float, ...]]:
    """By fix time; of one instant, the better fix last."""
    return pair[1].time_ms, worth(pair[1])


def _without_checkpoints(vehicle: Vehicle) -> Vehicle:
    """Checkpoints follow from base and fixes: a rewind after a restart starts at the base."""
    return structs.replace(vehicle, history=structs.replace(vehicle.history, checkpoints=[], unmarked=0))


def _silence_event(vehicle: Vehicle, kind: str, time_ms: int, since_ms: int) -> Event:
    return Event(
        type=f"vehicle.{kind}",
        key=f"vehicle/{vehicle.vehicle_id}/{kind}/{since_ms}",
        time_ms=time_ms,
        detected_ms=0,
        vehicle_id=vehicle.vehicle_id,
        device_id=vehicle.device_id,
        position=vehicle.position,
        measures={
            "last_heard_ms": since_ms,
            "silent_s": round((time_ms - since_ms) / 1000, 1),
            "expected_s": round(vehicle.rhythm.interval_s, 1),
        },
    )


def _history_revised(vehicle_id: str, late: list[Fix], said: list[Event], received_ms: int) -> Event:
    """Closes what a late batch changed."""
    return Event(
        type="history.revised",
        key=f"vehicle/{vehicle_id}/history.revised/{late[0].time_ms}/{received_ms}",
        time_ms=received_ms,
        detected_ms=0,
        vehicle_id=vehicle_id,
        cause="late_fix",
        measures={
            "from_ms": min(f.time_ms for f in late),
            "to_ms": max(f.time_ms for f in late),
            "fixes": len(late),
            "keys_revised": ",".join(e.key for e in said if e.status == "revised"),
            "keys_withdrawn": ",".join(e.key for e in said if e.status == "withdrawn"),
            "keys_added": ",".join(e.key for e in said if e.status == "confirmed"),
        },
    )
