"""Routes for FastAPI's OpenAPI document with our own dispatch, parsing, authentication and errors."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, get_args

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.config import LimitSettings
from hub.errors import HubError, log_fault
from hub.http.auth import ACCOUNT, CALLER, Right
from hub.http.deadline import ClientLeft, ClientTimeout, Deadline
from hub.http.hub import hub_of
from hub.http.origin import check_form
from hub.http.telemetry.record import CODE
from hub.http.wire import error_response, internal_error, read_body
from hub.serving.requests.parsing import parse, parse_query

__all__ = ["AdminRoute", "DeployRoute", "FormRoute", "InferRoute", "RawInferRoute"]

log = logging.getLogger(__name__)

CLIENT_LEFT = Response(status_code=499)  # never read

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class InferRoute(APIRoute):
    """Calls `endpoint(request, <path parameters>, query=<its model>, body=<its model>)`.

    The caller needs the right to infer.
    The OpenAPI document is built from the signature of the endpoint, which returns a Response.
    """

    right = Right.INFER
    root = ""  # below which `failed` also answers paths that no route takes, unless other routes share theirs
    parses = True
    takes_binary = False

    async def direct(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application; the scope must have `app` and `path_params`."""
        request = Request(scope, receive, send)
        failed = True
        try:
            response = await self._handler(request)
            await response(scope, receive, send)
            failed = response.status_code >= HTTPStatus.BAD_REQUEST
        finally:
            if ACCOUNT in scope:
                scope[ACCOUNT].end(failed)

    @staticmethod
    def failed(error: HubError) -> Response:
        """Return the response for an error."""
        return error_response(error)

    def get_route_handler(self) -> Handler:
        parameters = inspect.signature(self.endpoint, eval_str=True).parameters

        async def handle(request: Request) -> Response:
            try:
                return await self._answer(request, parameters)
            except HubError as error:
                request.scope[CODE] = error.code
                return self.failed(error)
            except (ClientDisconnect, ClientLeft):
                return CLIENT_LEFT
            except Exception as error:
                log_fault(log, f"{self.path_format} failed", error)
                failed = internal_error(error)
                request.scope[CODE] = failed.code
                return self.failed(failed)

        self._handler = handle
        return handle

    async def admit(self, request: Request) -> None:
        """Note the caller of a request, whose account counts it from now on.

        Raises:
            Unauthorized, Forbidden: there is none, or without the right.
            RateLimited: a limit of its key is reached.
        """
        hub = hub_of(request)
        caller = await hub.keys.identify(request.headers.get("authorization"), self.right)
        account = hub.runtime.callers.accounts.of(caller.id, caller.limits)
        account.begin()
        request.scope.update({CALLER: caller, ACCOUNT: account})

    async def _answer(self, request: Request, parameters: Mapping[str, inspect.Parameter]) -> Response:
        hub = hub_of(request)
        await self.admit(request)
        arguments: dict[str, Any] = dict(request.path_params)
        if query := parameters.get("query"):
            arguments["query"] = parse_query(request.query_params, get_args(query.annotation)[0])
        async with Deadline(0.0, self._client_timeout(request)):
            if parameter := parameters.get("body"):
                body = await read_body(request, hub.limits.body_bytes, hub.limits.body_s)
                if body or parameter.default is parameter.empty:
                    arguments["body"] = parse(body, parameter.annotation) if self.parses else body
            async with Deadline(self._seconds(hub.limits)) as deadline:
                deadline.watch(request.receive)
                response: Response = await self.endpoint(request, **arguments)
        return response

    def _client_timeout(self, request: Request) -> ClientTimeout | None:
        return ClientTimeout.of(request)

    def _seconds(self, limits: LimitSettings) -> float:
        return limits.timeout_s


class RawInferRoute(InferRoute):
    """Passes the raw body to the endpoint, which knows its model once it has resolved the deployment."""

    parses = False


class FormRoute(InferRoute):
    """Calls `endpoint(request)`, which reads a form; without a deadline."""

    takes_form = True

    async def _answer(self, request: Request, parameters: Mapping[str, inspect.Parameter]) -> Response:
        await self.admit(request)
        check_form(request.scope["headers"])
        response: Response = await self.endpoint(request)
        return response


class AdminRoute(InferRoute):
    """Requires the admin key and has no deadline, since a deploy may have to load a base."""

    right = Right.ADMIN

    def _client_timeout(self, request: Request) -> None:
        return None

    def _seconds(self, limits: LimitSettings) -> float:
        return 0.0


class DeployRoute(AdminRoute):
    """Requires the right to deploy; an endpoint that changes a deployment checks the right for its name."""

    right = Right.DEPLOY
