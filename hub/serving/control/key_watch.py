"""Follows the keys of the catalog, apart from the deployments: a load must not delay a revocation."""

from __future__ import annotations

import logging

from hub.errors import HubError
from hub.serving.control.catalog_watch import CatalogWatch
from hub.store.catalog.keys import ApiKeys, KeyTable

__all__ = ["KeyWatch"]

log = logging.getLogger(__name__)


class KeyWatch:
    """Holds the keys of the catalog as of the last poll; while the catalog is gone, they stay."""

    def __init__(self, keys: ApiKeys, every_s: float) -> None:
        self._keys = keys
        self._watch = CatalogWatch(self._look, every_s)
        self._error = ""
        self.table = KeyTable()

    def start(self) -> None:
        """Read the keys, then poll.

        Raises:
            NotReady: the catalog cannot be read.
        """
        self.table = self._keys.table()
        self._watch.start()

    def stop(self) -> None:
        """Stop polling."""
        self._watch.stop()

    async def refresh(self) -> str:
        """Wait until the present keys are known; returns "", or why they are not."""
        return await self._watch.refresh()

    def _look(self) -> str:
        try:
            if self._keys.version() != self.table.version:
                self.table = self._keys.table()
            self._error = ""
        except Exception as error:
            if not self._error:
                log.exception("The keys of the catalog cannot be followed; those known stay valid.")
            self._error = str(error) if isinstance(error, HubError) else type(error).__name__
        return self._error
