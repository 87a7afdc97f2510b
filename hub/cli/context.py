"""The settings of a command, and the store, plugins, bases and server that they configure."""

from __future__ import annotations

import atexit
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from hub.bases.cache import Bases
    from hub.client.protocol import Client
    from hub.config import Settings
    from hub.registry.host import Registry
    from hub.store.store import Store

__all__ = ["Context"]


@dataclass(frozen=True)
class Context:
    """The settings of a command; the store, plugins and bases are imported and opened on first use."""

    settings: Settings

    @classmethod
    def load(cls) -> Context:
        """Read hub.toml and the HUB_* variables.

        Raises:
            BadConfig: as `load_settings`.
        """
        from hub.config import load_settings

        return cls(load_settings())

    @cached_property
    def store(self) -> Store:
        """The store, for a command that writes to it; creates the state folder."""
        from hub.store.store import Store

        return Store.of(self.settings)

    @cached_property
    def existing_store(self) -> Store:
        """The store, for a command that only reads; an empty temporary one if there is no state folder.

        Such a command must not create a state folder: HUB_HOME may be misspelt.

        Raises:
            OSError: a part of the path to the state folder is a file.
        """
        from hub.store.store import Store

        if self._has_store():
            return self.store
        folder = TemporaryDirectory(prefix="hub-")
        atexit.register(folder.cleanup)
        return Store(Path(folder.name))

    @cached_property
    def registry(self) -> Registry:
        """The installed plugins."""
        from hub.registry.active import activate
        from hub.registry.host import Registry

        return activate(Registry.of(self.settings))

    @cached_property
    def bases(self) -> Bases:
        """The base models on this machine."""
        from hub.bases.cache import Bases
        from hub.registry.opening import use_plugins

        use_plugins()
        return Bases(self.settings.home)

    @property
    def packages(self) -> Path:
        """The cache folder for downloaded packages that hold data."""
        return self.settings.home / "cache" / "packages"

    def client(self, server: str | None = None) -> AbstractContextManager[Client]:
        """Open a client of `server`, by default as `hub.client.connect` finds one."""
        from hub.client.connect import connect

        return connect(self.settings, server)

    def _has_store(self) -> bool:
        """Return whether there is a catalog, or contents without one, which opening the store reports."""
        from hub.store.store import CATALOG_FILE

        home = self.settings.home
        if self.settings.catalog.url:
            return True
        try:
            found = {path.name for path in home.iterdir()}
        except FileNotFoundError:
            return False
        return not found.isdisjoint({CATALOG_FILE, "adapters"})
