"""Work for the catalog that is done again and again beside serving, and waits while the catalog is gone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from hub.errors import HubError

__all__ = ["PeriodicTask"]

log = logging.getLogger(__name__)

_STOP_S = 3.0  # how long a stop waits for the catalog


class PeriodicTask:
    """Calls `work` every so often in a thread of its own, and once more when stopped.

    What it raises is logged once until it goes well again: work that failed is to be done the next time.
    """

    def __init__(self, name: str, work: Callable[[], None], every_s: float) -> None:
        self._name = name
        self._work = work
        self._every_s = every_s
        self._due = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.error = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Do it for the last time; what the catalog keeps waiting is left to itself."""
        self._stopped = True
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def _run(self) -> None:
        while not self._stopped:
            self._due.wait(self._every_s)
            self._try()

    def _try(self) -> None:
        try:
            self._work()
        except Exception as error:
            said = str(error) if isinstance(error, HubError) else type(error).__name__
            if not self.error:
                log.warning("%s: %s", self._name, said, exc_info=not isinstance(error, HubError))
            self.error = said
        else:
            self.error = ""
