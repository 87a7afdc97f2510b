"""Answers as server-sent events: the version, parts of the text, the complete answer with token counts."""

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

Parts = AsyncGenerator[str | CallAnswers]


def wants_events(request: Request) -> bool:
    """Return whether a request asks for server-sent events."""
    return EVENTS in request.headers.get("accept", "")


class EventStream(Response):
    """Sends an answer while it is generated.

    The first event, `start`, has the version; `text` events have the parts; the last event is `end` with the
    complete answer, or `error`. A stream that ends without one of these two was interrupted. `began` is when
    the call was received (time.perf_counter), and `first` the part that was awaited before this response.
    """

    def __init__(
        self,
        hub: Hub,
        task: str,
        version: Mapping[str, str],
        began: float,
        first: str | CallAnswers,
        parts: Parts,
        resources: AsyncExitStack,
    ) -> None:
        super().__init__(headers={**version, **HEADERS}, media_type=EVENTS)
        del self.headers["content-length"]
        self._hub = hub
        self._task = task
        self._version = {key.removeprefix("x-hub-"): value for key, value in version.items()}
        self._began = began
        self._first = first
        self._parts = parts
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        code = "cancelled"
        if isinstance(self._first, str):
            self._hub.metrics.first_text(self._task, time.perf_counter() - self._began)
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
            self._hub.metrics.call(self._task, code, time.perf_counter() - self._began)

    async def _send_answer(self, send: Send) -> str:
        try:
            async for part in self._all():
                if isinstance(part, str):
                    await _send(send, "text", {"text": part})
                else:
                    await _send(send, "end", describe_end(part))
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
        """Yield the parts, each of which must arrive within the time limit of a request."""
        yield self._first
        limit = self._hub.limits.timeout_s
        while True:
            try:
                async with asyncio.timeout(limit or None):
                    part = await anext(self._parts)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise DeadlineExceeded(f"No further text within {limit:g} s (limits.timeout_s).") from None
            yield part


async def _send(send: Send, event: str, data: Mapping[str, Any]) -> None:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    body = f"event: {event}\ndata: {text}\n\n".encode()
    await send({"type": "http.response.body", "body": body, "more_body": True})
