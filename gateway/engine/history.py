"""The recent past of one vehicle, kept so that late data can rewrite it.

Fixes lie in a ring by their time; a checkpoint (msgpack of `Observed`) follows every eighth. A late fix is put in its place,
the state before it is decoded and advanced again until it meets a checkpoint unchanged, and what then differs from what was
said is said as revision, withdrawal or new event. The ring reaches back `LateRule.horizon_s`; beyond it the past is closed.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct, field, structs

from gateway.cloudevents import event_id
from gateway.engine.fixes import Fix, better
from gateway.engine.observed import Observed
from gateway.engine.options import LateRule
from gateway.model import Event

CHECKPOINT_FIXES = 8

Advance = Callable[[Observed, Fix], list[Event]]


class Fact(Struct, frozen=True, array_like=True):
    """An observed event and the time of the fix that decided it."""

    fix_ms: int
    event: Event


class Checkpoint(Struct, frozen=True, array_like=True):
    """`Observed` after the fix of that time."""

    fix_ms: int
    state: bytes


class History(Struct):
    observed: Observed = field(default_factory=Observed)
    base: Checkpoint | None = None
    """The state before the ring's first fix; None: the beginning of everything."""
    ring: list[Fix] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    unmarked: int = 0
    facts: list[Fact] = field(default_factory=list)
    said: dict[str, Event] = field(default_factory=dict)
    """By key, what was sent last; a tombstone stays until the plan is over."""

    @property
    def newest_ms(self) -> int | None:
        return self.ring[-1].time_ms if self.ring else None


_encoder = msgspec.msgpack.Encoder()
_observed = msgspec.msgpack.Decoder(Observed)


def extend(history: History, fix: Fix, advance: Advance, rule: LateRule) -> list[Event]:
    """Take the newest fix. Returns what is to be said, unnumbered."""
    facts = advance(history.observed, fix)
    history.ring.append(fix)
    history.unmarked += 1
    if history.unmarked >= CHECKPOINT_FIXES:
        history.unmarked = 0
        history.checkpoints.append(Checkpoint(fix.time_ms, _encoder.encode(history.observed)))
        _forget(history, fix.time_ms - round(rule.horizon_s * 1000), rule.fixes)
    if not facts:
        return []
    history.facts += [Fact(fix.time_ms, e) for e in facts]
    return [_next_version(history, e) for e in facts]


def _forget(history: History, before_ms: int, most: int) -> None:
    """Close the past up to the newest checkpoint that lies beyond the horizon."""
    if len(history.ring) > most:
        before_ms = max(before_ms, history.ring[-most].time_ms)
    passed = bisect.bisect_right(history.checkpoints, before_ms, key=lambda c: c.fix_ms)
    if not passed:
        return
    history.base = history.checkpoints[passed - 1]
    del history.checkpoints[:passed]
    closed_ms = history.base.fix_ms
    del history.ring[: bisect.bisect_right(history.ring, closed_ms, key=lambda f: f.time_ms)]
    gone = [f.event.key for f in history.facts if f.fix_ms <= closed_ms]
    if gone:
        history.facts = [f for f in history.facts if f.fix_ms > closed_ms]
    current = f"plan/{history.observed.plan_id}/"
    live = {f.event.key for f in history.facts}
    history.said = {k: e for k, e in history.said.items() if k in live or k.startswith(current)}


def reaches(history: History, time_ms: int) -> bool:
    """May a fix of this time still rewrite the past?"""
    return history.base is None or time_ms > history.base.fix_ms


def is_closed(history: History, until_ms: int) -> bool:
    """Is everything up to then beyond the reach of late fixes?"""
    return history.base is not None and until_ms <= history.base.fix_ms


def holds(history: History, first_ms: int, last_ms: int) -> bool:
    """Lies a fix in the ring between these times?"""
    i = bisect.bisect_left(history.ring, first_ms, key=lambda f: f.time_ms)
    return i < len(history.ring) and history.ring[i].time_ms <= last_ms


def close_fence(history: History, fence_id: str) -> bool:
    """A zone was removed: what was said of it stands, and no rewind concludes anything of it any more. False: it was
    nowhere near. Checkpoints of another world are dropped; its visits go on counting, should the zone come again.
    """
    near = [i for i, fix in enumerate(history.ring) if any(known == fence_id for known, _ in fix.fences)]
    base = None if history.base is None else _observed.decode(history.base.state)
    if not near and (base is None or fence_id not in base.fences):
        return False
    for i in near:
        fix = history.ring[i]
        history.ring[i] = structs.replace(fix, fences=tuple(f for f in fix.fences if f[0] != fence_id))
    visits = history.observed.fence_visits.get(fence_id)
    base = base or Observed()
    base.fences.pop(fence_id, None)
    if visits:
        base.fence_visits[fence_id] = visits
    history.base = Checkpoint(-1 if history.base is None else history.base.fix_ms, _encoder.encode(base))
    history.checkpoints, history.unmarked = [], 0
    history.facts = [f for f in history.facts if f.event.fence_id != fence_id]
    history.said = {k: e for k, e in history.said.items() if e.fence_id != fence_id}
    return True


def find(history: History, time_ms: int) -> Fix | None:
    """The fix of that very instant, if there is one."""
    i = bisect.bisect_left(history.ring, time_ms, key=lambda f: f.time_ms)
    return history.ring[i] if i < len(history.ring) and history.ring[i].time_ms == time_ms else None


def rewind(history: History, late: Iterable[Fix], advance: Advance, rule: LateRule) -> list[Event]:
    """Put late fixes in their places and say what changes: withdrawals first, then by time."""
    places: list[int] = []
    for fix in late:
        i = bisect.bisect_left(history.ring, fix.time_ms, key=lambda f: f.time_ms)
        if i < len(history.ring) and history.ring[i].time_ms == fix.time_ms:
            if not better(fix, history.ring[i]):
                continue
            history.ring[i] = fix
        else:
            history.ring.insert(i, fix)
        places.append(fix.time_ms)
    if not places:
        return []
    old, new = _replayed(history, min(places), max(places), advance)
    return _difference(history, old, new, rule)


def _replayed(history: History, first_ms: int, last_ms: int, advance: Advance) -> tuple[list[Fact], list[Fact]]:
    """Advance anew from the last checkpoint before `first_ms`; the facts that stood there, and those that stand now."""
    kept = bisect.bisect_left(history.checkpoints, first_ms, key=lambda c: c.fix_ms)
    start = history.checkpoints[kept - 1] if kept else history.base
    observed = Observed() if start is None else _observed.decode(start.state)
    start_ms = -1 if start is None else start.fix_ms
    old = {c.fix_ms: c.state for c in history.checkpoints[kept:]}
    checkpoints, facts, unmarked = history.checkpoints[:kept], [], 0
    met_ms = None
    for fix in history.ring[bisect.bisect_right(history.ring, start_ms, key=lambda f: f.time_ms) :]:
        facts += [Fact(fix.time_ms, e) for e in advance(observed, fix)]
        unmarked += 1
        if fix.time_ms in old or unmarked >= CHECKPOINT_FIXES:
            state = _encoder.encode(observed)
            checkpoints.append(Checkpoint(fix.time_ms, state))
            unmarked = 0
            if fix.time_ms > last_ms and old.get(fix.time_ms) == state:
                met_ms = fix.time_ms
                break
    if met_ms is None:
        history.observed, history.unmarked = observed, unmarked
        stood = [f for f in history.facts if f.fix_ms > start_ms]
        after: list[Fact] = []
    else:
        checkpoints += [c for c in history.checkpoints[kept:] if c.fix_ms > met_ms]
        stood = [f for f in history.facts if start_ms < f.fix_ms <= met_ms]
        after = [f for f in history.facts if f.fix_ms > met_ms]
    history.checkpoints = checkpoints
    history.facts = [f for f in history.facts if f.fix_ms <= start_ms] + facts + after
    return stood, facts


def _difference(history: History, old: list[Fact], new: list[Fact], rule: LateRule) -> list[Event]:
    keys = {f.event.key for f in (*old, *new)}
    stands = {f.event.key: f.event for f in history.facts if f.event.key in keys}
    withdrawals: list[Event] = []
    changes: list[Event] = []
    for key in sorted(keys):
        said, now = history.said.get(key), stands.get(key)
        was = said is not None and said.status != "withdrawn"
        if now is None or now.status == "withdrawn":
            if said is not None and was:
                gone = structs.replace(said, status="withdrawn", previous_ms=None)
                withdrawals.append(_next_version(history, gone, cause="late_fix"))
        elif said is None or not was:
            changes.append(_next_version(history, now, cause="late_fix"))
        elif abs(said.time_ms - now.time_ms) > rule.revise_min_s * 1000 or said.early_late != now.early_late:
            revised = structs.replace(now, status="revised", previous_ms=said.time_ms)
            changes.append(_next_version(history, revised, cause="late_fix"))
    withdrawals.sort(key=lambda e: e.time_ms)
    changes.sort(key=lambda e: (e.time_ms, e.type != "stop.departed", e.type != "geofence.exited", e.key))
    return withdrawals + changes


def _next_version(history: History, event: Event, cause: str | None = None) -> Event:
    said = history.said.get(event.key)
    if said is not None:
        event = structs.replace(event, revision=said.revision + 1, supersedes=event_id(said))
    if cause is not None:
        event = structs.replace(event, cause=cause, late=True)
    history.said[event.key] = event
    return event
