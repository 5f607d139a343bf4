"""How the HTTP side is configured."""

from __future__ import annotations

import ipaddress
import os

from msgspec import Struct

from gateway.problems import BadInput, Problem


class WebOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[web]`: API, live stream, map page, health and metrics on one port.

    Beyond this machine a token is asked for (`Authorization: Bearer …`, or `?token=` where a browser cannot send headers),
    except on /livez and /readyz; it comes from the environment. `tiles_url` is a template such as
    "https://tiles.example.org/{z}/{x}/{y}.png"; without it the map draws `ground` (GeoJSON), paths and fences alone.
    """

    listen: str = "127.0.0.1"
    port: int = 8080
    token_env: str = "GATEWAY_TOKEN"
    tiles_url: str | None = None
    tiles_attribution: str = ""
    ground: str | None = None
    streams_max: int = 200
    body_max_bytes: int = 16 * 1024 * 1024

    def token(self) -> str | None:
        """The token to ask for, or None on loopback without one. Raises BadInput where one is needed and none is set."""
        token = os.environ.get(self.token_env) or None
        if token is None and not is_loopback(self.listen):
            what = f"listens on {self.listen} for everybody, and the environment variable {self.token_env} is not set"
            raise BadInput([Problem("web.listen", what, f"set {self.token_env}, or listen on 127.0.0.1")])
        return token


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
