"""Answers as events while they are generated; a form writes them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.errors import DeadlineExceeded, HubError, log_fault
from hub.http.deadline import ClientLeft, ClientTimeout, Deadline
from hub.http.hub import Hub
from hub.http.telemetry.record import CallRecord
from hub.http.wire import internal_error
from hub.serving.requests.call_answers import CallAnswers

__all__ = ["EVENTS", "EventStream", "Events", "data_event", "in_time", "named_event", "wants_events"]

log = logging.getLogger(__name__)

EVENTS = "text/event-stream"
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}  # nginx buffers events by default

Parts = AsyncGenerator[str | CallAnswers]
Part = TypeVar("Part")


def wants_events(request: Request) -> bool:
    """Return whether a request asks for server-sent events."""
    return EVENTS in request.headers.get("accept", "")


def named_event(event: str, data: Mapping[str, Any]) -> bytes:
    """Return a server-sent event with a name and a JSON object."""
    return f"event: {event}\ndata: {_json(data)}\n\n".encode()


def data_event(data: Mapping[str, Any]) -> bytes:
    """Return a server-sent event without a name."""
    return f"data: {_json(data)}\n\n".encode()


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


class Events(Protocol):
    """Writes the events of one stream; the bytes go to the client as they are."""

    media_type: ClassVar[str]

    def start(self) -> bytes:
        """Return the first event."""

    def text(self, part: str) -> bytes:
        """Return the event for a part of the answer."""

    def end(self, answers: CallAnswers) -> bytes:
        """Return the last event of a complete answer.

        Raises: the error of the request.
        """

    def error(self, error: HubError) -> bytes:
        """Return the last event of an answer that failed."""


class EventStream(Response):
    """Sends an answer while it is generated.

    A stream that ends without the event of its end or an error was interrupted. `headers` name the version,
    `first` is the part that was awaited before this response.
    """

    def __init__(
        self,
        hub: Hub,
        call: CallRecord,
        headers: Mapping[str, str],
        events: Events,
        first: str | CallAnswers,
        parts: Parts,
        resources: AsyncExitStack,
    ) -> None:
        super().__init__(headers={**headers, **HEADERS}, media_type=events.media_type)
        del self.headers["content-length"]
        self._hub = hub
        self._call = call
        self._events = events
        self._first = first
        self._parts = parts
        self._resources = resources
        self._answers: CallAnswers | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        code = "cancelled"
        if isinstance(self._first, str):
            self._hub.metrics.first_text(self._call.task, time.perf_counter() - self._call.began)
        try:
            async with self._resources, Deadline(0.0) as deadline:
                deadline.watch(receive)
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await _send(send, self._events.start())
                code = await self._send_answer(send, ClientTimeout.of(Request(scope)))
                await send({"type": "http.response.body", "body": b""})
        except ClientLeft:
            pass
        finally:
            self._call.end(code, self._answers)
            self._hub.ended(self._call)

    async def _send_answer(self, send: Send, client: ClientTimeout | None) -> str:
        try:
            async for part in self._all(client):
                if isinstance(part, str):
                    await _send(send, self._events.text(part))
                else:
                    self._answers = part
                    await _send(send, self._events.end(part))
        except HubError as error:
            self.status_code = error.status  # what was sent is 200; the caller's account counts an error
            await _send(send, self._events.error(error))
            return error.code
        except Exception as error:
            log_fault(log, "A stream failed", error)
            failed = internal_error(error)
            self.status_code = failed.status
            await _send(send, self._events.error(failed))
            return failed.code
        return "ok"

    async def _all(self, client: ClientTimeout | None) -> AsyncIterator[str | CallAnswers]:
        """Yield the parts, each of which must arrive within the time limits of the server and its client."""
        yield self._first
        while True:
            try:
                part = await in_time(anext(self._parts), client, self._hub.limits.timeout_s)
            except StopAsyncIteration:
                return
            yield part


async def in_time(part: Awaitable[Part], client: ClientTimeout | None, limit_s: float) -> Part:
    """Return the next part of a stream, within the limit of the server (0: none) and that of its client.

    Raises:
        DeadlineExceeded: it does not come in time.
    """
    seconds, source = client.part(limit_s) if client else (limit_s or None, "limits.timeout_s")
    try:
        async with asyncio.timeout(seconds):
            return await part
    except TimeoutError:
        within = client.seconds if client and source == client.source else limit_s
        raise DeadlineExceeded(f"No further part within {within:g} s ({source}).") from None


async def _send(send: Send, event: bytes) -> None:
    await send({"type": "http.response.body", "body": event, "more_body": True})
