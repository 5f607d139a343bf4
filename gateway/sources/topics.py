"""From an MQTT topic to the decoder that reads its payload, and to the device that sent it.

Both MQTT sources (the client of a broker, the endpoint for trackers) share one `Router`. Nothing it is handed disappears:
a topic without a route, a device that cannot be named, a payload that is too large each yield a `Malformed` frame.

Topic names and filters: MQTT 5.0, section 4.7 (the same in 3.1.1).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct, field

from gateway.model import Frame, Received
from gateway.problems import BadInput, Problem
from gateway.protocols import codec
from gateway.protocols.base import Codec, Context
from gateway.sources.decoding import GuardedDecoder, malformed, options_for

MAX_TOPIC_CHARS = 1024
MAX_DEVICE_ID_CHARS = 128
UNROUTED = "unrouted"
"""The protocol of a message that no route claims."""

_PLACEHOLDER = re.compile(r"\{(\d{1,3}|client_id)\}")


class TopicRoute(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Messages on topics that match `filter` are read by `protocol`; the first route that matches decides.

    `device_id` is a template: "{1}" stands for the topic's level 1 (from 0; a leading slash makes an empty level 0),
    "{client_id}" for the client id of the publisher where the source knows it (the endpoint does, a broker does not
    say). "phone-{2}" and a constant are fine. None: the payload, or the sender's credential, names the device.
    `options` are the protocol's own.
    """

    filter: str
    protocol: str
    device_id: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic matches a filter. Topics that begin with `$` are matched by no filter that begins with a wildcard."""
    wanted, levels = pattern.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in {"+", "#"}:
        return False
    for index, want in enumerate(wanted):
        if want == "#":
            return True
        if index >= len(levels) or want not in {"+", levels[index]}:
            return False
    return len(wanted) == len(levels)


def route_problems(routes: Sequence[TopicRoute], where: str, *, knows_client_id: bool = False) -> list[Problem]:
    """What is wrong with configured routes; `where` is the key of the list ("gateway.toml: mqtt.routes")."""
    problems: list[Problem] = []
    for index, route in enumerate(routes):
        here = f"{where}[{index}]"
        problems += _filter_problems(f"{here}.filter", route.filter)
        problems += _template_problems(f"{here}.device_id", route, knows_client_id=knows_client_id)
        problems += options_for(route.protocol, route.options, here)[1]
    return problems


def _filter_problems(where: str, pattern: str) -> list[Problem]:
    levels = pattern.split("/")
    if not pattern or len(pattern) > MAX_TOPIC_CHARS or "\0" in pattern:
        return [Problem(where, f"a filter has 1 to {MAX_TOPIC_CHARS} characters", "write one such as owntracks/+/+")]
    if levels[0] == "$share":
        what = "a shared subscription deals one vehicle's messages to several readers, out of order"
        return [Problem(where, what, "write the filter without $share/…/")]
    if any("#" in level for level in levels[:-1]) or ("#" in levels[-1] and levels[-1] != "#"):
        return [Problem(where, f"{pattern!r}: # stands alone, in the last level", "write it as in fleet/#")]
    if any("+" in level and level != "+" for level in levels):
        return [Problem(where, f"{pattern!r}: + stands alone in its level", "write it as in fleet/+/position")]
    return []


def _template_problems(where: str, route: TopicRoute, *, knows_client_id: bool) -> list[Problem]:
    if route.device_id is None:
        return []
    rest = _PLACEHOLDER.sub("", route.device_id)
    if not route.device_id or "{" in rest or "}" in rest:
        return [Problem(where, f"{route.device_id!r} is no template", "write {1} for the topic's level 1 (from 0)")]
    names = _PLACEHOLDER.findall(route.device_id)
    if "client_id" in names and not knows_client_id:
        return [Problem(where, "a broker does not say who published", "take the device id from a topic level")]
    levels = route.filter.split("/")
    beyond = [n for n in names if n != "client_id" and int(n) >= len(levels) and levels[-1] != "#"]
    if beyond:
        what = f"topics of {route.filter!r} have no level {beyond[0]}"
        return [Problem(where, what, f"the levels are 0 to {len(levels) - 1}")]
    return []


class _Path(Struct, frozen=True):
    """A route made ready: its codec, its options in the codec's own type, its template in parts."""

    pattern: str
    codec: Codec
    options: Any
    template: tuple[str | int, ...] | None

    def device_id(self, topic: str, client_id: str | None) -> str | None:
        """Raises ValueError, with the reason, where the template cannot be filled."""
        if self.template is None:
            return None
        levels = topic.split("/")
        parts: list[str] = []
        for part in self.template:
            value: str | None = part if isinstance(part, str) else None
            if isinstance(part, int):
                value = client_id if part < 0 else levels[part] if part < len(levels) else None
            if not value:
                raise ValueError("the topic names no device: a level the route's template needs is missing or empty")
            parts.append(value)
        name = "".join(parts)
        if len(name) > MAX_DEVICE_ID_CHARS:
            raise ValueError(f"the topic's device id is longer than {MAX_DEVICE_ID_CHARS} characters")
        return name


_CLIENT_ID = -1


def _parts(template: str) -> tuple[str | int, ...]:
    """Literal text, level numbers, and `_CLIENT_ID`: split gives text and placeholder in turn."""
    pieces = _PLACEHOLDER.split(template)
    named = [p if i % 2 == 0 else _CLIENT_ID if p == "client_id" else int(p) for i, p in enumerate(pieces)]
    return tuple(p for p in named if p != "")


class _Label(Struct, frozen=True):
    """What every frame of one sender is labelled by."""

    source: str
    protocol: str
    topic: str
    device_id: str | None
    retained: bool = False

    def received(self, frames: Iterable[Frame], received_ms: int) -> list[Received]:
        return [
            Received(
                source=self.source,
                protocol=self.protocol,
                received_ms=received_ms,
                frame=frame,
                device_id=self.device_id,
                retained=self.retained,
                topic=self.topic,
            )
            for frame in frames
        ]


class _Stream(Struct, frozen=True):
    """A decoder whose messages span payloads."""

    label: _Label
    decoder: GuardedDecoder

    def feed(self, data: bytes, received_ms: int) -> list[Received]:
        return self.label.received(self.decoder.feed(data, received_ms), received_ms)

    def idle(self, now_ms: int) -> list[Received]:
        return self.label.received(self.decoder.idle(now_ms), now_ms)

    def end(self, now_ms: int) -> list[Received]:
        return self.label.received(self.decoder.end(now_ms), now_ms)


class Router:
    """Routes payloads to decoders. One per source; belongs to one thread.

    A codec of whole datagrams gets a fresh decoder per payload. One whose messages span payloads (NMEA epochs) has a
    decoder per topic, device and client, the least recently used of which is ended when there are more than `max_streams`;
    what such a decoder still holds open is in memory only, until `idle` or the next payload closes it.
    Raises BadInput for routes that `route_problems` objects to.
    """

    def __init__(
        self,
        routes: Sequence[TopicRoute],
        *,
        where: str = "routes",
        knows_client_id: bool = False,
        max_payload_bytes: int = 256 * 1024,
        max_topics: int = 20_000,
        max_streams: int = 5_000,
        reference_ms: int | None = None,
    ) -> None:
        if problems := route_problems(routes, where, knows_client_id=knows_client_id):
            raise BadInput(problems)
        self._paths = [
            _Path(
                route.filter,
                codec(route.protocol),
                options_for(route.protocol, route.options, where)[0],
                None if route.device_id is None else _parts(route.device_id),
            )
            for route in routes
        ]
        self._max_payload_bytes = max_payload_bytes
        self._max_topics = max_topics
        self._max_streams = max_streams
        self._reference_ms = reference_ms
        self._path_of: OrderedDict[str, _Path | None] = OrderedDict()
        self._streams: OrderedDict[tuple[str, str | None, str | None], _Stream] = OrderedDict()
        self.unrouted = 0
        self.oversized = 0
        self.unnamed = 0
        self.streams_ended = 0

    @property
    def filters(self) -> list[str]:
        """What to subscribe to."""
        return list(dict.fromkeys(path.pattern for path in self._paths))

    @property
    def spans_payloads(self) -> bool:
        """Whether any route's protocol needs `idle`."""
        return any(not path.codec.whole_datagrams for path in self._paths)

    @property
    def has_streams(self) -> bool:
        """Whether a decoder may hold something open that `idle` closes."""
        return bool(self._streams)

    def receive(
        self,
        topic: str,
        payload: bytes,
        retained: bool,
        received_ms: int,
        source: str,
        client_id: str | None = None,
        device_id: str | None = None,
    ) -> list[Received]:
        """What one PUBLISH says. `device_id` is what a credential binds: the topic may not name another one.

        The list is empty only when a stream's decoder waits for more; it may hold frames of another topic whose
        decoder had to make room.
        """
        path = self._path(topic)
        if path is None:
            self.unrouted += 1
            label = _Label(source, UNROUTED, topic[:MAX_TOPIC_CHARS], device_id, retained)
            return label.received([malformed(payload, "no route claims this topic", device_id)], received_ms)
        name, reason = self._name(path, topic, client_id, device_id)
        if len(payload) > self._max_payload_bytes:
            self.oversized += 1
            reason = f"oversized: {len(payload)} bytes, the limit is {self._max_payload_bytes}"
        label = _Label(source, path.codec.name, topic, name, retained)
        if reason is not None:
            return label.received([malformed(payload, reason, name)], received_ms)
        if path.codec.whole_datagrams or retained:
            frames = self._datagram(path, self._context(label, client_id), payload, received_ms)
            return label.received(frames, received_ms)
        stream, made_room = self._stream(path, label, client_id, received_ms)
        return made_room + stream.feed(payload, received_ms)

    def idle(self, now_ms: int) -> list[Received]:
        """Nothing came for a moment: close what only silence closes, on every open stream."""
        return [received for stream in self._streams.values() for received in stream.idle(now_ms)]

    def end(self, now_ms: int) -> list[Received]:
        """The source stops: everything that is still open, as frames or malformed."""
        said = [received for stream in self._streams.values() for received in stream.end(now_ms)]
        self._streams.clear()
        return said

    def _path(self, topic: str) -> _Path | None:
        if topic in self._path_of:
            self._path_of.move_to_end(topic)
            return self._path_of[topic]
        if len(topic) > MAX_TOPIC_CHARS:
            return None
        found = next((path for path in self._paths if matches(path.pattern, topic)), None)
        self._path_of[topic] = found
        if len(self._path_of) > self._max_topics:
            self._path_of.popitem(last=False)
        return found

    def _name(self, path: _Path, topic: str, client_id: str | None, bound: str | None) -> tuple[str | None, str | None]:
        """The device id, and why there is none to be had."""
        try:
            named = path.device_id(topic, client_id)
        except ValueError as error:
            self.unnamed += 1
            return bound, str(error)
        if bound is not None and named not in {None, bound}:
            self.unnamed += 1
            return bound, f"the credential belongs to {bound}, the topic to {named}"
        return (named if bound is None else bound), None

    def _context(self, label: _Label, client_id: str | None) -> Context:
        return Context(
            device_id=label.device_id, topic=label.topic, client_id=client_id, reference_ms=self._reference_ms
        )

    @staticmethod
    def _datagram(path: _Path, context: Context, payload: bytes, received_ms: int) -> list[Frame]:
        decoder = GuardedDecoder(path.codec, context, path.options)
        frames = decoder.feed(payload, received_ms) + decoder.end(received_ms)
        if frames:
            return frames
        if not payload:  # how a retained message is deleted: nothing to report, nothing to quarantine
            return [Frame(raw=b"", messages=())]
        return [malformed(payload, f"nothing in it can be read as {path.codec.name}", context.device_id)]

    def _stream(
        self, path: _Path, label: _Label, client_id: str | None, received_ms: int
    ) -> tuple[_Stream, list[Received]]:
        """The sender's decoder, and what the one that had to make room for it still said."""
        key = (label.topic, client_id, label.device_id)
        if key in self._streams:
            self._streams.move_to_end(key)
            return self._streams[key], []
        made_room: list[Received] = []
        if len(self._streams) >= self._max_streams:
            made_room = self._streams.popitem(last=False)[1].end(received_ms)
            self.streams_ended += 1
        decoder = GuardedDecoder(path.codec, self._context(label, client_id), path.options)
        stream = self._streams[key] = _Stream(label, decoder)
        return stream, made_room
