"""Cancels a request at its deadline or when its client disconnects.

A client sets its deadline with `x-hub-timeout-ms`. OpenAI's clients report their time limit, which of a
stream is that of each part. The server's own limit holds as well.

Replaces BentoML's TimeoutMiddleware, whose timer outlives the request it was set for.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from starlette.requests import Request
from starlette.types import Receive

from hub.errors import BadRequest, DeadlineExceeded

__all__ = ["MAX_TIMEOUT_MS", "TIMEOUT_HEADER", "ClientLeft", "ClientTimeout", "Deadline"]

TIMEOUT_HEADER = "x-hub-timeout-ms"
MAX_TIMEOUT_MS = 86_400_000
WATCH_AFTER_S = 0.1  # shorter calls are not worth a watcher task
_LIMIT = "limits.timeout_s"
_SCOPE = "hub.timeout"  # scope key: the ClientTimeout of the request, or None
# What OpenAI's clients for Python and for JavaScript send with every request, in seconds.
_OPENAI = ("x-stainless-read-timeout", "x-stainless-timeout")


@dataclass(frozen=True, slots=True)
class ClientTimeout:
    """How long a client waits from `began` (time.monotonic); with `each_part`, of a stream for each part."""

    seconds: float
    source: str
    each_part: bool
    began: float

    @classmethod
    def of(cls, request: Request) -> ClientTimeout | None:
        """Read the headers of a request, the first time from now on; None if they do not say.

        Raises:
            BadRequest: `x-hub-timeout-ms` is no whole number from 1 to MAX_TIMEOUT_MS.
        """
        if _SCOPE not in request.scope:
            request.scope[_SCOPE] = cls._read(request.headers)
        found: ClientTimeout | None = request.scope[_SCOPE]
        return found

    @classmethod
    def _read(cls, headers: Mapping[str, str]) -> ClientTimeout | None:
        now, asked = time.monotonic(), headers.get(TIMEOUT_HEADER)
        if asked is not None:
            if not re.fullmatch("[0-9]{1,8}", asked) or not 1 <= int(asked) <= MAX_TIMEOUT_MS:
                raise BadRequest(
                    f"{TIMEOUT_HEADER} must be a whole number of milliseconds from 1 to {MAX_TIMEOUT_MS}."
                )
            return cls(int(asked) / 1000, TIMEOUT_HEADER, False, now)
        for name in _OPENAI:
            if (seconds := _positive(headers.get(name, ""))) is not None:
                return cls(seconds, name, True, now)
        return None

    def part(self, limit: float) -> tuple[float, str]:
        """Return the seconds in which the next part of a stream must come, and whose limit that is.

        `limit` is the server's, 0 for none.
        """
        left = self.seconds if self.each_part else self.began + self.seconds - time.monotonic()
        return (limit, _LIMIT) if limit and limit < left else (left, self.source)


def _positive(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:  # such as "Timeout(...)" of a client with a transport of its own
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


class ClientLeft(Exception):
    """The client closed the connection before the answer."""


class Deadline:
    """An `async with` block that is cancelled after `seconds` (0: never) or when its client disconnects.

    With `client`, it is cancelled when the client waits no longer; without, `seconds` are the server's limit.

    Raises:
        DeadlineExceeded: the time is over.
        ClientLeft: the client disconnected after `watch` was called.
    """

    __slots__ = ("_client", "_loop", "_reason", "_seconds", "_task", "_timers", "_watcher")

    def __init__(self, seconds: float, client: ClientTimeout | None = None) -> None:
        self._client = client
        self._seconds = client.seconds if client else seconds
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
            source = self._client.source if self._client else _LIMIT
            late = DeadlineExceeded(
                f"No answer within {self._seconds:g} s ({source}). Send less at a time, or later."
            )
            late.by_client = self._client is not None
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
