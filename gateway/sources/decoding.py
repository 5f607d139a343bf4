"""A decoder that keeps its promise. `gateway.protocols.base` says a decoder never raises; one that does (a plug-in, a bug)
must cost its own frame and nothing else: an exception in a reader would come back with every redelivery of that message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.model import Frame, Malformed
from gateway.problems import Problem
from gateway.protocols import codec
from gateway.protocols.base import Codec, Context, Decoder

KEPT_BYTES = 4096
"""How much of a payload that nobody could read is kept as evidence."""


class GuardedDecoder:
    """`base.Decoder` round a codec's own: an exception becomes a `Malformed` frame, and a new decoder takes over."""

    def __init__(self, made_by: Codec, context: Context, options: Any) -> None:
        self._codec = made_by
        self._context = context
        self._options = options
        self._decoder: Decoder = made_by.decoder(context, options)
        self._noise_bytes = 0
        self.failures = 0

    @property
    def noise_bytes(self) -> int:
        return self._noise_bytes + self._decoder.noise_bytes

    def feed(self, data: bytes, received_ms: int) -> list[Frame]:
        return self._guard(lambda: self._decoder.feed(data, received_ms), data)

    def idle(self, now_ms: int) -> list[Frame]:
        return self._guard(lambda: self._decoder.idle(now_ms), b"")

    def end(self, now_ms: int) -> list[Frame]:
        return self._guard(lambda: self._decoder.end(now_ms), b"")

    def _guard(self, call: Callable[[], list[Frame]], data: bytes) -> list[Frame]:
        try:
            return call()
        except Exception as error:
            self.failures += 1
            self._noise_bytes += self._decoder.noise_bytes
            self._decoder = self._codec.decoder(self._context, self._options)
            return [malformed(data, f"the {self._codec.name} decoder failed: {type(error).__name__}: {error}")]


def malformed(data: bytes, reason: str, device_id: str | None = None) -> Frame:
    """A frame for the quarantine; of more than `KEPT_BYTES` only the beginning is kept."""
    return Frame(raw=data[:KEPT_BYTES], messages=(Malformed(reason=reason, device_id=device_id),))


def options_for(protocol: str, options: dict[str, Any], where: str) -> tuple[Any, list[Problem]]:
    """The codec's options from what a person configured under `where`, and what is wrong with them."""
    try:
        options_type = codec(protocol).options_type
    except ValueError as error:
        return None, [Problem(f"{where}.protocol", str(error), "write one of these names")]
    try:
        return msgspec.convert(options, options_type), []
    except msgspec.ValidationError as error:
        return None, [Problem(f"{where}.options", str(error), f"write the options of {protocol} as documented")]
