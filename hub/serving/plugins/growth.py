"""Finds plugin calls that make the process grow without bound.

The threads of a process share its memory, and no system says which of them holds how much. A call is charged
with the growth of the process while it is the only one in plugin code and the hub itself loads nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from hub.serving.plugins.threads import RunningStage, TaskThreads

__all__ = ["MemoryWatch", "loading", "resident_mb"]

_lock = threading.Lock()
_loads = 0


@contextmanager
def loading() -> Iterator[None]:
    """Mark work of the hub that makes the process grow, such as loading a base."""
    global _loads  # noqa: PLW0603 - one process, one memory
    with _lock:
        _loads += 1
    try:
        yield
    finally:
        with _lock:
            _loads -= 1


def resident_mb() -> float:
    """Return the memory of this process that is in RAM, in MB (10^6 bytes)."""
    return float(_process().memory_info().rss) / 1e6


@cache
def _process() -> Any:
    import psutil  # not at the top: only servers need it

    return psutil.Process()


class MemoryWatch:
    """Gives up calls during which the process grows by more than `limit_mb`; 0: none."""

    def __init__(self, limit_mb: int, resident: Callable[[], float] = resident_mb) -> None:
        self._limit_mb = limit_mb
        self._resident = resident
        self._alone: RunningStage | None = None
        self._least = 0.0  # MB, since that one is alone

    def check(self, tasks: Iterable[TaskThreads]) -> None:
        """Look at the calls that run now; call it often."""
        if not self._limit_mb:
            return
        running = [one for threads in tasks for one in threads.running()]
        if len(running) != 1 or _loads:
            self._alone = None
            return
        now, (one,) = self._resident(), running
        if one != self._alone:
            self._alone, self._least = one, now
        self._least = min(self._least, now)
        if now - self._least > self._limit_mb:
            self._alone = None
            one.threads.exceeded(one, round(now - self._least), self._limit_mb)
