"""When a replica looks at the catalog: again and again, when woken, and when somebody needs to know."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

__all__ = ["ANSWER_S", "CatalogWatch"]

ANSWER_S = 5.0  # how long a request waits for a look
_ASKED_S = 0.25  # at most so often for requests, however many ask


class CatalogWatch:
    """Calls `look` in a thread of its own, one call at a time, until it is stopped.

    `look` returns "", or why the catalog cannot be read; it does not raise.
    """

    def __init__(self, look: Callable[[], str], every_s: float) -> None:
        self._look = look
        self._every_s = every_s
        self._asked_s = min(every_s, _ASKED_S)
        self._changed = threading.Condition()
        self._woken = False
        self._asked: Future[str] | None = None
        self._stopped = False
        self._began = time.monotonic()
        self._answered = float("-inf")  # when the last look that somebody asked for began
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, once a look under way has ended."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """Look now: something has changed."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    async def refresh(self) -> str:
        """Wait for a look that begins after now, and return what it returned.

        Callers share looks: all of them together cause at most one per interval. Returns a reason too if
        the look takes longer than a request can wait.
        """
        with self._changed:
            if self._stopped:
                return "This server is stopping."
            if self._asked is None:
                self._asked = Future()
                self._changed.notify_all()
            asked = self._asked
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(asked)), ANSWER_S)
        except TimeoutError:
            return f"This replica has not caught up with the catalog within {ANSWER_S:g} s."

    def _run(self) -> None:
        while self._wait():
            with self._changed:
                asked, self._asked, self._woken = self._asked, None, False
                self._began = time.monotonic()
                if asked:
                    self._answered = self._began
            reason = self._look()
            if asked:
                asked.set_result(reason)
        with self._changed:
            asked, self._asked = self._asked, None
        if asked:
            asked.set_result("This server is stopping.")

    def _wait(self) -> bool:
        """Return True when a look is due, False once stopped."""
        with self._changed:
            while not self._stopped:
                due = self._began + self._every_s
                if self._asked:
                    due = min(due, self._answered + self._asked_s)
                left = due - time.monotonic()
                if left <= 0 or self._woken:
                    return True
                self._changed.wait(left)
            return False
