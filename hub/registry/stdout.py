"""Keeps what plugin code prints out of the standard output of commands and servers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

__all__ = ["printing_to", "unwrap_stdout"]

_thread = threading.local()


class _ByThread:
    """Standard output, for each thread that prints elsewhere another stream.

    A thread of its own that a plugin starts prints to standard output.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(_thread, "instead", None) or self.stream, name)


@contextmanager
def printing_to(stream: TextIO | None = None) -> Iterator[None]:
    """Send what this thread prints to `stream`, by default standard error."""
    if not isinstance(sys.stdout, _ByThread):  # a test may have replaced it
        sys.stdout = cast(TextIO, _ByThread(sys.stdout))
    before = getattr(_thread, "instead", None)
    _thread.instead = stream or sys.stderr
    try:
        yield
    finally:
        _thread.instead = before


def unwrap_stdout() -> None:
    """Let a handler of the log that is made now write to standard output, also while plugin code runs."""
    if isinstance(sys.stdout, _ByThread):
        sys.stdout = sys.stdout.stream
