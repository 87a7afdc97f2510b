"""Cancels a request at its deadline or when its client disconnects.

Replaces BentoML's TimeoutMiddleware, whose timer outlives the request it was set for.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive

from hub.errors import DeadlineExceeded

__all__ = ["ClientLeft", "Deadline"]

WATCH_AFTER_S = 0.1  # shorter calls are not worth a watcher task


class ClientLeft(Exception):
    """The client closed the connection before the answer."""


class Deadline:
    """An `async with` block that is cancelled after `seconds` (0: never) or when its client disconnects.

    Raises:
        DeadlineExceeded: the time is over.
        ClientLeft: the client disconnected after `watch` was called.
    """

    __slots__ = ("_loop", "_reason", "_seconds", "_task", "_timers", "_watcher")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._timers: list[asyncio.TimerHandle] = []
        self._task: asyncio.Task[object] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._reason: Exception | None = None

    def watch(self, receive: Receive) -> None:
        """Cancel the block when the client disconnects; the body must have been read."""
        self._timers.append(self._loop.call_later(WATCH_AFTER_S, self._start_watching, receive))

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._seconds:
            late = DeadlineExceeded(
                f"No answer within {self._seconds:g} s (limits.timeout_s). Send less at a time, or later."
            )
            self._timers.append(self._loop.call_later(self._seconds, self._cancel, late))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for timer in self._timers:
            timer.cancel()
        if self._watcher:
            self._watcher.cancel()
        if self._reason is None:
            return
        others = self._task.uncancel() if self._task else 0
        if kind is asyncio.CancelledError and not others:
            raise self._reason from None

    def _cancel(self, reason: Exception) -> None:
        if self._reason is None and self._task is not None:
            self._reason = reason
            self._task.cancel(reason)  # CancelledError.args hold it, for observers of the call

    def _start_watching(self, receive: Receive) -> None:
        self._watcher = self._loop.create_task(self._watch(receive))

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._cancel(ClientLeft())
