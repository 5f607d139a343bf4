"""Frames from quarantine on their way back: decoded anew, after the codec, its options or the registry was mended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.journal.records import Quarantined
from gateway.model import Received
from gateway.protocols import new_decoder
from gateway.protocols.base import Context


def decode_again(
    rows: Sequence[Quarantined], options: Mapping[str, Mapping[str, object]] | None = None
) -> list[Received]:
    """What the frames say now, by `options[protocol]`; each keeps its receive time. ValueError: unknown protocol."""
    decoded: list[Received] = []
    for row in rows:
        context = Context(device_id=row.device_id, topic=row.topic)
        decoder = new_decoder(row.protocol, context, (options or {}).get(row.protocol))
        frames = decoder.feed(row.raw, row.received_ms) + decoder.end(row.received_ms)
        decoded += [
            Received(
                source=row.source,
                protocol=row.protocol,
                received_ms=row.received_ms,
                frame=frame,
                device_id=row.device_id,
                retained=row.retained,
                topic=row.topic,
            )
            for frame in frames
        ]
    return decoded
