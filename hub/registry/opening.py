"""Opens engines by name, and gives `hub.bases`, which lies below, the sources of plugins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hub.api import BaseSource, EngineRequest
from hub.bases import sources
from hub.config import Settings
from hub.errors import BadConfig, BadPlugin, NotFound
from hub.progress import Progress
from hub.registry.active import activate, active
from hub.registry.host import Registry
from hub.registry.kinds import BASE_SOURCES, ENGINES
from hub.registry.loaded import extension_call

__all__ = ["check_engine", "engine_for", "open_engine", "use_plugins"]

_NEEDED = ("check", "write", "clear", "run", "packs", "streams", "settle", "info", "close")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")


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


def open_engine(kind: str, request: EngineRequest, key: str = "serve.engine") -> Any:
    """Build an engine, which has the methods of `hub.engine.protocol.Engine`; `key` named it.

    Raises:
        BadConfig: there is no such engine or device, or the engine cannot run this base.
        BadPlugin: the engine of a plugin cannot be built, or lacks a method of `Engine`.
        EngineFailed: the base could not be loaded.
    """
    try:
        builder = active().extensions.get(ENGINES, kind)
    except NotFound as error:
        raise BadConfig(f"{key}: {error}") from None
    with extension_call(ENGINES.word, kind, "build()"):
        engine = builder.build(request)
    if missing := [name for name in _NEEDED if not hasattr(engine, name)]:
        raise BadPlugin(f"Engine {kind!r} has no {missing[0]}(): see hub.engine.protocol.Engine.")
    return engine


@dataclass(frozen=True, slots=True)
class _PluginSource:
    """A `Source` that a plugin fetches."""

    spec: str
    name: str
    label: str
    plugin: BaseSource[Any]

    def fetch(self, folder: Path, progress: Progress) -> None:
        with extension_call(BASE_SOURCES.word, self.label, "fetch()"):
            self.plugin.fetch(self.spec, folder, progress)


def use_plugins() -> None:
    """Let `hub.bases.sources.parse_source` find the sources of the active registry by scheme."""
    sources.find_by_scheme = _find


def _find(location: str) -> sources.Source | None:
    scheme = _SCHEME.match(location)
    extensions = active().extensions
    if scheme is None or scheme[0] not in (known := extensions.keys(BASE_SOURCES)):
        return None
    label, plugin = known[scheme[0]].name, extensions.get(BASE_SOURCES, scheme[0])
    with extension_call(BASE_SOURCES.word, label, "base_name()"):
        name, spec = plugin.base_name(location), plugin.complete(location)
    if not isinstance(name, str) or not isinstance(spec, str):
        raise BadPlugin(
            f"Base source {label!r} names a base {name!r:.80} of {spec!r:.80}: both must be texts."
        )
    return _PluginSource(spec, name, label, plugin)
