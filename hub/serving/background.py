"""Periodic tasks in threads of their own, which retry after errors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from hub.errors import HubError

__all__ = ["PeriodicTask"]

log = logging.getLogger(__name__)

_STOP_S = 3.0  # how long `stop` waits for the last call


class PeriodicTask:
    """Calls `work` every `every_s` seconds and when woken, in its own thread; at the end `last`, or `work`.

    An error is logged once until a call succeeds again; the next call retries.
    """

    def __init__(
        self, name: str, work: Callable[[], None], every_s: float, *, last: Callable[[], None] | None = None
    ) -> None:
        self._name = name
        self._work = work
        self._every_s = every_s
        self._last = last or work
        self._due = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.error = ""

    def start(self) -> None:
        """Start the thread; the first call is due after `every_s`."""
        self._thread.start()

    def wake(self) -> None:
        """Make a call due now."""
        self._due.set()

    def stop(self) -> None:
        """Make the last call, and wait for it for a few seconds at most."""
        self._stopped = True
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def _run(self) -> None:
        while not self._stopped:
            self._due.wait(self._every_s)
            self._due.clear()
            if not self._stopped:
                self._try(self._work)
        self._try(self._last)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            reason = str(error) if isinstance(error, HubError) else type(error).__name__
            if not self.error:
                log.warning("%s: %s", self._name, reason, exc_info=not isinstance(error, HubError))
            self.error = reason
        else:
            self.error = ""
