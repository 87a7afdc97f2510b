"""The registry of this process, for code that is far from where settings are read, such as file readers."""

from __future__ import annotations

from threading import Lock

from hub.config import load_settings
from hub.registry.host import Registry

__all__ = ["activate", "active"]

_lock = Lock()
_registries: list[Registry] = []


def activate(registry: Registry) -> Registry:
    """Make this the registry that `active` returns, and return it."""
    with _lock:
        _registries[:] = [registry]
    return registry


def active() -> Registry:
    """Return the registry that was activated; if none was, load the one of the settings first.

    Raises:
        BadConfig: hub.toml or a HUB_* variable is invalid.
    """
    with _lock:
        if not _registries:
            _registries.append(Registry.of(load_settings()))
        return _registries[0]
