"""Serves the application inside the gateway's own event loop, on a socket that is bound before anything starts."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from litestar import Litestar

from gateway.problems import BadInput, Problem
from gateway.web.options import WebOptions

GRACE_S = 2


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the gateway decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebServer:
    """`port` is known once constructed (port 0 in the options means any free one)."""

    def __init__(self, options: WebOptions) -> None:
        self._socket = _bound(options)
        self.port: int = self._socket.getsockname()[1]
        self._server: _Server | None = None
        self._app: Litestar | None = None

    async def run(self, app: Litestar) -> None:
        """Until `stop`: open streams end at once, and who does not take the rest of an answer is left after a moment."""
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_S,
            server_header=False,
        )
        self._app, self._server = app, _Server(config)
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        if self._app is None or self._server is None:
            self._socket.close()
            return
        self._server.should_exit = True
        self._app.state["web"].streams.ended.set()


def _bound(options: WebOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.listen else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((options.listen, options.port))
    except OSError as e:
        bound.close()
        what = f"cannot listen on {options.listen}:{options.port}: {e.strerror}"
        raise BadInput([Problem("web.port", what, "choose another port, or stop what uses it")]) from e
    return bound
