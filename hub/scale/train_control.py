"""What is beside the workers of a training run on Ray: its progress and its errors; it imports no torch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hub.errors import HubError
from hub.progress import Progress

if TYPE_CHECKING:
    from ray.train import UserCallback

__all__ = ["StepBoard", "own_error", "put_on", "stopping_at_own_errors"]

TELL_S = 0.5  # between two messages to the board


class StepBoard:
    """An actor that knows how far the first worker is."""

    def __init__(self) -> None:
        self._last: tuple[str, int, int, str] | None = None

    def put(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Set it."""
        self._last = (stage, done, total, note)

    def last(self) -> tuple[str, int, int, str] | None:
        """Return it; None before the first step."""
        return self._last


def put_on(board: Any) -> Progress:
    """Return a progress that tells the board of steps, at most twice a second."""
    told = 0.0

    def tell(stage: str, done: int, total: int, note: str = "") -> None:
        nonlocal told
        now = time.monotonic()
        if stage == "train" and now - told > TELL_S:
            told = now
            board.put.remote(stage, done, total, note)

    return tell


def own_error(failures: Iterable[Exception]) -> HubError | None:
    """Return the first error of the hub among those of workers, if there is one."""
    for failure in failures:
        own = getattr(failure, "_base_exc", failure)  # private in Ray 2.60
        if isinstance(own, HubError):
            return own
    return None


def stopping_at_own_errors() -> UserCallback:
    """Return what ends a run at an error of the hub, which would be the same after each restart."""
    from ray.train import UserCallback

    class Stopping(UserCallback):  # type: ignore[misc]
        def after_exception(self, run_context: object, worker_exceptions: Mapping[int, Exception]) -> None:
            if own := own_error(worker_exceptions.values()):
                raise own

    return Stopping()
