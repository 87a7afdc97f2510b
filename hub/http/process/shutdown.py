"""Ends a worker: on a signal, its plugin calls get a shorter time limit; without its supervisor, it stops."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

__all__ = ["drain_on_signal", "end_with"]

CHECK_EVERY_S = 0.5


def drain_on_signal(drain: Callable[[], None]) -> None:
    """Call `drain` before the current handlers of SIGTERM and SIGINT.

    uvicorn runs shutdown hooks after the last answer, which a hanging call delays by its whole time limit.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # under a test client; only the main thread can set handlers
    for number in (signal.SIGTERM, signal.SIGINT):
        previous = signal.getsignal(number)
        if callable(previous):
            signal.signal(number, _chained(drain, previous))


def end_with(supervisor: int) -> None:
    """Stop this process by SIGTERM when `supervisor` is no longer its parent; returns at once.

    A worker whose supervisor was killed would otherwise keep the port and serve outside the control of `hub`.
    """
    threading.Thread(target=_watch, args=(supervisor,), name="supervisor-watch", daemon=True).start()


def _chained(
    drain: Callable[[], None], previous: Callable[[int, FrameType | None], object]
) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        drain()
        previous(number, frame)

    return handle


def _watch(supervisor: int) -> None:
    while os.getppid() == supervisor:
        time.sleep(CHECK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
