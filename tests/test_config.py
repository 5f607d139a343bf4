"""The configuration: the sample names every key and works; a wrong one is told by file, key and fix."""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.app import Gateway
from gateway.cli import main
from gateway.config import SAMPLE, Config, parse_config, read_config
from gateway.journal import Journal
from gateway.problems import BadInput


def uncommented() -> str:
    """The sample with every key in force."""
    return re.sub(r"^# ", "", SAMPLE.read_text(), flags=re.MULTILINE)


def keys(kind: Any, path: str = "") -> set[str]:
    found: set[str] = set()
    if isinstance(kind, msgspec.inspect.StructType):
        for field in kind.fields:
            found |= {f"{path}{field.encode_name}"} | keys(field.type, f"{path}{field.encode_name}.")
    elif isinstance(kind, msgspec.inspect.UnionType):
        for each in kind.types:
            found |= keys(each, path)
    elif isinstance(kind, msgspec.inspect.VarTupleType):
        found |= keys(kind.item_type, path)
    return found


def written(document: Any, path: str = "") -> set[str]:
    found: set[str] = set()
    if isinstance(document, dict):
        for key, value in document.items():
            found |= {f"{path}{key}"} | written(value, f"{path}{key}.")
    elif isinstance(document, list):
        for each in document:
            found |= written(each, path)
    return found


def test_the_sample_works_as_it_is() -> None:
    assert parse_config(SAMPLE.read_bytes(), "sample") == Config()


def test_the_sample_names_every_key() -> None:
    left_out = {
        "sources.endpoint.anonymous",  # for the demo alone
        "sources.endpoint.credentials.password_hash",  # in place of password_env, told beside it
    }
    named = written(tomllib.loads(uncommented()))
    assert keys(msgspec.inspect.type_info(Config)) - named <= left_out


def test_the_sample_is_right_with_every_key_in_force() -> None:
    config = parse_config(uncommented().encode(), "sample")
    assert config.sources.endpoint is not None
    assert config.sinks.webhook is not None
    defaults = Config()
    assert config.engine == defaults.engine
    assert config.journal == defaults.journal
    assert config.intake == defaults.intake


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[gatway]\n", "gw.toml: gatway: is no key that the gateway knows; did you mean 'gateway'?"),
        ("[gateway]\nnmae = 'x'\n", "gw.toml: gateway.nmae: is no key that the gateway knows; did you mean 'name'?"),
        ("[web]\nport = 'x'\n", "gw.toml: web.port: Expected `int`, got `str`"),
        ("[[sinks.influx]]\n", "gw.toml: sinks.influx: Expected `object | null`, got `array`"),
        ("[gateway\n", "gw.toml: is not TOML"),
        (
            "[[sources.serial]]\nport = '/dev/x'\n",
            "gw.toml: sources.serial[0]: Object missing required field `device_id`",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_key(text: str, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_config(text.encode(), "gw.toml")
    assert told in str(caught.value)


def test_paths_are_those_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("[gateway]\ndata_dir = 'data'\nplans = ['p.json']\n")
    part = read_config(path).gateway
    assert part.data_dir == str(tmp_path / "data")
    assert part.plans == (str(tmp_path / "p.json"),)


def test_check_lists_everything_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plans.json").write_text(
        '[{"plan_id": "1", "vehicle_id": "ghost", "stops": [{"stop_id": "a", "sequence": 1, "lat_deg": 139.7, "lon_deg": 35.6}]}]'
    )
    (tmp_path / "zones.geojson").write_text("{}")
    path = tmp_path / "gateway.toml"
    path.write_text(
        "[gateway]\nplans = ['plans.json', 'gone.json']\nfences = ['zones.geojson']\n[web]\nlisten = '0.0.0.0'\n"
    )
    assert main(["check", str(path)]) == 1
    said = capsys.readouterr().err
    assert "plans.json: plans[0].stops[0]" in said
    assert "look swapped: write latitude 35.6, longitude 139.7" in said
    assert "no vehicle 'ghost' is known" in said
    assert "gone.json: No such file" in said
    assert "zones.geojson" in said
    assert "GATEWAY_TOKEN" in said


@pytest.mark.parametrize("command", ["run", "check"])
def test_nobody_is_let_in_without_credentials(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("[sources.endpoint]\nlisten = '127.0.0.1:0'\nanonymous = true\n")
    assert main([command, str(path)]) in {1, 2}
    assert "sources.endpoint.anonymous: lets in whoever connects" in capsys.readouterr().err


def test_a_missing_file_is_told_with_the_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path / "none.toml")]) == 2
    assert "gateway sample-config" in capsys.readouterr().err


def test_a_second_gateway_on_the_same_journal_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("[web]\nport = 0\n")
    (tmp_path / "gateway-data").mkdir()
    journal = Journal.open(tmp_path / "gateway-data" / "gateway.journal")
    try:
        assert main(["run", str(path)]) == 1
    finally:
        journal.close()
    assert "gateway.journal" in capsys.readouterr().err


async def test_a_recording_of_the_configuration_is_played(tmp_path: Path) -> None:
    sentence = "$GPRMC,081836,A,3751.65,S,14507.36,E,000.0,360.0,130998,011.3,E*62\r\n"
    (tmp_path / "old.nmea").write_text(sentence)
    path = tmp_path / "gateway.toml"
    path.write_text(
        "[registry]\nunknown = 'register'\n[web]\nport = 0\n[journal]\nmin_free_mb = 1\n"
        "[[sources.recording]]\npath = 'old.nmea'\ndevice_id = 'old'\nreference_time = '1998-09-13T09:00:00Z'\n"
    )
    gateway, stop = Gateway(read_config(path)), asyncio.Event()
    serving = asyncio.create_task(gateway.run(stop))
    async with asyncio.timeout(20):
        while not gateway.journal.totals.journaled:
            await asyncio.sleep(0.02)
        [fix] = gateway.journal.track("old", 0, 2**60)
        stop.set()
        await serving
    assert (fix.position.time_ms, fix.position.lat_deg) == (905_674_716_000, pytest.approx(-37.8608333))


def test_doctor_looks_at_the_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        "[web]\nport = 1\n[[sources.serial]]\nport = '/dev/none'\ndevice_id = 'x'\n"
        "[sinks.influx]\nurl = 'http://127.0.0.1:9'\nbucket = 'b'\n[journal]\nmin_free_mb = 1\n"
    )
    assert main(["doctor", str(path)]) == 1
    said = capsys.readouterr().out
    assert "ok   " in said
    assert "bad  serial port /dev/none is not there" in said
    assert "bad  the database of sinks.influx does not answer on 127.0.0.1:9" in said
