"""From real bytes on a serial line and through a broker to the database and the stream, with nothing missing or doubled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.model import Position
from gateway.protocols import new_encoder
from tests.playback import Message, Recording, play

VECTORS = Path(__file__).parent / "protocols" / "vectors"
NOON_MS = 1_741_348_800_000  # 2025-03-07T12:00:00Z


def drive() -> bytes:
    """A minute of a receiver that moves, as its encoder speaks, with noise on the line."""
    encoder = new_encoder("nmea")
    seconds = [
        encoder.positions(
            [
                Position(
                    device_id="van",
                    time_ms=NOON_MS + 1000 * n,
                    lat_deg=46.2 + n * 1e-4,
                    lon_deg=6.15 + n * 2e-4,
                    altitude_m=400.0,
                    speed_mps=9.0,
                    course_deg=63.0,
                    fix="3d",
                    satellites=9,
                    hdop=0.9,
                )
            ]
        )
        for n in range(60)
    ]
    return b"\xb5\x62\x01".join(seconds)


def vectors(protocol: str) -> list[Message]:
    """The frames of our own vector files, each from a device of its own."""
    found: list[Message] = []
    for n, line in enumerate((VECTORS / f"{protocol}.jsonl").read_text().splitlines()):
        row = json.loads(line)
        for k, frame in enumerate(row["frames"]):
            data = bytes.fromhex(frame) if row["encoding"] == "hex" else frame.encode()
            found.append(Message(f"{protocol}-{n}-{k}", protocol, data))
    return found


@pytest.mark.servers
def test_what_is_played_in_is_in_the_database_and_in_the_stream(tmp_path: Path) -> None:
    recording = Recording("van-gps", drive(), "2025-03-07T12:00:59Z")
    played = play(tmp_path, [recording], vectors("teltonika") + vectors("owntracks"))
    assert sum(n for (device, _), n in played.expected.items() if device == "van-gps") == 60
    assert len({device for device, _ in played.expected}) > 5
    assert played.stored == played.expected
    assert played.streamed == played.expected
    assert played.standings["stale"] >= 60, "years old: stored, told, marked, and nothing is concluded from it"
