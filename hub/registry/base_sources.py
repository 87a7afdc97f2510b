"""Gives `hub.bases` the sources that plugins provide; it lies below the registry and cannot ask for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.api import BaseSource
from hub.bases import sources
from hub.errors import BadPlugin
from hub.progress import Progress
from hub.registry.active import active
from hub.registry.kinds import BASE_SOURCES
from hub.registry.loaded import extension_call

__all__ = ["use_plugins"]

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")


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
