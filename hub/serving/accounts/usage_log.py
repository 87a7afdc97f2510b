"""Writes what callers have used to the catalog and to the metrics, in the background."""

from __future__ import annotations

from hub.serving.accounts.account import Accounts
from hub.serving.background import PeriodicTask
from hub.serving.meter import Meter
from hub.store.catalog.keys import ApiKeys, KeyUsage

__all__ = ["UsageLog"]

WRITE_S = 5.0


class UsageLog:
    """Adds the counts of all accounts to the catalog every few seconds; while that is gone, they wait here.

    A process that is killed loses the counts of the last seconds.
    """

    def __init__(self, accounts: Accounts, keys: ApiKeys, meter: Meter) -> None:
        self._accounts = accounts
        self._keys = keys
        self._meter = meter
        self._waiting: dict[tuple[str, str], KeyUsage] = {}
        self._task = PeriodicTask("The usage of keys cannot be counted", self.write, WRITE_S)

    def start(self) -> None:
        """Start writing."""
        self._task.start()

    def stop(self) -> None:
        """Write what is left, if the catalog is available."""
        self._task.stop()

    def write(self) -> None:
        """Write the counts."""
        for (caller, day), usage in self._accounts.take().items():
            self._meter.usage(caller, usage)
            self._waiting.setdefault((caller, day), KeyUsage()).add(usage)
        if self._waiting:
            self._keys.count(self._waiting)
            self._waiting = {}
