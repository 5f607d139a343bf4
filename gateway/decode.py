"""Decode captured bytes of a protocol to JSON Lines: one object per message, `type` first.

Types: position, login, status, reply (with `hex`), malformed (with `reason` and the frame's `raw` bytes in hexadecimal).
A field that is absent or null is not known. Exit code: 0 all was read, 1 something was malformed or nothing could be read,
2 misuse.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from gateway.documents import position_document
from gateway.model import Frame, Login, Malformed, Message, Position, Reply
from gateway.problems import BadInput, Problem
from gateway.protocols import codec
from gateway.protocols.base import MAX_BUFFER_BYTES, Codec, Context, Decoder, HttpRequest
from gateway.times import parse_rfc3339, rfc3339

EXAMPLES = """\
examples:
  gateway decode teltonika --hex packets.txt            hexadecimal, spread over lines as you like
  gateway decode nmea drive.nmea --received 2026-03-02T12:00:00Z
                                                        the receive time dates what a recording leaves open
  gateway decode owntracks - < documents.jsonl          from standard input
  gateway decode json --text rows.jsonl --options device_id=id lat=pos.lat lon=pos.lon time_unit=ms
  gateway decode teltonika --frames captured.jsonl      rows of encoding (hex, text, json) and frame, with
                                                        instance, http or mqtt where it matters
"""
CHUNK_BYTES = 64 * 1024
MAX_ROW_BYTES = 4 * MAX_BUFFER_BYTES
"""The largest frame in hexadecimal, twice over."""
MAX_INSTANCES = 10_000
"""Connections that are followed at once in captured rows."""
NOBODY = "unknown"
"""The device's name where neither the bytes nor --device say one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("protocol", metavar="PROTOCOL", help="which protocol's bytes they are; a wrong name lists all")
    parser.add_argument("file", metavar="FILE", nargs="?", help="what to read; - or nothing is standard input")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--raw", action="store_true", help="the bytes as they were on the wire (the default)")
    form.add_argument("--hex", action="store_true", help="hexadecimal digits; blanks and line ends do not matter")
    form.add_argument("--text", action="store_true", help="one message a line, without its own terminator")
    form.add_argument(
        "--frames", metavar="ROWS.jsonl", help="rows of captured frames; output lines carry `row`, from 0"
    )
    parser.add_argument("--received", metavar="TIME", help="when it was received, RFC 3339 (now, if not said)")
    parser.add_argument("--device", metavar="ID", help="the device, where the bytes do not name it")
    parser.add_argument(
        "--options",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="options of the protocol: KEY=VALUE (a value is JSON or a plain word), or one JSON object",
    )


def run(args: argparse.Namespace) -> int:
    """Decode as `args` say. Raises BadInput for what a person has to mend."""
    received_ms = time.time_ns() // 1_000_000 if args.received is None else _received_ms(args.received)
    bench = _Bench(
        codec=_codec(args.protocol),
        options=_options(args.protocol, args.options),
        device_id=args.device,
        received_ms=received_ms,
        reference_ms=None if args.received is None else received_ms,
    )
    out = _Output(sys.stdout.buffer)
    if args.frames is not None:
        with _opened(args.frames) as file:
            _decode_rows(bench, _rows(file, args.frames), out)
    else:
        with _opened(args.file or "-") as file:
            _decode_stream(bench, _hex_lines(file) if args.hex else _lines(file) if args.text else _chunks(file), out)
    if not out.messages:
        print(f"gateway decode: nothing in it can be read as {args.protocol}", file=sys.stderr)
    return 0 if out.messages and not out.malformed else 1


class _Bench(Struct, frozen=True):
    """What decoders are made of."""

    codec: Codec
    options: Any
    device_id: str | None
    received_ms: int
    reference_ms: int | None

    def decoder(self, row: _Row | None = None) -> Decoder:
        mqtt = row.mqtt if row else None
        context = Context(
            device_id=self.device_id,
            topic=mqtt.topic if mqtt else None,
            client_id=(mqtt.client_id if mqtt else None) or NOBODY,
            http=row.http if row else None,
            reference_ms=self.reference_ms,
        )
        return self.codec.decoder(context, self.options)


class _Mqtt(Struct, frozen=True):
    topic: str = ""
    client_id: str | None = None


class _Row(Struct, frozen=True):
    """A captured frame; rows of one `instance` came over one connection, unless each was a request or publication."""

    encoding: str
    frame: Any
    instance: str | int | None = None
    http: HttpRequest | None = None
    mqtt: _Mqtt | None = None

    def data(self) -> bytes:
        """The bytes that were sent. Raises ValueError or TypeError."""
        if self.encoding == "json" and not isinstance(self.frame, str):
            return msgspec.json.encode(self.frame)
        if not isinstance(self.frame, str):
            raise TypeError(f"a frame in {self.encoding} is a string")
        if self.encoding == "hex":
            return bytes.fromhex(self.frame)
        if self.encoding in {"text", "json"}:
            return self.frame.encode("latin-1" if self.encoding == "text" else "utf-8")
        raise ValueError(f"encoding {self.encoding!r} is none of hex, text, json")


class _Output:
    """Writes messages as JSON Lines and counts them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._encoder = msgspec.json.Encoder()
        self.messages = 0
        self.malformed = 0

    def frames(self, frames: Iterable[Frame], row: int | None = None) -> None:
        for frame in frames:
            for message in frame.messages:
                document = message_document(message, frame.raw)
                if row is not None:
                    document["row"] = row
                self._file.write(self._encoder.encode(document) + b"\n")
                self.messages += 1
                self.malformed += isinstance(message, Malformed)
        self._file.flush()


def message_document(message: Message, raw: bytes) -> dict[str, Any]:
    """A message as this command prints it; `raw` is its frame, shown where it could not be read."""
    if isinstance(message, Position):
        return {"type": "position", **msgspec.to_builtins(position_document(message))}
    if isinstance(message, Login):
        return {"type": "login", "device_id": message.device_id, "attributes": message.attributes}
    if isinstance(message, Reply):
        return {"type": "reply", "hex": message.data.hex(), "after_commit": message.after_commit}
    if isinstance(message, Malformed):
        return {"type": "malformed", "device_id": message.device_id, "reason": message.reason, "raw": raw.hex()}
    return {
        "type": "status",
        "device_id": message.device_id,
        "kind": message.kind,
        "time": None if message.time_ms is None else rfc3339(message.time_ms),
        "attributes": message.attributes,
    }


def _decode_stream(bench: _Bench, pieces: Iterable[bytes | Malformed], out: _Output) -> None:
    decoder = bench.decoder()
    for piece in pieces:
        if isinstance(piece, Malformed):
            out.frames([Frame(raw=b"", messages=(piece,))])
        else:
            out.frames(decoder.feed(piece, bench.received_ms))
    out.frames(decoder.end(bench.received_ms))


def _decode_rows(bench: _Bench, rows: Iterable[_Row], out: _Output) -> None:
    """Where one frame is one message, each row is closed by itself; else only the end of its instance closes it.

    That is the end of the file, or comes when `MAX_INSTANCES` others spoke since: memory is bounded whatever the file.
    """
    decoders: OrderedDict[str | int | None, tuple[Decoder, int]] = OrderedDict()
    for index, row in enumerate(rows):
        try:
            data = row.data()
        except (ValueError, TypeError) as error:
            out.frames([Frame(raw=b"", messages=(Malformed(reason=f"not a frame: {error}"),))], index)
            continue
        alone = bench.codec.whole_datagrams and (row.http is not None or row.mqtt is not None)
        known = None if alone else decoders.get(row.instance)
        decoder = known[0] if known else bench.decoder(row)
        if not alone:
            decoders[row.instance] = (decoder, index)
            decoders.move_to_end(row.instance)
            if len(decoders) > MAX_INSTANCES:
                _, (oldest, last) = decoders.popitem(last=False)
                out.frames(oldest.end(bench.received_ms), last)
        if bench.codec.whole_datagrams:
            frames = decoder.feed(data, bench.received_ms) + decoder.end(bench.received_ms)
        else:
            frames = decoder.feed(data + b"\r\n" if row.encoding == "text" else data, bench.received_ms)
        out.frames(frames, index)
    for decoder, index in decoders.values():
        out.frames(decoder.end(bench.received_ms), index)


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - opening may fail for the user's reasons, reading for ours
    except OSError as error:
        raise BadInput([Problem(name, error.strerror or str(error), "name a file that can be read, or -")]) from error
    with file:
        yield file


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """As it comes: what a pipe delivers is decoded at once."""
    read = getattr(file, "read1", file.read)
    while chunk := read(CHUNK_BYTES):
        yield chunk


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Each with the terminator that devices send; a line longer than a chunk comes in parts."""
    while line := file.readline(CHUNK_BYTES):
        ends = line.endswith(b"\n") or len(line) < CHUNK_BYTES
        yield line.rstrip(b"\r\n") + b"\r\n" if ends else line


def _hex_lines(file: BinaryIO) -> Iterator[bytes | Malformed]:
    """The bytes of each piece of hexadecimal; an odd digit goes on in the next one."""
    rest = ""
    number = 0
    while line := file.readline(CHUNK_BYTES):
        number += 1
        digits = rest + "".join(line.decode("ascii", "replace").split())
        even = len(digits) & ~1
        try:
            yield bytes.fromhex(digits[:even])
            rest = digits[even:]
        except ValueError:
            yield Malformed(reason=f"line {number} is not hexadecimal")
            rest = ""
    if rest:
        yield Malformed(reason="the hexadecimal ends with half a byte")


def _rows(file: BinaryIO, name: str) -> Iterator[_Row]:
    decoder = msgspec.json.Decoder(_Row)
    for number, line in enumerate(iter(lambda: file.readline(MAX_ROW_BYTES), b""), 1):
        if not line.strip():
            continue
        if len(line) == MAX_ROW_BYTES:
            raise BadInput(
                [Problem(f"{name}:{number}", f"is longer than {MAX_ROW_BYTES} bytes", "write a frame a line")]
            )
        try:
            yield decoder.decode(line)
        except (msgspec.MsgspecError, ValueError) as error:
            fix = 'write {"encoding": "hex", "frame": "…"}, one a line'
            raise BadInput([Problem(f"{name}:{number}", f"is no row: {error}", fix)]) from error


def _codec(name: str) -> Codec:
    try:
        return codec(name)
    except ValueError as error:
        raise BadInput([Problem("PROTOCOL", str(error), "write one of these names")]) from error


def _options(protocol: str, given: list[str]) -> Any:
    found: dict[str, Any] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if each.startswith("{"):
            found.update(_json_object(each))
        elif equals:
            found[key] = _value(value)
        else:
            raise BadInput([Problem("--options", f"{each!r} is not KEY=VALUE", "FILE goes before --options")])
    try:
        return msgspec.convert(found, codec(protocol).options_type)
    except msgspec.ValidationError as error:
        fix = f"{protocol} knows {', '.join(codec(protocol).options_type.__struct_fields__) or 'no options'}"
        raise BadInput([Problem("--options", str(error), fix)]) from error


def _json_object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise BadInput([Problem("--options", str(error), "write a JSON object")]) from error


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return text


def _received_ms(text: str) -> int:
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise BadInput([Problem("--received", str(error), "write 2026-03-02T08:30:00Z")]) from error
