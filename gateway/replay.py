"""`gateway replay`: the engine over a recording of positions. No network, no clock: the same input gives the same bytes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

import msgspec
from msgspec import Struct

from gateway import cloudevents
from gateway.engine import Engine, EngineOptions
from gateway.geofence import read_fences, read_plans
from gateway.model import (
    Assignment,
    Command,
    DevicePut,
    Entry,
    Eta,
    FencesPut,
    FrameItem,
    Item,
    PlanPut,
    Position,
    Scalar,
)
from gateway.problems import BadInput, Problem, position_problems
from gateway.times import rfc3339

SOURCE = "/gateway/replay"
BATCH_ROWS = 512
PROBLEMS_SHOWN = 20
PROGRESS_ROWS = 50_000
MAX_LINE_BYTES = 64 * 1024


class Row(Struct, frozen=True, kw_only=True):
    """One line of a positions file; what is absent or null is not known. Keys that are not named here are passed over."""

    device_id: str
    time_ms: int
    lat_deg: float
    lon_deg: float
    received_ms: int | None = None
    altitude_m: float | None = None
    speed_mps: float | None = None
    course_deg: float | None = None
    accuracy_m: float | None = None
    hdop: float | None = None
    satellites: int | None = None
    valid: bool = True
    attributes: dict[str, Scalar] = msgspec.field(default_factory=dict)


class EtaLine(Struct, frozen=True, kw_only=True):
    """A prediction as `--eta-every` prints it; times are RFC 3339."""

    vehicle: str
    plan: str
    stop: str
    at: str
    p10: str
    p50: str
    p90: str
    method: str
    type: str = "eta"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--positions",
        action="append",
        required=True,
        type=Path,
        metavar="FILE.jsonl",
        help="positions in order of arrival, one JSON object a line; may be given again",
    )
    parser.add_argument("--plans", type=Path, metavar="FILE.json", help="a plan, or an array of plans")
    parser.add_argument("--fences", type=Path, metavar="FILE.geojson", help="zones as GeoJSON")
    parser.add_argument(
        "--eta-every", type=float, metavar="SECONDS", help="also print each open stop's ETA, so often in receive time"
    )


def run(args: argparse.Namespace) -> int:
    """0; 1 if rows were passed over (they are reported on stderr); 2 if an input cannot be used at all."""
    if args.eta_every is not None and not args.eta_every > 0:
        return _refused([Problem("--eta-every", f"is {args.eta_every:g}", "give a number of seconds above 0")])
    try:
        for path in args.positions:
            path.open("rb").close()
        replay = Replay(_world(args.plans, args.fences), args.eta_every, sys.stdout.buffer)
    except BadInput as e:
        return _refused(e.problems)
    except OSError as e:
        return _refused([Problem(str(e.filename), str(e.strerror), "name a file that can be read")])
    rows = Rows(args.positions, sys.stderr)
    try:
        for batch in rows.batches():
            replay.feed(batch)
        replay.end()
    except BrokenPipeError:
        return 1
    rows.report()
    return 1 if rows.bad else 0


def _refused(problems: tuple[Problem, ...] | list[Problem]) -> int:
    for problem in problems[:PROBLEMS_SHOWN]:
        print(problem, file=sys.stderr)
    if len(problems) > PROBLEMS_SHOWN:
        print(f"… and {len(problems) - PROBLEMS_SHOWN} more", file=sys.stderr)
    return 2


def _world(plans: Path | None, fences: Path | None) -> list[Command]:
    """The commands that stand at the beginning; received at time 0, so that they are older than every fix."""
    commands: list[Command] = []
    if fences is not None:
        commands.append(FencesPut(0, tuple(read_fences(fences.read_bytes(), str(fences)))))
    if plans is not None:
        commands += [PlanPut(0, plan) for plan in read_plans(plans.read_bytes(), str(plans))]
    return commands


class Rows:
    """Rows of the files, one after the other, in batches. A bad row is told on stderr; its neighbours live."""

    def __init__(self, paths: list[Path], stderr: TextIO) -> None:
        self._paths = paths
        self._stderr = stderr
        self._decoder = msgspec.json.Decoder(Row)
        self.good = 0
        self.bad = 0

    def batches(self) -> Iterator[list[Row]]:
        batch: list[Row] = []
        for path in self._paths:
            with path.open("rb") as file:
                for number, line in enumerate(_lines(file), start=1):
                    row = self._row(line, f"{path}:{number}")
                    if row is None:
                        continue
                    batch.append(row)
                    if len(batch) == BATCH_ROWS:
                        yield batch
                        batch = []
        if batch:
            yield batch

    def _row(self, line: bytes, where: str) -> Row | None:
        try:
            row = self._decoder.decode(line)
        except msgspec.DecodeError as e:
            if not line.strip():
                return None
            what, _, key = str(e).partition(" - at `$")
            self._bad(Problem(f"{where}{key.rstrip('`')}", what, "see docs/position.schema.json; times are Unix ms"))
            return None
        except UnicodeDecodeError:
            self._bad(Problem(where, "is not UTF-8", "write the file as UTF-8"))
            return None
        if not (-90 <= row.lat_deg <= 90 and -180 <= row.lon_deg <= 180):
            self._bad(*position_problems(where, row.lat_deg, row.lon_deg))
            return None
        self.good += 1
        if self.good % PROGRESS_ROWS == 0 and self._stderr.isatty():
            print(f"\r{self.good:,} positions", end="", file=self._stderr, flush=True)
        return row

    def _bad(self, *problems: Problem) -> None:
        self.bad += 1
        if self.bad <= PROBLEMS_SHOWN:
            for problem in problems:
                print(problem, file=self._stderr)

    def report(self) -> None:
        if self.good >= PROGRESS_ROWS and self._stderr.isatty():
            print(file=self._stderr)
        if self.bad:
            print(f"{self.bad} rows were passed over, {self.good} taken", file=self._stderr)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of bounded length: the rest of one that is longer comes as a line of its own, and is bad in its turn."""
    while line := file.readline(MAX_LINE_BYTES):
        yield line


class Replay:
    """Feeds rows to an engine as a source would, and prints what it says."""

    def __init__(self, world: list[Command], eta_every_s: float | None, out: BinaryIO) -> None:
        self._engine = Engine(EngineOptions())
        self._out = out
        self._every_ms = None if eta_every_s is None else max(1, round(eta_every_s * 1000))
        self._due_ms: int | None = None
        self._entry_id = 0
        self._known: set[str] = set()
        if world:
            self._step(world)

    def feed(self, rows: list[Row]) -> None:
        items: list[Item] = []
        for row in rows:
            received_ms = row.time_ms if row.received_ms is None else row.received_ms
            if self._every_ms is not None:
                if self._due_ms is not None and received_ms > self._due_ms:
                    self._step(items)
                    items = []
                self._tell_etas(received_ms)
            if row.device_id not in self._known:
                self._known.add(row.device_id)
                items.append(DevicePut(0, Assignment(device_id=row.device_id, vehicle_id=row.device_id)))
            items.append(_frame(row, received_ms))
        self._step(items)

    def end(self) -> None:
        if self._every_ms is not None and self._due_ms is not None:
            self._tell_etas(self._due_ms + 1)
        self._out.flush()

    def _tell_etas(self, received_ms: int) -> None:
        """At each multiple of the period that this receive time has passed; none while nothing was received."""
        every_ms = self._every_ms or 1
        if self._due_ms is not None and received_ms > self._due_ms:
            for eta in self._engine.etas(self._due_ms):
                self._out.write(msgspec.json.encode(_eta_line(eta)) + b"\n")
        if self._due_ms is None or received_ms > self._due_ms:
            self._due_ms = -(-received_ms // every_ms) * every_ms

    def _step(self, items: list[Item] | list[Command]) -> None:
        if not items:
            return
        self._entry_id += 1
        step = self._engine.step(Entry(self._entry_id, tuple(items)))
        self._out.writelines(cloudevents.encode(e, SOURCE) + b"\n" for e in step.events)


def _frame(row: Row, received_ms: int) -> FrameItem:
    position = Position(
        device_id=row.device_id,
        time_ms=row.time_ms,
        lat_deg=row.lat_deg,
        lon_deg=row.lon_deg,
        altitude_m=row.altitude_m,
        speed_mps=row.speed_mps,
        course_deg=row.course_deg,
        accuracy_m=row.accuracy_m,
        hdop=row.hdop,
        satellites=row.satellites,
        valid=row.valid,
        attributes=row.attributes,
    )
    return FrameItem(
        source="replay",
        protocol="jsonl",
        received_ms=received_ms,
        device_id=row.device_id,
        raw=b"",
        messages=(position,),
        ordinals=(0,),
    )


def _eta_line(eta: Eta) -> EtaLine:
    return EtaLine(
        vehicle=eta.vehicle_id,
        plan=eta.plan_id,
        stop=eta.stop_id,
        at=rfc3339(eta.at_ms),
        p10=rfc3339(eta.p10_ms),
        p50=rfc3339(eta.p50_ms),
        p90=rfc3339(eta.p90_ms),
        method=eta.method,
    )
