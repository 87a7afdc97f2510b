"""This serving process as others see it: its row in the catalog, kept fresh."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hub.errors import HubError
from hub.store.catalog.replicas import Replicas

__all__ = ["BEAT_S", "Presence", "Served"]

log = logging.getLogger(__name__)

BEAT_S = 2.0
_STOP_S = 3.0  # how long a stop waits for the catalog


@dataclass(frozen=True, slots=True)
class Served:
    """What a replica tells of itself: the generation it serves, and why a deployment is not live there."""

    generation: int
    failures: Mapping[str, str]


class Presence:
    """Reports a replica when told that something changed, and every few seconds, in a thread of its own.

    While the catalog is gone nothing is reported, and nothing else happens.
    """

    def __init__(self, replicas: Replicas, id: str, url: str, served: Callable[[], Served]) -> None:
        self._replicas = replicas
        self._id = id
        self._url = url
        self._served = served
        self._due = threading.Event()
        self._stopped = False
        self._heard = True  # by the catalog, the last time
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Report for the first time, and go on."""
        self._due.set()
        self._thread.start()

    def changed(self) -> None:
        """Report soon."""
        self._due.set()

    def stop(self) -> None:
        """Take the row away, unless the catalog keeps one waiting: then others remove it."""
        self._stopped = True
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def _run(self) -> None:
        while not self._stopped:
            self._due.wait(BEAT_S)
            self._due.clear()
            if not self._stopped:
                self._try(self._report)
        self._try(lambda: self._replicas.withdraw(self._id))

    def _report(self) -> None:
        served = self._served()
        self._replicas.report(
            self._id,
            host=socket.gethostname(),
            pid=os.getpid(),
            url=self._url,
            generation=served.generation,
            failures=served.failures,
        )

    def _try(self, ask: Callable[[], None]) -> None:
        try:
            ask()
        except Exception as error:
            if self._heard:
                said = error if isinstance(error, HubError) else type(error).__name__
                log.warning("This replica cannot be reported in the catalog: %s", said)
            self._heard = False
        else:
            self._heard = True
