"""`gateway decode`, through the command's own door."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway import decode
from gateway.cli import main
from gateway.protocols import new_encoder
from gateway.protocols.teltonika.layout import LOGIN
from tests.protocols.test_contract import fix

IMEI = "352093081452251"
PACKET = new_encoder("teltonika").positions([fix(0)])
LOCATION = '{"_type":"location","tst":1700000000,"lat":52.1,"lon":4.3}'


class Run:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
        """Exit code, what was printed, and what was said beside."""
        code = main(["decode", *arguments])
        captured = self._capsys.readouterr()
        return code, [json.loads(line) for line in captured.out.splitlines()], captured.err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    return [m["type"] for m in messages]


def test_raw_bytes_of_a_connection(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "raw"
    file.write_bytes(LOGIN.build(IMEI) + PACKET)
    code, messages, _ = run("teltonika", str(file))
    assert (code, kinds(messages)) == (0, ["login", "reply", "position", "reply"])
    assert messages[1]["hex"] == "01"
    assert messages[3]["hex"] == "00000001"
    position = messages[2]
    assert position["device_id"] == IMEI
    assert position["time"] == "2026-03-02T11:00:00.000Z"
    assert (position["lat_deg"], position["lon_deg"]) == (48.137154, -11.576124)
    assert position["valid"] is True


def test_hexadecimal_however_it_is_broken(run: Run, tmp_path: Path) -> None:
    digits = PACKET.hex()
    file = tmp_path / "hex"
    file.write_text(f"{digits[:7]}\n {digits[7:20]} {digits[20:]}\n")
    code, messages, _ = run("teltonika", "--hex", str(file), "--device", "van 7")
    assert (code, kinds(messages), messages[0]["device_id"]) == (0, ["position", "reply"], "van 7")
    file.write_text(f"{digits}\nno digits\n{digits}a")
    code, messages, _ = run("teltonika", "--hex", str(file))
    assert (code, kinds(messages)) == (1, ["position", "reply", "malformed", "position", "reply", "malformed"])
    assert "line 2" in messages[2]["reason"]


def test_standard_input_and_lines_without_terminator(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{LOCATION}\n{LOCATION}\nno\n".encode())))
    code, messages, _ = run("owntracks", "-", "--text")
    assert (code, kinds(messages)) == (1, ["position", "position", "malformed"])
    assert bytes.fromhex(messages[2]["raw"]) == b"no\r\n"
    assert messages[0]["device_id"] == "unknown"


def test_nmea_is_dated_by_the_receive_time(run: Run, tmp_path: Path) -> None:
    data = new_encoder("nmea", {"sentences": ["GGA"]}).positions([fix(0), fix(1)])
    file = tmp_path / "log.nmea"
    file.write_bytes(data)
    _, messages, _ = run("nmea", str(file), "--received", "2024-02-29T12:00:00Z")
    assert [m["time"] for m in messages] == ["2024-02-29T11:00:00.000Z", "2024-02-29T11:00:10.000Z"]


def test_rows(run: Run, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"encoding": "hex", "frame": LOGIN.build(IMEI).hex(), "instance": "a"},
        {"encoding": "hex", "frame": LOGIN.build("1" * 15).hex(), "instance": "b"},
        {"encoding": "hex", "frame": PACKET.hex(), "instance": "a"},
        {"encoding": "hex", "frame": PACKET.hex()[:-8], "instance": "a"},
        {"encoding": "hex", "frame": PACKET.hex(), "instance": "b", "input": "bytes"},
        {"encoding": "hex", "frame": "xyz", "instance": "b"},
        {"encoding": "hex", "frame": PACKET.hex(), "mqtt": {"topic": "t/data", "client_id": "c-9"}},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    code, messages, _ = run("teltonika", "--frames", str(file))
    assert code == 1
    assert [(m["row"], m["type"], m.get("device_id")) for m in messages] == [
        (0, "login", IMEI),
        (0, "reply", None),
        (1, "login", "1" * 15),
        (1, "reply", None),
        (2, "position", IMEI),
        (2, "reply", None),
        (3, "malformed", IMEI),
        (4, "position", "1" * 15),
        (4, "reply", None),
        (5, "malformed", None),
        (6, "position", "c-9"),
    ]


def test_rows_of_requests_and_of_text_that_spans_them(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    document = {**json.loads(LOCATION), "tid": "ne"}
    request = {"method": "POST", "url": "/pub?u=jane&d=phone", "headers": {}}
    file.write_text(
        json.dumps({"encoding": "json", "frame": document, "http": request})
        + "\n"
        + json.dumps({"encoding": "json", "frame": LOCATION, "mqtt": {"topic": "owntracks/jane/van"}})
    )
    code, messages, _ = run("owntracks", "--frames", str(file))
    assert (code, [m["device_id"] for m in messages]) == (0, ["jane-phone", "jane-van"])
    sentences = new_encoder("nmea").positions([fix(0)]).decode().split("\r\n")[:-1]
    assert len(sentences) > 1
    file.write_text("\n".join(json.dumps({"encoding": "text", "frame": s, "instance": 1}) for s in sentences))
    code, messages, _ = run("nmea", "--frames", str(file))
    assert (code, kinds(messages)) == (0, ["position"]), "one epoch, whatever the number of its rows"


def test_options_as_words_and_as_json(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text('{"n":"v-1","t":1700000000,"p":[4.3,52.1],"io":{"fuel":7}}')
    options = ["device_id=n", "time=t", "time_unit=s", "lon_lat=p", '{"attributes":{"fuel_pct":"io.fuel"}}']
    code, messages, _ = run("json", str(file), "--options", *options)
    assert code == 0
    assert (messages[0]["device_id"], messages[0]["lat_deg"]) == ("v-1", 52.1)
    assert messages[0]["attributes"] == {"fuel_pct": 7}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonesuch"], "teltonika"),
        (["teltonika", "/no/such/file"], "/no/such/file"),
        (["teltonika", "--received", "yesterday"], "--received"),
        (["json", "--options", "latt=x"], "latt"),
        (["json", "--options", "rows.jsonl"], "KEY=VALUE"),
        (["json", "--options", "{"], "--options"),
    ],
)
def test_misuse_is_told_with_the_fix(run: Run, arguments: list[str], said: str) -> None:
    code, messages, error = run(*arguments)
    assert (code, messages) == (2, [])
    assert said in error


def test_a_bad_row_names_its_line(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"encoding":"hex","frame":"00"}\n{"frame":1}\n')
    code, _, error = run("teltonika", "--frames", str(file))
    assert code == 2
    assert "rows.jsonl:2" in error


def test_a_row_without_end_names_its_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_ROW_BYTES", 100)
    file = tmp_path / "rows.jsonl"
    file.write_text('{"encoding":"hex","frame":"00"}\n' + " " * 98 + "\n{" + "1" * 200)
    code, _, error = run("teltonika", "--frames", str(file))
    assert code == 2
    assert "rows.jsonl:3" in error


def test_instances_that_fell_silent_are_closed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_INSTANCES", 2)
    file = tmp_path / "rows.jsonl"
    half = PACKET.hex()[:40]
    file.write_text("\n".join(json.dumps({"encoding": "hex", "frame": half, "instance": i}) for i in (1, 2, 1, 3, 4)))
    code, messages, _ = run("teltonika", "--frames", str(file))
    assert code == 1
    assert {m["row"] for m in messages} == {0, 1, 2, 3, 4}, "a packet's half is malformed, in each row"
    sentences = new_encoder("nmea").positions([fix(0)]).decode()
    file.write_text("\n".join(json.dumps({"encoding": "text", "frame": sentences, "instance": i}) for i in range(4)))
    code, messages, _ = run("nmea", "--frames", str(file))
    assert (code, [m["row"] for m in messages]) == (0, [0, 1, 2, 3])


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    data = new_encoder("nmea").positions([fix(i) for i in range(100)])

    def held_kib(times: int) -> int:
        file = tmp_path / "log.nmea"
        file.write_bytes(data * times)
        program = "import sys; from gateway.cli import main; sys.exit(main())"
        with (tmp_path / "out").open("wb") as out:
            process = subprocess.Popen([sys.executable, "-c", program, "decode", "nmea", str(file)], stdout=out)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss

    assert held_kib(times=400) - held_kib(times=25) < 4 * 1024, "of a file that is 8 MB larger"


def test_nothing_read_is_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "empty"
    file.write_bytes(b"")
    code, messages, error = run("teltonika", str(file))
    assert (code, messages) == (1, [])
    assert "nothing" in error
