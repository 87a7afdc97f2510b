"""Those who may call this process: the keys of the catalog, and the accounts of their callers."""

from __future__ import annotations

from hub.serving.accounts.account import Accounts
from hub.serving.accounts.usage_log import UsageLog
from hub.serving.control.key_watch import KeyWatch
from hub.serving.meter import Meter
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.keys import ApiKeys, KeyTable

__all__ = ["Callers"]


class Callers:
    """Holds the accounts, and once started follows the keys of a catalog and writes what was used there."""

    def __init__(self, meter: Meter) -> None:
        self.accounts = Accounts()
        self._meter = meter
        self._watch: KeyWatch | None = None
        self._log: UsageLog | None = None

    @property
    def table(self) -> KeyTable | None:
        """The keys of the catalog as of the last poll; None until it has been read."""
        return self._watch.table if self._watch else None

    def start(self, catalog: Catalog, every_s: float) -> None:
        """Read the keys of a catalog, and poll for changes.

        Raises:
            NotReady: the catalog cannot be read.
        """
        keys = ApiKeys(catalog)
        watch, log = KeyWatch(keys, every_s), UsageLog(self.accounts, keys, self._meter)
        watch.start()
        log.start()
        self._watch, self._log = watch, log

    def stop(self) -> None:
        """Write what was used, and stop following; the keys stay known."""
        for running in (self._log, self._watch):
            if running:
                running.stop()

    async def refresh(self) -> None:
        """Wait until the present keys are known, if the catalog answers."""
        if self._watch:
            await self._watch.refresh()
