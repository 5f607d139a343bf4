from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Malformed, Position, Received
from gateway.problems import BadInput
from gateway.sources.decoding import KEPT_BYTES
from gateway.sources.topics import MAX_TOPIC_CHARS, UNROUTED, Router, TopicRoute, matches, route_problems


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/B", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("a/+", "a/", True),
        ("a/+", "a/b/c", False),
        ("+/+", "/x", True),
        ("+", "/x", False),
        ("/+", "/x", True),
        ("/+", "x", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/+/#", "a", False),
        ("a/+/#", "a/b", True),
        ("#", "a/b", True),
        ("#", "/", True),
        ("#", "$SYS/broker", False),
        ("+/broker", "$SYS/broker", False),
        ("$SYS/#", "$SYS/broker", True),
        ("$SYS/+", "$SYS/broker", True),
        ("a//b", "a//b", True),
        ("a/+/b", "a//b", True),
    ],
)
def test_filters_match_as_mqtt_says(pattern: str, topic: str, expected: bool) -> None:
    assert matches(pattern, topic) is expected


@given(st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=6), st.data())
def test_a_filter_made_from_a_topic_matches_it_and_no_longer_topic(levels: list[str], data: st.DataObject) -> None:
    pattern = "/".join(data.draw(st.sampled_from([level, "+"])) for level in levels)
    topic = "/".join(levels)
    assert matches(pattern, topic)
    assert not matches(pattern, topic + "/more")
    assert matches(pattern + "/#", topic + "/more/still")


@pytest.mark.parametrize(
    ("route", "key", "words"),
    [
        ({"filter": ""}, "filter", "1 to 1024"),
        ({"filter": "a/#/b"}, "filter", "# stands alone"),
        ({"filter": "a/b#"}, "filter", "# stands alone"),
        ({"filter": "a/b+"}, "filter", "+ stands alone"),
        ({"filter": "$share/g/a"}, "filter", "out of order"),
        ({"filter": "a/+", "device_id": "{2}"}, "device_id", "no level 2"),
        ({"filter": "a/+", "device_id": "{x}"}, "device_id", "no template"),
        ({"filter": "a/+", "device_id": "bus-{1"}, "device_id", "no template"),
        ({"filter": "a/+", "device_id": ""}, "device_id", "no template"),
        ({"filter": "a/+", "device_id": "{client_id}"}, "device_id", "does not say"),
        ({"filter": "a/+", "protocol": "morse"}, "protocol", "no protocol 'morse'; there are"),
        ({"filter": "a/+", "options": {"scael": 2}}, "options", "scael"),
    ],
)
def test_a_bad_route_is_refused_with_its_key(route: dict[str, object], key: str, words: str) -> None:
    good = TopicRoute(filter="x/+/#", protocol="pair", device_id="bus-{1}-{7}")
    bad = TopicRoute(**{"protocol": "pair", **route})
    problems = route_problems([good, bad], "gateway.toml: mqtt.routes")
    assert [p.where for p in problems] == [f"gateway.toml: mqtt.routes[1].{key}"]
    assert words in problems[0].what
    assert problems[0].fix
    with pytest.raises(BadInput):
        Router([good, bad])


def routed(
    router: Router, topic: str, payload: bytes = b"1,2", *, retained: bool = False, **sender: str
) -> list[Received]:
    return router.receive(topic, payload, retained, 1000, "mqtt", **sender)


def only_reason(received: list[Received]) -> str:
    (one,) = received
    (message,) = one.frame.messages
    assert isinstance(message, Malformed)
    return message.reason


def test_the_topic_names_the_device() -> None:
    router = Router([TopicRoute(filter="owntracks/+/+", protocol="pair", device_id="{1}-{2}")])
    (received,) = routed(router, "owntracks/jane/phone")
    assert received.device_id == "jane-phone"
    assert received.topic == "owntracks/jane/phone"
    assert (received.source, received.protocol, received.received_ms) == ("mqtt", "pair", 1000)
    (message,) = received.frame.messages
    assert isinstance(message, Position)
    assert (message.device_id, message.lat_deg, message.lon_deg) == ("jane-phone", 1.0, 2.0)


def test_a_leading_slash_makes_an_empty_level_0_and_the_first_route_decides() -> None:
    routes = [
        TopicRoute(filter="/hfp/+/+", protocol="pair", device_id="{3}"),
        TopicRoute(filter="#", protocol="lines", device_id="other"),
    ]
    router = Router(routes)
    assert routed(router, "/hfp/v2/1234")[0].device_id == "1234"
    assert routed(router, "hfp/v2/1234") == []
    assert router.has_streams
    assert router.filters == ["/hfp/+/+", "#"]


def test_without_a_template_the_payload_names_the_device() -> None:
    (received,) = routed(Router([TopicRoute(filter="all", protocol="pair")]), "all", b"bus-9,1,2")
    assert received.device_id is None
    assert isinstance(received.frame.messages[0], Position)
    assert received.frame.messages[0].device_id == "bus-9"


def test_what_has_no_route_or_no_device_is_kept_with_a_reason() -> None:
    router = Router([TopicRoute(filter="fleet/#", protocol="pair", device_id="{2}")])
    assert "no route" in only_reason(routed(router, "elsewhere"))
    assert routed(router, "elsewhere")[0].protocol == UNROUTED
    assert "no route" in only_reason(routed(router, "fleet/" * MAX_TOPIC_CHARS))
    assert "names no device" in only_reason(routed(router, "fleet/north"))
    assert "names no device" in only_reason(routed(router, "fleet/north/"))
    assert "128 characters" in only_reason(routed(router, "fleet/north/" + "x" * 129))
    assert (router.unrouted, router.unnamed) == (3, 3)


def test_an_oversized_payload_keeps_its_beginning() -> None:
    router = Router([TopicRoute(filter="fleet/+", protocol="pair", device_id="{1}")], max_payload_bytes=10_000)
    (received,) = routed(router, "fleet/7", bytes(10_001))
    assert "oversized" in only_reason([received])
    assert len(received.frame.raw) == KEPT_BYTES
    assert received.device_id == "7"
    assert router.oversized == 1


def test_a_credential_binds_the_device() -> None:
    router = Router(
        [
            TopicRoute(filter="fleet/+", protocol="pair", device_id="{1}"),
            TopicRoute(filter="any", protocol="pair"),
            TopicRoute(filter="mine", protocol="pair", device_id="{client_id}"),
        ],
        knows_client_id=True,
    )
    assert routed(router, "fleet/7", device_id="7")[0].device_id == "7"
    assert routed(router, "any", device_id="7")[0].device_id == "7"
    assert routed(router, "mine", client_id="7")[0].device_id == "7"
    impostor = routed(router, "fleet/8", device_id="7")
    assert "belongs to 7" in only_reason(impostor)
    assert impostor[0].device_id == "7"


def test_a_poisonous_payload_is_a_value() -> None:
    router = Router([TopicRoute(filter="fleet/+", protocol="pair", device_id="{1}")])
    assert "RuntimeError: as asked" in only_reason(routed(router, "fleet/7", b"crash"))
    assert "nothing in it" in only_reason(routed(router, "fleet/7", b"   "))
    assert routed(router, "fleet/7", b"")[0].frame.messages == ()
    assert isinstance(routed(router, "fleet/7")[0].frame.messages[0], Position)


def test_a_stream_has_a_decoder_per_topic_that_silence_closes() -> None:
    router = Router([TopicRoute(filter="nmea/+", protocol="lines", device_id="{1}")])
    assert routed(router, "nmea/a", b"1,2\n3,") == []
    assert routed(router, "nmea/b", b"7,8\n") == []
    (first,) = routed(router, "nmea/a", b"4\n")
    assert (first.device_id, first.frame.raw) == ("a", b"1,2")
    assert {(r.device_id, r.frame.raw) for r in router.idle(2000)} == {("a", b"3,4"), ("b", b"7,8")}
    routed(router, "nmea/a", b"5,")
    assert [(r.topic, r.frame.raw) for r in router.end(3000)] == [("nmea/a", b"5,")]
    assert not router.has_streams


def test_a_retained_payload_never_enters_a_running_stream() -> None:
    router = Router([TopicRoute(filter="nmea/+", protocol="lines", device_id="{1}")])
    routed(router, "nmea/a", b"1,")
    (old,) = routed(router, "nmea/a", b"9,9\n", retained=True)
    assert old.retained
    assert old.frame.raw == b"9,9"
    routed(router, "nmea/a", b"2\n")
    assert [(r.frame.raw, r.retained) for r in router.idle(2000)] == [(b"1,2", False)]


def test_streams_are_bounded_and_the_evicted_one_has_its_say() -> None:
    router = Router([TopicRoute(filter="nmea/+", protocol="lines", device_id="{1}")], max_streams=2, max_topics=2)
    routed(router, "nmea/a", b"1,2\n")
    routed(router, "nmea/b", b"3,4\n")
    routed(router, "nmea/a", b"")
    (evicted,) = routed(router, "nmea/c", b"5,6\n")
    assert (evicted.device_id, evicted.frame.raw) == ("b", b"3,4")
    assert router.streams_ended == 1
    assert len(router._path_of) == 2
