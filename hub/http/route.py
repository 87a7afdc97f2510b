"""Routes that FastAPI describes and we run: its OpenAPI page, our reading, checking and errors."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from hub.errors import HubError
from hub.http.auth import Right
from hub.http.hub import hub_of
from hub.http.wire import error_response, parse, read_body
from hub.serving.faults import log_fault

__all__ = ["AdminRoute", "InferRoute", "RawInferRoute"]

log = logging.getLogger(__name__)

WATCH_AFTER_S = 0.1  # calls that are answered sooner are not worth asking whether the client has left
CLIENT_GONE = Response(status_code=499)  # nobody reads it

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class InferRoute(APIRoute):
    """Calls `endpoint(request, <path parameters>, body=<its model>)` for whoever may infer.

    The endpoint's signature is what the OpenAPI page is made from; it returns a Response.
    """

    right = Right.INFER
    parses = True

    def get_route_handler(self) -> Handler:
        parameters = inspect.signature(self.endpoint, eval_str=True).parameters
        body = parameters.get("body")

        async def handle(request: Request) -> Response:
            try:
                return await self._answer(request, body)
            except HubError as error:
                return error_response(error)
            except Exception as error:
                log_fault(log, f"{self.path_format} failed", error)
                kind = type(error).__name__
                return error_response(HubError(f"The server failed on this request ({kind}): see its log."))

        return handle

    async def _answer(self, request: Request, parameter: inspect.Parameter | None) -> Response:
        hub = hub_of(request)
        hub.keys.check(request.headers.get("authorization"), self.right)
        given: dict[str, Any] = dict(request.path_params)
        if parameter is not None:
            body = await read_body(request, hub.limits.body_bytes)
            if body or parameter.default is parameter.empty:
                given["body"] = parse(body, parameter.annotation) if self.parses else body
        async with _until_client_leaves(request) as left:
            response: Response = await self.endpoint(request, **given)
        return CLIENT_GONE if left else response


class RawInferRoute(InferRoute):
    """Gives the endpoint the body's bytes: what they have to be is known only once it has resolved."""

    parses = False


class AdminRoute(InferRoute):
    """Asks for the admin key."""

    right = Right.ADMIN


@asynccontextmanager
async def _until_client_leaves(request: Request) -> AsyncIterator[list[bool]]:
    """Cancel the block when the client goes away; the list it yields is then not empty."""
    loop, caller = asyncio.get_running_loop(), asyncio.current_task()
    left: list[bool] = []
    watchers: list[asyncio.Task[None]] = []

    async def watch() -> None:
        message = await request.receive()
        if message["type"] == "http.disconnect" and caller is not None:
            left.append(True)
            caller.cancel()

    timer = loop.call_later(WATCH_AFTER_S, lambda: watchers.append(loop.create_task(watch())))
    try:
        yield left
    except asyncio.CancelledError:
        if not left or caller is None or caller.uncancel():
            raise
    finally:
        timer.cancel()
        for watcher in watchers:
            watcher.cancel()
