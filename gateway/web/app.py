"""Puts the HTTP side together: who may ask, what is refused, health, metrics, and the page's files."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litestar import Litestar, MediaType, Response, get
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, Reference, SecurityScheme
from litestar.static_files import create_static_files_router
from msgspec import Struct
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from xstatic.pkg import leaflet

from gateway import __version__
from gateway.web.api import ROUTES
from gateway.web.errors import HANDLERS, refusals
from gateway.web.options import is_loopback
from gateway.web.state import Streams, WebState

PAGE = Path(__file__).parent / "page"
TOKENS: dict[str, SecurityScheme | Reference] = {
    "header": SecurityScheme(type="http", scheme="bearer"),
    "query": SecurityScheme(type="apiKey", name="token", security_scheme_in="query"),
}


class Readiness(Struct, frozen=True):
    """`parts`: "ok", or what is in a part's way."""

    ready: bool
    parts: dict[str, str]


NOT_READY = ResponseSpec(Readiness, generate_examples=False, description="Positions are not kept now.")


def create_app(state: WebState) -> Litestar:
    """The ASGI application over a running gateway. Raises BadInput when it would serve strangers without a token."""
    options = state.options
    token = options.token()
    state.metrics.register(StreamsCollector(state.streams))
    handlers = [livez, readyz, metrics, index, page_settings, ground, *ROUTES]
    return Litestar(
        route_handlers=[*handlers, _files("/page", PAGE), _files("/leaflet", Path(leaflet.BASE_DIR))],
        state=State({"web": state, "token": token}),
        guards=[meant_for_us, known],
        exception_handlers=HANDLERS,
        request_max_body_size=options.body_max_bytes,
        openapi_config=OpenAPIConfig(
            title="Telematics gateway",
            version=__version__,
            path="/schema",
            render_plugins=[JsonRenderPlugin()],
            components=Components(security_schemes=TOKENS if token is not None else None),
            security=[{name: []} for name in TOKENS] if token is not None else None,
        ),
        logging_config=None,
    )


def _files(path: str, folder: Path) -> Any:
    return create_static_files_router(path=path, directories=[folder], opt={"open": True}, include_in_schema=False)


def meant_for_us(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """On loopback only who names this machine is served: else any web page could reach it by a name of its own (DNS
    rebinding). Where a token is asked for, that stands in its way, and a proxy may pass on the name it is known by.
    """
    state = connection.app.state
    if state["token"] is not None or not is_loopback(state["web"].options.listen):
        return
    host = connection.headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if not is_loopback(name.strip("[]").lower()):
        raise PermissionDeniedException(f"this gateway serves its own machine, not {host!r}")


def known(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Lets through who shows the token, where there is one; files and health are for everybody."""
    token = connection.app.state["token"]
    if token is None or handler.opt.get("open"):
        return
    scheme, _, credentials = connection.headers.get("authorization", "").partition(" ")
    in_header = scheme.lower() == "bearer"
    # Headers are handed over as Latin-1, whatever their bytes meant.
    shown = credentials.encode("latin-1") if in_header else connection.query_params.get("token", "").encode()
    if not hmac.compare_digest(shown, token.encode()):
        what = "send the gateway's token as `Authorization: Bearer TOKEN`, or as `?token=`"
        raise NotAuthorizedException(what, headers={"www-authenticate": "Bearer"})


class StreamsCollector(Collector):
    """What the live stream counts."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("gateway_streams", "Live streams that are open.", self._streams.open)
        refused = "Live streams that were refused because all places were taken."
        yield CounterMetricFamily("gateway_streams_refused", refused, self._streams.refused)


@get("/livez", opt={"open": True}, media_type=MediaType.TEXT, sync_to_thread=False)
def livez() -> str:
    """The process runs and its event loop turns."""
    return "alive\n"


@get("/readyz", opt={"open": True}, sync_to_thread=False, responses={503: NOT_READY})
def readyz(state: State) -> Response[Readiness]:
    """Whether positions are taken and kept: 200, or 503 with what is in the way. A sink's trouble is told, but
    does not make the gateway unready, since its backlog is safe in the journal.
    """
    parts = state["web"].readiness()
    ready = parts.get("intake") is None
    told = {part: trouble or "ok" for part, trouble in parts.items()}
    return Response(Readiness(ready, told), status_code=200 if ready else 503)


@get("/metrics", sync_to_thread=False, media_type=MediaType.TEXT, responses=refusals())
def metrics(state: State) -> Response[bytes]:
    """Figures for Prometheus. No device is ever a label: a fleet would drown the server that scrapes it."""
    media_type, _, _ = CONTENT_TYPE_LATEST.partition("; charset")  # which the framework adds
    return Response(generate_latest(state["web"].metrics), media_type=media_type)


@get("/", opt={"open": True}, media_type=MediaType.HTML, include_in_schema=False, sync_to_thread=False)
def index() -> Response[bytes]:
    """The live map."""
    return Response((PAGE / "index.html").read_bytes(), media_type=MediaType.HTML)


@get("/v1/ground", sync_to_thread=True, media_type="application/geo+json", responses=refusals())
def ground(state: State) -> Response[bytes]:
    """What the map draws below everything: GeoJSON of streets, water and parks, where the configuration names a file."""
    path = state["web"].options.ground
    body = Path(path).read_bytes() if path else b'{"type":"FeatureCollection","features":[]}'
    return Response(body, media_type="application/geo+json")


@get("/v1/page", sync_to_thread=False, responses=refusals())
def page_settings(state: State) -> dict[str, str | None]:
    """What the map page needs to know of the configuration."""
    options = state["web"].options
    return {"tiles_url": options.tiles_url, "tiles_attribution": options.tiles_attribution}
