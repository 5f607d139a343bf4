"""The protocols, found and not registered: a module of this package, or an entry point of `gateway.protocols`, with a
`CODEC` is one. See `gateway.protocols.base` for the contract and `CONTRIBUTING.md` for how to add one.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Mapping

import msgspec

from gateway.protocols.base import Codec, Context, Decoder, Encoder

__all__ = ["codec", "codecs", "new_decoder", "new_encoder"]


@functools.cache
def codecs() -> Mapping[str, Codec]:
    """Every codec by its name. Two of one name are a mistake of the installation: ValueError."""
    found: dict[str, Codec] = {}
    modules = [
        importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__) if m.name != "base"
    ]
    candidates = [c for m in modules if isinstance(c := getattr(m, "CODEC", None), Codec)]
    candidates += [entry.load() for entry in importlib.metadata.entry_points(group="gateway.protocols")]
    for each in candidates:
        if found.setdefault(each.name, each) is not each:
            raise ValueError(f"two protocols call themselves {each.name!r}")
    return found


def codec(name: str) -> Codec:
    """The codec of that name; ValueError that lists the names there are."""
    known = codecs()
    if name not in known:
        raise ValueError(f"no protocol {name!r}; there are {', '.join(sorted(known))}")
    return known[name]


def new_decoder(name: str, context: Context, options: Mapping[str, object] | None = None) -> Decoder:
    """A decoder for one stream or sender. Raises ValueError for an unknown protocol or option (with its path)."""
    found = codec(name)
    return found.decoder(context, msgspec.convert(dict(options or {}), found.options_type))


def new_encoder(name: str, options: Mapping[str, object] | None = None) -> Encoder:
    """The device's side of a protocol, for simulators and tests."""
    found = codec(name)
    return found.encoder(msgspec.convert(dict(options or {}), found.options_type))
