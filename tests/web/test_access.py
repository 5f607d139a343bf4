"""Who is served: this machine by its own names, others with the token; and no request makes the gateway stumble."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.problems import BadInput
from tests.survival.process import GatewayProcess
from tests.web.running import CONFIG, running
from tests.web.test_api import OPEN, ROUTES

TOKEN = "s3cret-é"
EVERYWHERE = 'listen = "0.0.0.0"\ntoken_env = "TESTED_TOKEN"'
SAFE = "?&=:@!$'()*+,;~"


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TESTED_TOKEN", TOKEN)
    return TOKEN


def every_request() -> Iterator[tuple[str, str]]:
    for path, methods in ROUTES.items():
        for method in sorted(methods):
            yield method, path.replace("{", "").replace("}", "")


async def test_beyond_this_machine_every_route_asks_for_the_token(tmp_path: Path, token: str) -> None:
    wrong = [
        ({}, {}),
        ({"authorization": "Bearer wrong"}, {}),
        ({"authorization": f"Basic {token}".encode()}, {}),
        ({}, {"token": "wrong"}),
        ({}, {"token": ""}),
        ({}, {"token": token + "x"}),
    ]
    async with running(tmp_path, web=EVERYWHERE) as served:
        for method, path in [*every_request(), ("get", "/schema/openapi.json")]:
            for headers, params in wrong[: None if path == "/v1/plans" else 2]:
                answer = await served.client.request(method, path, headers=headers, params=params)
                if path in OPEN:
                    assert answer.status_code == 200
                    continue
                assert answer.status_code == 401, (method, path, headers, params)
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "token" in answer.json()["detail"]
        for path in ("/", "/page/main.js", "/leaflet/leaflet.js"):
            assert (await served.client.get(path)).status_code == 200, (
                "the page holds no secret, and asks with its token"
            )
        for scheme in ("Bearer", "bearer"):
            answer = await served.client.get("/v1/plans", headers={"authorization": f"{scheme} {token}".encode()})
            assert answer.status_code == 200
        assert (await served.client.get("/v1/plans", params={"token": token})).status_code == 200
        assert (
            await served.client.get("/v1/plans", params={"token": token}, headers={"host": "fleet.example.org"})
        ).status_code == 200
        document = (await served.client.get("/schema/openapi.json", params={"token": token})).json()
        assert set(document["components"]["securitySchemes"]) == {"header", "query"}
        async with served.client.stream("GET", "/v1/stream", params={"token": token}) as answer:
            assert answer.status_code == 200


async def test_without_a_token_it_does_not_serve_others_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("TESTED_TOKEN", raising=False)
        else:
            monkeypatch.setenv("TESTED_TOKEN", value)
        with pytest.raises((BadInput, ExceptionGroup)) as refused:
            async with running(tmp_path, web=EVERYWHERE):
                pass
        told = refused.value.exceptions[0] if isinstance(refused.value, ExceptionGroup) else refused.value
        assert "TESTED_TOKEN" in str(told)
        assert "web.listen" in str(told)


async def test_on_loopback_only_who_names_this_machine_is_served(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        port = served.gateway.server.port
        for host in (
            "127.0.0.1",
            f"127.0.0.1:{port}",
            "localhost",
            f"LOCALHOST:{port}",
            "[::1]",
            f"[::1]:{port}",
            "127.1.2.3",
        ):
            assert (await served.client.get("/v1/plans", headers={"host": host})).status_code == 200, host
        strangers = (
            "evil.example",
            f"evil.example:{port}",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            "10.0.0.1",
            "::",
        )
        for host in strangers:
            for path in ("/v1/plans", "/", "/metrics", "/readyz", "/schema/openapi.json", "/page/main.js"):
                answer = await served.client.get(path, headers={"host": host})
                assert answer.status_code == 403, (host, path)
        answer = await served.client.put("/v1/fences", content=b"{}", headers={"host": "evil.example"})
        assert answer.status_code == 403, "refused before it is read"


async def test_a_proxy_on_this_machine_may_pass_on_its_own_name_where_a_token_is_asked_for(
    tmp_path: Path, token: str
) -> None:
    async with running(tmp_path, web='token_env = "TESTED_TOKEN"') as served:
        named = {"host": "fleet.example.org"}
        assert (await served.client.get("/v1/plans", headers=named)).status_code == 401
        assert (await served.client.get("/v1/plans", headers=named, params={"token": token})).status_code == 200


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("process")
    text = CONFIG.format(folder="{folder}/data", unknown="register", web="", mqtt_port=0).replace(
        "port = 0\n", "port = {port}\n"
    )
    text = text[: text.index("[sources.endpoint]")] + text[text.index("[web]") :]
    with GatewayProcess(folder, text) as found:
        yield found


ANY_ID = st.text(min_size=1, max_size=30) | st.sampled_from(
    [
        "..",
        ".",
        "a/b",
        "a%2Fb",
        "%",
        "%00",
        "%ff",
        "null",
        "true",
        "\x00",
        "é",
        "🚚",
        " ",
        "'; DROP TABLE x",
        "*",
        "{id}",
    ]
)
ENCODED = st.tuples(ANY_ID, st.booleans(), st.sampled_from(["", "/", "%", "%2F", "%ff", "%zz", "%00"])).map(
    lambda t: quote(t[0], safe="/" if t[1] else "") + t[2]
)
WORDS = [
    "0",
    "-1",
    "1.5",
    "1e9",
    "9" * 25,
    "null",
    "true",
    "",
    "%00",
    "%ff",
    "2026-03-02T08:00:00Z",
    "2026-03-02",
    "NaN",
]
VALUE = st.sampled_from(WORDS) | st.text(max_size=20).map(lambda t: quote(t, safe=SAFE))
NAMES = ["cursor", "limit", "type", "vehicle", "positions", "start", "end", "after", "token", "x"]
QUERY = st.lists(st.tuples(st.sampled_from(NAMES), VALUE), max_size=4).map(lambda q: "&".join(f"{n}={v}" for n, v in q))
PATHS = sorted(path for path in ROUTES if path != "/v1/stream")
BODY = st.binary(max_size=40) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["plan_id", "vehicle_id", "device_id", "stops", "type", "features", "geometry"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
).map(lambda value: httpx.Request("PUT", "http://x", json=value).content if not has_nan(value) else b"NaN")


def has_nan(value: object) -> bool:
    return any(word in repr(value) for word in ("nan", "inf"))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "PUT", "DELETE", "POST"]),
    path=st.sampled_from(PATHS),
    name=ENCODED,
    query=QUERY,
    body=BODY,
)
def test_no_request_makes_it_stumble(
    process: GatewayProcess, method: str, path: str, name: str, query: str, body: bytes
) -> None:
    before, brace, after = path.partition("{")
    target = f"{before}{name}{after.partition('}')[2]}" if brace else path
    line = http.client.HTTPConnection("127.0.0.1", process.port, timeout=20)
    try:
        line.request(method, f"{target}?{query}" if query else target, body=body if method == "PUT" else None)
        answer = line.getresponse()
        text = answer.read()
    finally:
        line.close()
    assert answer.status < 500, (method, target, query, text)
    if answer.status >= 400:
        assert set(httpx.Response(answer.status, content=text).json()) == {"status_code", "detail", "problems"}


def test_nothing_of_all_that_was_a_mistake_of_ours(process: GatewayProcess) -> None:
    assert "please report it" not in process.log_path.read_text()
    assert process.get("/readyz")["ready"]
