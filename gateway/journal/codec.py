"""Blobs of the journal: MessagePack of the model's structs, behind one byte that names the format."""

from __future__ import annotations

import zlib

import msgspec

from gateway.model import Command, Event, Item, Position, Verdict

PLAIN, DEFLATED = b"\x01", b"\x02"
DEFLATE_FROM_BYTES = 1_024

Fix = tuple[Position, int, int, bytes]
"""A fix in a row of the track table: position, received_ms, ordinal, digest."""

encode = msgspec.msgpack.Encoder().encode
decode_event = msgspec.msgpack.Decoder(Event).decode
decode_verdicts = msgspec.msgpack.Decoder(tuple[Verdict, ...]).decode
decode_fixes = msgspec.msgpack.Decoder(tuple[Fix, ...]).decode
decode_command = msgspec.msgpack.Decoder(Command).decode
decode_numbers = msgspec.msgpack.Decoder(tuple[int, ...]).decode
_decode_items = msgspec.msgpack.Decoder(tuple[Item, ...]).decode


def encode_items(items: list[Item]) -> bytes:
    data = encode(items)
    if len(data) < DEFLATE_FROM_BYTES:
        return PLAIN + data
    return DEFLATED + zlib.compress(data, 1)


def decode_items(body: bytes) -> tuple[Item, ...]:
    """Raises ValueError for a body that no version of this file wrote."""
    kind, data = body[:1], memoryview(body)[1:]
    if kind == DEFLATED:
        return _decode_items(zlib.decompress(data))
    if kind == PLAIN:
        return _decode_items(data)
    raise ValueError(f"an entry of unknown format {kind!r}")
