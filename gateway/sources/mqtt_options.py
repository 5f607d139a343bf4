"""How the ingest endpoint is configured, and what it counts."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from msgspec import Struct

from gateway.problems import Problem
from gateway.sources.stats import SourceStats
from gateway.sources.topics import TopicRoute
from gateway.times import parse_rfc3339

PLACEHOLDERS = ("{client_id}", "{device_id}", "{username}")


class Credential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may connect. Exactly one of `password_hash` (`python -m gateway.sources.mqtt_access`) and
    `password_env` (the name of an environment variable that holds the password) is given.

    `device_id` binds the credential: whatever it publishes is that device's, and what names another is quarantined.
    """

    username: str
    password_hash: str | None = None
    password_env: str | None = None
    device_id: str | None = None


class TlsOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paths of PEM files. With `client_ca` every client must show a certificate of that authority; one that sends no
    user name is then known, and bound, by its certificate's common name.
    """

    cert: str
    key: str
    client_ca: str | None = None


class EndpointOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[sources.endpoint]`: where it listens, whom it lets in, how it reads them, and what it bounds.

    `listen`: "host:port", one or several; TLS, where configured, holds for all of them. `anonymous` clients are let in
    on loopback addresses only. `credentials_file`: a TOML file of further `[[credentials]]`.

    `command_topics`: what a device may subscribe to, with {client_id}, {device_id} (the credential's, else the client
    id) and {username} filled in; the subscription must be spelt exactly so.

    `reference_time` (RFC 3339): for recordings played into the endpoint, dates what the messages leave open.

    `receive_maximum`: QoS 1 messages that a client may have unacknowledged (announced to MQTT 5, which is closed when it
    sends more). `max_pending_messages`: messages of one connection, of either QoS, that wait for the disk before its
    reading stops; more than `receive_maximum`, so that only a client that breaks its word is closed.
    `connects_per_s` and `connect_burst` hold per address; generous, for operators put whole fleets behind one address.

    Sessions are kept in memory: `max_sessions` of absent devices, each for `session_expiry_s` at most (an MQTT 3.1.1
    session has no expiry of its own), with `max_queued_messages` and `max_queued_bytes` of commands that wait for it.
    """

    name: str = "endpoint"
    listen: str | tuple[str, ...] = "127.0.0.1:1883"
    tls: TlsOptions | None = None
    routes: tuple[TopicRoute, ...] = ()
    anonymous: bool = False
    credentials: tuple[Credential, ...] = ()
    credentials_file: str | None = None
    command_topics: tuple[str, ...] = ("{client_id}/commands",)
    reference_time: str | None = None

    max_packet_bytes: int = 64 * 1024
    receive_maximum: int = 256
    max_pending_messages: int = 512
    alias_maximum: int = 16
    max_write_buffer_bytes: int = 256 * 1024
    max_connections: int = 10_000
    connects_per_s: float = 200.0
    connect_burst: int = 2_000
    connect_timeout_s: float = 10.0
    stop_timeout_s: float = 10.0

    max_sessions: int = 10_000
    session_expiry_s: int = 7 * 86_400
    max_queued_messages: int = 100
    max_queued_bytes: int = 64 * 1024

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.listen,) if isinstance(self.listen, str) else self.listen


class EndpointStats(SourceStats, kw_only=True):
    """`connected` is 1 while it listens; `connections` and `sessions` are how many there are now, the rest only rises.

    `alien_payloads`: frames quarantined because a bound credential's payload named another device. `paused`: how often
    a connection's reading stopped for the disk.
    """

    connections: int = 0
    sessions: int = 0
    accepted: int = 0
    messages: int = 0
    acknowledged: int = 0
    wills: int = 0
    alien_payloads: int = 0
    protocol_errors: int = 0
    oversized: int = 0
    qos2_refused: int = 0
    receive_maximum_exceeded: int = 0
    versions_refused: int = 0
    credentials_refused: int = 0
    connections_refused: int = 0
    rate_refused: int = 0
    busy_refused: int = 0
    connect_timeouts: int = 0
    keep_alive_timeouts: int = 0
    taken_over: int = 0
    slow_readers: int = 0
    paused: int = 0
    subscriptions_refused: int = 0
    sessions_evicted: int = 0
    sessions_expired: int = 0
    commands_delivered: int = 0
    commands_refused: int = 0


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[v6]:port". Raises ValueError."""
    host, colon, port = address.rpartition(":")
    number = int(port) if port.isascii() and port.isdecimal() else -1
    if not colon or not host or not 0 <= number <= 65_535:
        raise ValueError(f"{address!r} is no address")
    return host.removeprefix("[").removesuffix("]"), number


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def option_problems(options: EndpointOptions, where: str) -> list[Problem]:
    """What is wrong with the options, apart from routes, credentials and files; `where` is their table's name."""
    return [
        *_address_problems(options, where),
        *_access_problems(options, where),
        *_limit_problems(options, where),
        *_command_problems(options.command_topics, f"{where}.command_topics"),
        *_time_problems(options.reference_time, f"{where}.reference_time"),
    ]


def _address_problems(options: EndpointOptions, where: str) -> list[Problem]:
    problems: list[Problem] = []
    if not options.addresses:
        problems.append(Problem(f"{where}.listen", "is empty", 'write an address such as "127.0.0.1:1883"'))
    for address in options.addresses:
        try:
            host, _ = split_address(address)
        except ValueError as error:
            problems.append(Problem(f"{where}.listen", str(error), 'write host:port, such as "127.0.0.1:1883"'))
            continue
        if options.anonymous and not is_loopback(host):
            what = f"lets anyone in, and {address!r} can be reached from other machines"
            fix = "give each device credentials, or listen on 127.0.0.1 only"
            problems.append(Problem(f"{where}.anonymous", what, fix))
    return problems


def _access_problems(options: EndpointOptions, where: str) -> list[Problem]:
    by_certificate = options.tls is not None and options.tls.client_ca is not None
    if options.anonymous or options.credentials or options.credentials_file or by_certificate:
        return []
    fix = "list credentials, name a credentials_file, or set tls.client_ca (on loopback also: anonymous = true)"
    return [Problem(f"{where}.credentials", "is empty, so that nobody could connect", fix)]


def _limit_problems(options: EndpointOptions, where: str) -> list[Problem]:
    bounds: Sequence[tuple[str, float, float, float]] = (
        ("max_packet_bytes", options.max_packet_bytes, 128, 268_435_455),
        ("receive_maximum", options.receive_maximum, 1, 65_535),
        ("max_pending_messages", options.max_pending_messages, options.receive_maximum + 1, 1_000_000),
        ("alias_maximum", options.alias_maximum, 0, 65_535),
        ("max_write_buffer_bytes", options.max_write_buffer_bytes, 1024, 1 << 30),
        ("max_connections", options.max_connections, 1, 1_000_000),
        ("connects_per_s", options.connects_per_s, 0.01, 1e6),
        ("connect_burst", options.connect_burst, 1, 1_000_000),
        ("connect_timeout_s", options.connect_timeout_s, 0.1, 3600),
        ("stop_timeout_s", options.stop_timeout_s, 0, 3600),
        ("max_sessions", options.max_sessions, 0, 10_000_000),
        ("session_expiry_s", options.session_expiry_s, 0, 0xFFFFFFFF),
        ("max_queued_messages", options.max_queued_messages, 0, 60_000),
        ("max_queued_bytes", options.max_queued_bytes, 0, 1 << 30),
    )
    return [
        Problem(f"{where}.{name}", f"is {value:g}", f"write a number from {low:g} to {high:g}")
        for name, value, low, high in bounds
        if not low <= value <= high
    ]


def _command_problems(templates: Sequence[str], where: str) -> list[Problem]:
    problems: list[Problem] = []
    for index, template in enumerate(templates):
        rest = template
        for placeholder in PLACEHOLDERS:
            rest = rest.replace(placeholder, "")
        if rest == template or "{" in rest or "}" in rest:
            what = f"{template!r} is not one device's own topic"
            fix = f"write it with {', '.join(PLACEHOLDERS)}, as in {{client_id}}/commands"
            problems.append(Problem(f"{where}[{index}]", what, fix))
    return problems


def _time_problems(text: str | None, where: str) -> list[Problem]:
    try:
        if text is not None:
            parse_rfc3339(text)
    except ValueError as error:
        return [Problem(where, str(error), "write it as 2026-11-22T10:00:00Z")]
    return []
