"""What can be done about a thread that is in plugin code: find out where, and stop it."""

from __future__ import annotations

import ctypes
import sys
import threading

from hub.errors import MAX_FRAMES

__all__ = ["Stopped", "stay", "stop", "where"]


class Stopped(BaseException):
    """Raised in a thread by `stop`; no `except Exception` of a plugin catches it."""


def stop(thread: threading.Thread | None) -> None:
    """Raise Stopped in a thread as soon as it runs Python code; one in C code is not stopped before that."""
    if thread and thread.ident:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Stopped))


def stay() -> None:
    """Drop a Stopped that this thread was sent and that was not raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), None)


def where(thread: threading.Thread | None) -> str:
    """Return the stack of a thread as " at FILE:LINE < FILE:LINE", innermost frame first."""
    ident = thread.ident if thread else None
    frame = sys._current_frames().get(ident or 0)
    lines: list[str] = []
    while frame is not None and len(lines) < MAX_FRAMES:
        lines.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        frame = frame.f_back
    return f" at {' < '.join(lines)}" if lines else ""
