"""The configuration: one TOML file; secrets from the environment; an unknown key is an error that names its path."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from gateway.engine import EngineOptions
from gateway.journal import IntakeOptions, JournalOptions
from gateway.problems import BadInput, Problem
from gateway.sinks.dispatch import DispatchOptions
from gateway.sinks.influx import InfluxOptions
from gateway.sinks.webhook import WebhookOptions
from gateway.sources.mqtt_client import MqttClientOptions
from gateway.sources.mqtt_endpoint import EndpointOptions
from gateway.sources.recording import RecordingOptions
from gateway.sources.serial_port import SerialOptions
from gateway.web.options import WebOptions

FILES = {
    "data_dir", "plans", "fences", "ca_file", "cert_file", "key_file", "credentials_file", "cert", "key", "client_ca", "ground",
    "path",
}  # fmt: skip
"""Keys that name files or folders."""
SAMPLE = Path(__file__).with_name("sample.toml")


class GatewayPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`name` stands in the source of every event, `fleet` in the topics of dispatch."""

    data_dir: str = "gateway-data"
    name: str = "gateway-1"
    fleet: str = "default"
    plans: tuple[str, ...] = ()
    fences: tuple[str, ...] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    snapshot_every_s: float = 30.0
    drain_s: float = 10.0


class DevicePart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    device_id: str
    vehicle_id: str


class RegistryPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which device reports for which vehicle. A device that is not listed is quarantined, or registered as a vehicle."""

    unknown: Literal["quarantine", "register"] = "quarantine"
    devices: tuple[DevicePart, ...] = ()


class SourcesPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    serial: tuple[SerialOptions, ...] = ()
    mqtt: tuple[MqttClientOptions, ...] = ()
    endpoint: EndpointOptions | None = None
    recording: tuple[RecordingOptions, ...] = ()


class SinksPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    influx: InfluxOptions | None = None
    mqtt: DispatchOptions | None = None
    webhook: WebhookOptions | None = None


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    gateway: GatewayPart = field(default_factory=GatewayPart)
    registry: RegistryPart = field(default_factory=RegistryPart)
    journal: JournalOptions = field(default_factory=JournalOptions)
    intake: IntakeOptions = field(default_factory=IntakeOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)
    sources: SourcesPart = field(default_factory=SourcesPart)
    sinks: SinksPart = field(default_factory=SinksPart)
    web: WebOptions = field(default_factory=WebOptions)


def read_config(path: Path) -> Config:
    """The file's configuration, its relative paths taken from the file's own folder. Raises BadInput."""
    try:
        text = path.read_bytes()
    except OSError as e:
        fix = "name a file that can be read, or make one with `gateway sample-config > gateway.toml`"
        raise BadInput([Problem(str(path), e.strerror or str(e), fix)]) from e
    return parse_config(text, str(path), path.resolve().parent)


def open_doors(config: Config, where: str) -> list[Problem]:
    """Trackers without credentials are let in by the demo alone, not even on loopback by a gateway that is meant."""
    if config.sources.endpoint is None or not config.sources.endpoint.anonymous:
        return []
    fix = "list credentials, with a device_id each, and leave it out"
    return [Problem(f"{where}: sources.endpoint.anonymous", "lets in whoever connects; only the demo may", fix)]


def parse_config(text: bytes, where: str, folder: Path | None = None) -> Config:
    """The configuration that a TOML text means; its paths taken from `folder`. Raises BadInput that names the key."""
    try:
        document = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise BadInput([Problem(where, f"is not TOML: {e}", "mend the line it names")]) from e
    if folder is not None:
        _settle_paths(document, folder)
    try:
        return msgspec.convert(document, Config)
    except msgspec.ValidationError as e:
        what, _, path = str(e).partition(" - at `$")
        at = path.rstrip("`").lstrip(".")
        unknown = "unknown field `"
        if unknown in what:
            key = what.partition(unknown)[2].rstrip("`")
            full = f"{at}.{key}".lstrip(".")
            raise BadInput([Problem(f"{where}: {full}", "is no key that the gateway knows", _like(key))]) from e
        raise BadInput([Problem(f"{where}: {at}", what, "see `gateway sample-config`")]) from e


def _settle_paths(table: dict[str, Any], folder: Path) -> None:
    """Relative paths of files, wherever they stand, become those beside the configuration."""
    table.setdefault("gateway", {})
    if isinstance(table["gateway"], dict):
        table["gateway"].setdefault("data_dir", GatewayPart().data_dir)
    _settle(table, folder)


def _settle(value: Any, folder: Path) -> None:
    if isinstance(value, list):
        for each in value:
            _settle(each, folder)
    if not isinstance(value, dict):
        return
    for key, found in value.items():
        if key in FILES and isinstance(found, str):
            value[key] = str(folder / found)
        elif key in FILES and isinstance(found, list):
            value[key] = [str(folder / name) if isinstance(name, str) else name for name in found]
        elif key != "options":  # those are the protocol's own
            _settle(found, folder)


def _like(key: str) -> str:
    """A hint to the key that was meant."""
    close = difflib.get_close_matches(key, sorted(set(_keys(msgspec.inspect.type_info(Config)))), n=1)
    return f"did you mean {close[0]!r}? " * bool(close) + "`gateway sample-config` lists them all"


def _keys(kind: Any) -> Iterator[str]:
    """The names of all keys below a type of the configuration."""
    if isinstance(kind, msgspec.inspect.StructType):
        for each in kind.fields:
            yield each.encode_name
            yield from _keys(each.type)
    elif isinstance(kind, msgspec.inspect.UnionType):
        for each_type in kind.types:
            yield from _keys(each_type)
    elif isinstance(kind, msgspec.inspect.VarTupleType):
        yield from _keys(kind.item_type)
