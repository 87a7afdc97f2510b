"""Shortens the time limit of plugin code as soon as the server is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

__all__ = ["drain_on_signal"]


def drain_on_signal(drain: Callable[[], None]) -> None:
    """Call `drain` before the handlers of SIGTERM and SIGINT that are installed now.

    uvicorn answers the requests under way before it runs the shutdown hooks: they would only come once a
    hanging call has reached its whole time limit.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # as under a test client: nobody sends signals to that
    for number in (signal.SIGTERM, signal.SIGINT):
        previous = signal.getsignal(number)
        if callable(previous):
            signal.signal(number, _both(drain, previous))


def _both(
    drain: Callable[[], None], previous: Callable[[int, FrameType | None], object]
) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        drain()
        previous(number, frame)

    return handle
