"""One request to a plugin's route, which runs on the event loop of its family."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hub.errors import HubError, PluginFailed, log_fault
from hub.http.deadline import ClientLeft, ClientTimeout, Deadline
from hub.http.stream import in_time
from hub.http.telemetry.record import CODE
from hub.http.wire import json_response
from hub.serving.requests.parsing import BadField

__all__ = ["Exchange"]

log = logging.getLogger(__name__)

_Call = Callable[[Receive, Send], Awaitable[None]]


class Exchange:
    """Runs `call`, the application of a route, on the loop `family`, and receives its messages.

    One message waits at most, so that a route writes no faster than its client reads.
    """

    def __init__(self, name: str, path: str, body: bytes, family: asyncio.AbstractEventLoop) -> None:
        self._name = name
        self._path = path
        self._body = body
        self._family = family
        self._server = asyncio.get_running_loop()
        self._messages: asyncio.Queue[Message | Exception | None] = asyncio.Queue(1)
        self._running: Future[None] | None = None

    async def answer(self, call: _Call, limit_s: float) -> Response:
        """Return the answer: whole, or as a stream if the route sends more than one part.

        `limit_s` is the time for each further part of a stream.

        Raises:
            HubError: the route raised it, or failed.
        """
        self._running = asyncio.run_coroutine_threadsafe(self._run(call), self._family)
        try:
            start = await self._next()
            if start is None or start["type"] != "http.response.start":
                raise PluginFailed(f"The plugin {self._name!r} gave no answer.")
            first = await self._next()
            if first is not None and first.get("more_body"):
                return _PluginStream(self, start, first.get("body", b""), limit_s)
            while await self._next() is not None:
                pass  # until its background tasks have ended
            return _whole(start, first.get("body", b"") if first else b"")
        except HTTPException as error:
            refused = {"error": {"code": "plugin_refused", "message": str(error.detail)}}
            return json_response(refused, error.status_code)
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Cancel the route, unless it has ended."""
        if self._running:
            self._running.cancel()

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the parts of a stream after the first.

        Raises:
            HubError: the route failed.
        """
        while (message := await self._next()) is not None:
            if body := message.get("body", b""):
                yield body

    async def _next(self) -> Message | None:
        message = await self._messages.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def _run(self, call: _Call) -> None:
        """Run the route on its own loop; the last message is its error, or None."""
        bodies = [self._body]

        async def receive() -> Message:
            if not bodies:
                await asyncio.Event().wait()  # a client that leaves cancels the route
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}

        last: Exception | None = None
        try:
            await call(receive, self._put)
        except asyncio.CancelledError:
            raise
        except (HubError, HTTPException) as error:
            last = error
        except RequestValidationError as error:
            first = error.errors()[0]
            path = ".".join(str(part) for part in first["loc"])
            last = BadField(f"{path}: {first['msg']}.", path)
        except BaseException as error:  # sys.exit() would end the loop of the family
            log_fault(log, f"{self._path} failed", error)
            last = PluginFailed(f"The plugin {self._name!r} failed on this request ({type(error).__name__}).")
        await self._put(last)

    async def _put(self, message: Any) -> None:
        """Hand a message over from the loop of the family; waits while one is there."""
        handing = self._messages.put(message)
        try:
            put = asyncio.run_coroutine_threadsafe(handing, self._server)
        except RuntimeError:  # the server has stopped
            handing.close()
            raise asyncio.CancelledError from None
        await asyncio.wrap_future(put)


def _whole(start: Message, content: bytes) -> Response:
    response = Response(content, start["status"])
    response.raw_headers = [
        (b"content-length", str(len(content)).encode()),
        *((key, value) for key, value in start.get("headers", ()) if key.lower() != b"content-length"),
    ]
    return response


class _PluginStream(Response):
    """Sends an answer part by part; one that fails after its first part is cut off."""

    def __init__(self, exchange: Exchange, start: Message, first: bytes, limit_s: float) -> None:
        super().__init__(status_code=start["status"])
        self.raw_headers = list(start.get("headers", ()))
        self._exchange = exchange
        self._first = first
        self._limit_s = limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = ClientTimeout.of(Request(scope))
        parts = self._exchange.parts()
        try:
            async with Deadline(0.0) as deadline:
                deadline.watch(receive)
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
                await _send(send, self._first)
                while True:
                    try:
                        part = await in_time(anext(parts), client, self._limit_s)
                    except StopAsyncIteration:
                        break
                    await _send(send, part)
                await send({"type": "http.response.body", "body": b""})
        except ClientLeft:
            scope[CODE] = "cancelled"
        except (HubError, HTTPException) as error:
            code = error.code if isinstance(error, HubError) else "plugin_refused"
            scope[CODE] = code
            self.status_code = error.status if isinstance(error, HubError) else error.status_code
            log.warning("A stream of a plugin was cut off: %s", code)
        finally:
            self._exchange.cancel()


async def _send(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})
