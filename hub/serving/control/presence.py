"""The row of this serving process in the catalog's table of replicas."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hub.serving.background import PeriodicTask
from hub.store.catalog.replicas import Replicas

__all__ = ["BEAT_S", "FILE_BEAT_S", "Presence", "Served"]

BEAT_S = 2.0
# A report to SQLite syncs the disk. Its replicas are workers of one server, which replaces one that ends, so
# their rows may be older; three reports have to fit into SILENT_S.
FILE_BEAT_S = 5.0


@dataclass(frozen=True, slots=True)
class Served:
    """The generation that a replica serves, by deployment the reason why it is not live there, its plugins.

    `plugins` maps `distribution:name` to version and state.
    """

    generation: int
    failures: Mapping[str, str]
    plugins: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class Presence:
    """Reports a replica to the catalog when it changes and every few seconds; while that is gone, retries."""

    def __init__(
        self, replicas: Replicas, id: str, url: str, served: Callable[[], Served], every_s: float = BEAT_S
    ) -> None:
        self._replicas = replicas
        self._id = id
        self._url = url
        self._served = served
        name = "This replica cannot be reported in the catalog"
        self._task = PeriodicTask(name, self._report, every_s, last=lambda: replicas.withdraw(id))

    def start(self) -> None:
        """Report for the first time, and go on."""
        self._task.wake()
        self._task.start()

    def changed(self) -> None:
        """Report soon."""
        self._task.wake()

    def stop(self) -> None:
        """Remove the row; if the catalog does not answer, the other replicas do."""
        self._task.stop()

    def _report(self) -> None:
        served = self._served()
        self._replicas.report(
            self._id,
            host=socket.gethostname(),
            pid=os.getpid(),
            url=self._url,
            generation=served.generation,
            failures=served.failures,
            plugins=served.plugins,
        )
