"""How an unexpected exception is logged: where it was raised, not what it says."""

from __future__ import annotations

import logging
import traceback

__all__ = ["FRAMES", "log_fault"]

FRAMES = 4


def log_fault(log: logging.Logger, what: str, error: BaseException, said: str = "") -> None:
    """Log the type and the innermost frames of `error`; its message may quote somebody's text.

    `said` is the message without such text, where the caller can tell.
    """
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    log.error("%s: %s%s at %s", what, type(error).__name__, f" ({said})" if said else "", where)
