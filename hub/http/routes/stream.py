"""Answers as server-sent events: the version, pieces of the text, the complete answer with token counts."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.errors import DeadlineExceeded, HubError, log_fault
from hub.http.deadline import ClientLeft, Deadline
from hub.http.hub import Hub
from hub.http.wire import internal_error
from hub.serving.describe import describe_end
from hub.serving.requests.call import CallAnswers

__all__ = ["EVENTS", "EventStream", "wants_events"]

log = logging.getLogger(__name__)

EVENTS = "text/event-stream"
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}  # nginx buffers events by default

Pieces = AsyncGenerator[str | CallAnswers]


def wants_events(request: Request) -> bool:
    """Return whether a request asks for server-sent events."""
    return EVENTS in request.headers.get("accept", "")


class EventStream(Response):
    """Sends an answer while it is generated.

    The first event, `start`, has the version; `text` events have the pieces; the last event is `end` with the
    complete answer, or `error`. A stream that ends without one of these two was interrupted.
    """

    def __init__(
        self,
        hub: Hub,
        task: str,
        version: Mapping[str, str],
        first: str | CallAnswers,
        pieces: Pieces,
        resources: AsyncExitStack,
    ) -> None:
        super().__init__(headers={**version, **HEADERS}, media_type=EVENTS)
        del self.headers["content-length"]
        self._hub = hub
        self._task = task
        self._version = {key.removeprefix("x-hub-"): value for key, value in version.items()}
        self._first = first
        self._pieces = pieces
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, code = time.perf_counter(), "cancelled"
        try:
            async with self._resources, Deadline(0.0) as deadline:
                deadline.watch(receive)
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await _send(send, "start", self._version)
                code = await self._send_answer(send)
                await send({"type": "http.response.body", "body": b""})
        except ClientLeft:
            pass
        finally:
            self._hub.metrics.call(self._task, code, time.perf_counter() - began)

    async def _send_answer(self, send: Send) -> str:
        try:
            async for piece in self._all():
                if isinstance(piece, str):
                    await _send(send, "text", {"text": piece})
                else:
                    await _send(send, "end", describe_end(piece))
        except HubError as error:
            await _send(send, "error", error.to_json())
            return error.code
        except Exception as error:
            log_fault(log, "A stream failed", error)
            failed = internal_error(error)
            await _send(send, "error", failed.to_json())
            return failed.code
        return "ok"

    async def _all(self) -> AsyncIterator[str | CallAnswers]:
        """Yield the pieces, each of which must arrive within the time limit of a request."""
        yield self._first
        limit = self._hub.limits.timeout_s
        while True:
            try:
                async with asyncio.timeout(limit or None):
                    piece = await anext(self._pieces)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise DeadlineExceeded(f"No further text within {limit:g} s (limits.timeout_s).") from None
            yield piece


async def _send(send: Send, event: str, data: Mapping[str, Any]) -> None:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    body = f"event: {event}\ndata: {text}\n\n".encode()
    await send({"type": "http.response.body", "body": body, "more_body": True})
