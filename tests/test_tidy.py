"""Rules of the house that a machine can hold: import directions, length of functions, units in names, no strays."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODEL = {"model", "geo", "times", "problems", "cloudevents", "documents"}
MAY_IMPORT = {  # part → the parts of gateway it may import; imports point left
    "model": MODEL,
    "protocols": MODEL | {"protocols"},
    "geofence": MODEL | {"geofence"},
    "eta": MODEL | {"eta"},
    "engine": MODEL | {"geofence", "eta", "engine"},
    "journal": MODEL | {"journal"},
    "sources": MODEL | {"protocols", "journal", "sources"},
    "sinks": MODEL | {"journal", "sinks"},
    "web": MODEL | {"geofence", "eta", "engine", "journal", "web"},
}
PURE = {"protocols", "geofence", "eta", "engine"}
NOT_PURE = {
    "asyncio", "socket", "time", "random", "logging", "threading", "subprocess", "os", "pathlib", "io", "selectors",
    "sqlite3", "tempfile", "shutil", "ssl", "select", "signal", "secrets",
}  # fmt: skip
LINES_MAX = 60
QUANTITIES = {
    "time", "speed", "distance", "duration", "timeout", "interval", "radius", "width", "height", "altitude", "latitude",
    "longitude", "lat", "lon", "heading", "course", "accuracy", "age", "delay", "period", "dwell", "size", "latency",
    "temperature", "voltage", "lateness", "tolerance",
}  # fmt: skip
UNITS_SEEN = "time_ms, speed_mps, distance_m, lat_deg, size_bytes"


def modules(*folders: str) -> list[Path]:
    return sorted(p for f in folders for p in (ROOT / f).rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def part_of(path: Path) -> str:
    first = path.relative_to(ROOT / "gateway").parts[0].removesuffix(".py")
    return "model" if first in MODEL else first


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write absolute imports"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules("gateway"), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_left(path: Path) -> None:
    part = part_of(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "firmware_sim":
            assert part == "demo", f"{path}: only the demo knows the simulator, not {part}"
        if parts[0] != "gateway" and part in PURE:
            assert parts[0] not in NOT_PURE, f"{path}: {part} is pure and must not import {parts[0]}"
        if parts[0] == "gateway" and len(parts) > 1 and part in MAY_IMPORT and parts[1] != "__version__":
            assert parts[1] in MAY_IMPORT[part], f"{path}: {part} must not import gateway.{parts[1]}"


@pytest.mark.parametrize("path", modules("firmware_sim"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_simulator_knows_the_model_and_the_codecs_only(path: Path) -> None:
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "gateway" and len(parts) > 1:
            assert parts[1] in MODEL | {"protocols", "__version__"}, f"{path} imports {name}"


@pytest.mark.parametrize(
    "path", modules("gateway", "firmware_sim", "benchmarks"), ids=lambda p: str(p.relative_to(ROOT))
)
def test_functions_fit_on_a_screen(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= LINES_MAX, f"{path}:{node.lineno} {node.name} has {lines} lines, {LINES_MAX} at most"


def numeric(annotation: ast.expr | None) -> bool:
    return annotation is not None and bool(re.search(r"\b(int|float)\b", ast.unparse(annotation).split("[")[0]))


def quantities(path: Path) -> Iterator[tuple[int, str]]:
    """Names that hold a number: fields, annotated variables and parameters."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and numeric(node.annotation):
            yield node.lineno, node.target.id
        if isinstance(node, ast.arg) and numeric(node.annotation):
            yield node.lineno, node.arg


@pytest.mark.parametrize("path", modules("gateway", "firmware_sim"), ids=lambda p: str(p.relative_to(ROOT)))
def test_units_stand_in_names(path: Path) -> None:
    for line, name in quantities(path):
        if name.strip("_").startswith(("cos_", "sin_", "tan_")):
            continue  # a ratio
        last = name.strip("_").rsplit("_", 1)[-1]
        assert last not in QUANTITIES, f"{path}:{line} {name!r} is a number without its unit (such as {UNITS_SEEN})"


def tracked() -> list[str]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def test_no_lock_file_that_names_hosts_and_nothing_big() -> None:
    for name in tracked():
        assert Path(name).name not in {"uv.lock", "pylock.toml", "poetry.lock"}, name
        assert (ROOT / name).stat().st_size < 1_500_000, f"{name} is too large for the repository"


def test_every_text_file_ends_with_one_newline_and_has_no_trailing_blanks() -> None:
    for name in tracked():
        if Path(name).suffix in {".py", ".toml", ".md", ".js", ".css", ".html"} or name == "Makefile":
            text = (ROOT / name).read_text()
            assert not text or (text.endswith("\n") and not text.endswith("\n\n")), name
            assert not re.search(r"[ \t]+$", text, re.MULTILINE), f"{name} has trailing blanks"


def test_schemas_in_docs_are_those_of_the_model() -> None:
    import msgspec

    from gateway.documents import schemas

    for name, schema in schemas().items():
        written = msgspec.json.decode((ROOT / "docs" / name).read_bytes())
        assert written == msgspec.json.decode(msgspec.json.encode(schema)), f"run `make schemas`: docs/{name} is old"
