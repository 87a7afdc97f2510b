"""Opens the engine of a base, built in or of a plugin."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import cast

from hub.api import EngineRequest
from hub.config import Settings
from hub.engine.protocol import Engine
from hub.errors import BadConfig, BadPlugin, NotFound
from hub.registry.active import activate, active
from hub.registry.host import Registry
from hub.registry.kinds import ENGINES
from hub.registry.loaded import extension_call

__all__ = ["check_engine", "engine_for", "open_engine"]

_NEEDED = ("check", "write", "clear", "run", "packs", "streams", "settle", "info", "close")


def check_engine(settings: Settings) -> None:
    """Check that there is an engine of the name in `serve.engine`; plugins are loaded only to look for it.

    Raises:
        BadConfig: there is none.
    """
    kind = settings.serve.engine
    if kind in Registry.of_hub().extensions.specs(ENGINES):
        return
    known = activate(Registry.of(settings)).extensions.specs(ENGINES)
    if kind not in known:
        raise BadConfig(f"Setting 'serve.engine': {NotFound.of(ENGINES.word, kind, known)}")


def engine_for(source: str, default: str) -> str:
    """Return the name of the engine that runs a base from `source`: one made for it, or the default."""
    specs = active().extensions.specs(ENGINES)
    made = (name for name, spec in specs.items() if any(fnmatchcase(source, one) for one in spec.bases))
    return next(made, default)


def open_engine(kind: str, request: EngineRequest) -> Engine:
    """Build an engine.

    Raises:
        BadConfig: there is no such engine or device, or the engine cannot run this base.
        BadPlugin: the engine of a plugin cannot be built, or lacks a method of `Engine`.
        EngineFailed: the base could not be loaded.
    """
    try:
        builder = active().extensions.get(ENGINES, kind)
    except NotFound as error:
        raise BadConfig(f"serve.engine: {error}") from None
    with extension_call(ENGINES.word, kind, "build()"):
        engine = builder.build(request)
    if missing := [name for name in _NEEDED if not hasattr(engine, name)]:
        raise BadPlugin(f"Engine {kind!r} has no {missing[0]}(): see hub.engine.protocol.Engine.")
    return cast(Engine, engine)
