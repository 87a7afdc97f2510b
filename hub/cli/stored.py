"""The store as commands open it that add nothing to it."""

from __future__ import annotations

import atexit
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hub.config import Settings
    from hub.store.store import Store

__all__ = ["existing_store"]


def existing_store(settings: Settings) -> Store:
    """Open the store of the settings; where there is none yet, an empty one that is gone after the command.

    To ask for a version must not make a state folder: HUB_HOME may be misspelt.
    """
    from hub.store.store import CATALOG_FILE, Store

    store = Store.of if _is_there(settings, CATALOG_FILE) else _empty
    return store(settings)


def _is_there(settings: Settings, catalog: str) -> bool:
    """Contents without a catalog count: opening the store says what to do about them."""
    home = settings.home
    return bool(settings.catalog.url) or (home / catalog).exists() or (home / "adapters").exists()


def _empty(settings: Settings) -> Store:
    from hub.store.store import Store

    folder = TemporaryDirectory(prefix="hub-")
    atexit.register(folder.cleanup)
    return Store(Path(folder.name))
