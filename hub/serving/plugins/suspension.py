"""When the calls of a task are refused because its plugin hangs or takes memory, and when one is tried again.

Not thread-safe: the owner holds a lock.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Suspension"]

FIRST_PAUSE_S = 60.0  # before the first trial call; doubled by each trial that hangs
MAX_PAUSE_S = 3600.0
OVERRUN_S = 60.0  # the time in which `share` calls that take too much memory suspend the task
MAX_SHARES = 4  # no more trials once this many times the share of threads is stuck


class Suspension:
    """Suspends a task when `share` of its threads are stuck, or `share` calls took too much memory of late.

    The suspension ends when stuck threads return, or when a trial call is answered. A trial that hangs costs
    another thread, so trials are rare, and beyond MAX_SHARES there are none: then only a restart helps.
    """

    def __init__(self, share: int) -> None:
        self.active = False
        self.by_memory = False
        self._overran: deque[float] = deque(maxlen=share)
        self._share = share
        self._limit = share  # stuck threads that suspend the task
        self._stuck = 0
        self._pause_s = FIRST_PAUSE_S
        self._retry_at = 0.0
        self._trying = False

    def hung(self, now: float) -> bool:
        """Count a stuck thread; True if that suspends the task."""
        self._stuck += 1
        if self.active:
            if self._trying:
                self._postpone(now)
            return False
        if self._stuck < self._limit:
            return False
        self._suspend(now)
        return True

    def overran(self, now: float) -> bool:
        """Count a call that took too much memory; True if that suspends the task."""
        self._overran.append(now)
        if self.active:
            return False
        if len(self._overran) < self._share or now - self._overran[0] > OVERRUN_S:
            return False
        self._suspend(now)
        self.by_memory = True
        return True

    def _suspend(self, now: float) -> None:
        self.active, self._trying = True, False
        self._pause_s = FIRST_PAUSE_S
        self._retry_at = now + self._pause_s

    def _postpone(self, now: float) -> None:
        self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)
        self._retry_at = now + self._pause_s

    def returned(self) -> bool:
        """Count a stuck thread back; True if that ends the suspension."""
        self._stuck -= 1
        if self._stuck >= self._limit or self.by_memory:
            return False
        self._limit = max(self._share, min(self._limit, self._stuck + self._share))
        ended, self.active = self.active, False
        return ended

    def begin_trial(self, now: float) -> bool:
        """Return whether a trial call may start now; if so, the caller reports its end to `end_trial`."""
        if not self.active or self._trying or (self.retry_in(now) or 0.0) > 0 or self._spent:
            return False
        self._trying = True
        return True

    def end_trial(self, answered: bool) -> bool:
        """Record the end of a trial; True if that ends the suspension."""
        self._trying = False
        if not (answered and self.active):
            return False
        self.active = self.by_memory = False
        self._overran.clear()
        self._limit = min(self._stuck + self._share, MAX_SHARES * self._share)
        return True

    def retry_in(self, now: float) -> float | None:
        """Return the seconds until the next trial; None if there is none."""
        return None if not self.active or self._spent else max(0.0, self._retry_at - now)

    @property
    def _spent(self) -> bool:
        return self._stuck >= MAX_SHARES * self._share
