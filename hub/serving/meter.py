"""The interface through which serving counts events; the HTTP layer passes one that feeds Prometheus."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hub.store.catalog.keys import KeyUsage

__all__ = ["Meter", "Outcome"]

Outcome = Literal["ok", "failed"]


class Meter:
    """Counts nothing; subclasses count. Methods are called from several threads and must be quick."""

    def batch(self, base: str, rows: int, seconds: float, waiting: int) -> None:
        """A forward of `rows` rows took `seconds` and left `waiting` rows in the queue."""

    def retry(self, base: str) -> None:
        """A forward failed and its rows run again in halves."""

    def load(self, outcome: Outcome, seconds: float) -> None:
        """A version was loaded into a slot, or could not be."""

    def evicted(self, base: str) -> None:
        """A version lost its slot to another one."""

    def swap(self, outcome: Outcome) -> None:
        """A deployment changed its version, or could not."""

    def slots(self, base: str, resident: int, capacity: int) -> None:
        """`resident` of `capacity` slots hold a version."""

    def published(self, names: Collection[str]) -> None:
        """The deployments of these names are served from now on."""

    def answers(self, outcome: Outcome, count: int) -> None:
        """`count` answers were stored for feedback, or dropped."""

    def usage(self, caller: str, usage: KeyUsage) -> None:
        """A caller has used this since the last call for it."""

    def observed(self, observer: str, outcome: str) -> None:
        """An observer of a plugin was told of an event: delivered, failed, or dropped as it is behind."""

    def plugin_fault(self, task: str, step: str, fault: str) -> None:
        """Plugin code of a task did in `step` what it must not."""

    def stuck(self, task: str, threads: int, suspended: bool) -> None:
        """`threads` threads hang in the plugin code of a task; its calls are refused if `suspended`."""
