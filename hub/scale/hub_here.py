"""What a worker opens of the hub: the plugins and bases of the command that it works for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hub.bases.cache import Bases
from hub.config import Settings, restore_settings
from hub.registry.active import activate
from hub.registry.host import Registry
from hub.registry.opening import use_plugins

__all__ = ["HubHere", "hub_here", "settings_for_workers"]


@dataclass(frozen=True, slots=True)
class HubHere:
    """The plugins and bases of this process, and the folder of downloaded packages."""

    registry: Registry
    bases: Bases
    packages: Path


def settings_for_workers(settings: Settings) -> str:
    """Return the settings that workers need, as JSON; keys and addresses of databases stay here."""
    return settings.model_dump_json(include={"home", "plugins"})


def hub_here(settings: str) -> HubHere:
    """Open what workers need, from the result of `settings_for_workers`."""
    restored = restore_settings(settings)
    registry = activate(Registry.of(restored))
    use_plugins()
    return HubHere(registry, Bases(restored.home), restored.home / "cache" / "packages")
