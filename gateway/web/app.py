"""Puts the HTTP side together: who may ask, what is refused, health, metrics, and the page's files."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from litestar import Litestar, MediaType, Request, Response, get
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.static_files import create_static_files_router
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from xstatic.pkg import leaflet

from gateway import __version__
from gateway.problems import BadInput
from gateway.web.api import ROUTES
from gateway.web.options import is_loopback
from gateway.web.state import WebState

PAGE = Path(__file__).parent / "page"


def create_app(state: WebState) -> Litestar:
    """The ASGI application over a running gateway. Raises BadInput when it would serve strangers without a token."""
    options = state.options
    token = options.token()
    handlers = [livez, readyz, metrics, index, page_settings, ground, *ROUTES]
    return Litestar(
        route_handlers=[*handlers, _files("/page", PAGE), _files("/leaflet", Path(leaflet.BASE_DIR))],
        state=State({"web": state, "token": token}),
        guards=[meant_for_us, known],
        exception_handlers={BadInput: refused},
        request_max_body_size=options.body_max_bytes,
        openapi_config=OpenAPIConfig(
            title="Telematics gateway", version=__version__, path="/schema", render_plugins=[JsonRenderPlugin()]
        ),
        logging_config=None,
    )


def _files(path: str, folder: Path) -> Any:
    return create_static_files_router(path=path, directories=[folder], opt={"open": True}, include_in_schema=False)


def meant_for_us(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """On loopback only who names this machine is served: else any web page could reach it by a name of its own (DNS
    rebinding), and no token stands in its way there.
    """
    if not is_loopback(connection.app.state["web"].options.listen):
        return
    host = connection.headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if not is_loopback(name.strip("[]")):
        raise PermissionDeniedException(f"this gateway serves its own machine, not {host!r}")


def known(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Lets through who shows the token, where there is one; files and health are for everybody."""
    token = connection.app.state["token"]
    if token is None or handler.opt.get("open"):
        return
    shown = connection.headers.get("authorization", "").removeprefix("Bearer ") or connection.query_params.get(
        "token", ""
    )
    if not hmac.compare_digest(shown.encode(), token.encode()):
        raise NotAuthorizedException("send the gateway's token as `Authorization: Bearer TOKEN`")


def refused(_: Request[Any, Any, Any], error: BadInput) -> Response[Mapping[str, Any]]:
    """A document with mistakes: each with its place and what to write instead."""
    problems = [{"where": p.where, "what": p.what, "fix": p.fix} for p in error.problems]
    return Response({"detail": "the document has mistakes", "problems": problems}, status_code=400)


@get("/livez", opt={"open": True}, media_type=MediaType.TEXT, sync_to_thread=False)
def livez() -> str:
    """The process runs and its event loop turns."""
    return "alive\n"


@get("/readyz", opt={"open": True}, sync_to_thread=False)
def readyz(state: State) -> Response[dict[str, Any]]:
    """Whether positions are taken and kept: 200, or 503 with what is in the way. A sink's trouble is told, but
    does not make the gateway unready, since its backlog is safe in the journal.
    """
    parts = state["web"].readiness()
    ready = parts.get("intake") is None
    told = {part: trouble or "ok" for part, trouble in parts.items()}
    return Response({"ready": ready, "parts": told}, status_code=200 if ready else 503)


@get("/metrics", sync_to_thread=False)
def metrics(state: State) -> Response[bytes]:
    """Figures for Prometheus. No device is ever a label: a fleet would drown the server that scrapes it."""
    return Response(generate_latest(state["web"].metrics), media_type=CONTENT_TYPE_LATEST)


@get("/", opt={"open": True}, media_type=MediaType.HTML, include_in_schema=False, sync_to_thread=False)
def index() -> Response[bytes]:
    """The live map."""
    return Response((PAGE / "index.html").read_bytes(), media_type=MediaType.HTML)


@get("/v1/ground", sync_to_thread=True)
def ground(state: State) -> Response[bytes]:
    """What the map draws below everything: GeoJSON of streets, water and parks, where the configuration names a file."""
    path = state["web"].options.ground
    body = Path(path).read_bytes() if path else b'{"type":"FeatureCollection","features":[]}'
    return Response(body, media_type="application/geo+json")


@get("/v1/page", sync_to_thread=False)
def page_settings(state: State) -> dict[str, str | None]:
    """What the map page needs to know of the configuration."""
    options = state["web"].options
    return {"tiles_url": options.tiles_url, "tiles_attribution": options.tiles_attribution}
