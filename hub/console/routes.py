"""The routes of the console: a session instead of a key in a header, forms with a token, errors as pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import FastAPI
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from hub.config import LimitSettings
from hub.console.assets import ROOT
from hub.console.render import render
from hub.console.sessions import ConsoleSession, Sessions
from hub.errors import BadRequest, Forbidden, HubError, NotReady, Unauthorized
from hub.http.auth import ACCOUNT, CALLER, Right
from hub.http.deadline import Deadline
from hub.http.forms import FIELD_BYTES, read_form
from hub.http.hub import hub_of
from hub.http.origin import check_form
from hub.http.routes.route import InferRoute
from hub.http.telemetry.record import CODE
from hub.http.wire import error_response, json_response

__all__ = [
    "ActionRoute",
    "AskRoute",
    "ConsoleRoute",
    "add_page",
    "form_of",
    "html",
    "page",
    "redirect",
    "session_of",
    "sessions_of",
    "text_of",
]

SIGN_IN = f"{ROOT}/sign-in"
FORM_BYTES = 1_048_576  # of a form without a file
MAX_FILES = 4  # in a request to a deployment
AGAIN_S = 2  # after which a page that cannot be shown yet loads itself again
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_SESSION = "hub.session"  # scope key: the ConsoleSession of the request
_FORM = "hub.form"  # scope key: the form of the request
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
    "vary": "accept, cookie, hx-request",
    # With the other answers' `no-referrer`, a browser would send the forms with `Origin: null`.
    "referrer-policy": "same-origin",
}


class ConsoleRoute(InferRoute):
    """A page; a browser without a session is sent to sign in."""

    root = ROOT

    async def admit(self, request: Request) -> None:
        session = sessions_of(request).of(request.cookies)
        caller = session.caller
        if not caller.may(self.right):
            raise Forbidden(f"This page needs the right '{self.right}', and the key has: {caller.scopes}.")
        account = hub_of(request).runtime.callers.accounts.of(caller.id, caller.limits)
        account.begin()
        request.scope.update({CALLER: caller, ACCOUNT: account, _SESSION: session})

    async def _answer(self, request: Request, parameters: Mapping[str, Any]) -> Response:
        try:
            return await super()._answer(request, parameters)
        except Unauthorized as error:
            return _signed_out(request, error)
        except HubError as error:
            request.scope[CODE] = error.code
            return error_page(request, error)

    def _client_timeout(self, request: Request) -> None:
        return None

    def _seconds(self, limits: LimitSettings) -> float:
        return 0.0


class ActionRoute(ConsoleRoute):
    """Takes a form that a page of the same session has sent; `form_of` has its fields."""

    takes_form = True

    async def _answer(self, request: Request, parameters: Mapping[str, Any]) -> Response:
        try:
            check_form(request.scope["headers"])
            await self.admit(request)
            limit, setting = self._limit(request)
            form = await read_form(
                request,
                limit,
                setting,
                hub_of(request).limits.body_s,
                files=self._files,
                field_bytes=self._field_bytes(limit),
            )
            try:
                session_of(request).check_form(form.get("token"))
                request.scope[_FORM] = form
                async with Deadline(self._seconds(hub_of(request).limits)) as deadline:
                    if self._ends_with_client:
                        deadline.watch(request.receive)
                    response: Response = await self.endpoint(request, **request.path_params)
            finally:
                await form.close()
        except Unauthorized as error:
            return _signed_out(request, error)
        except HubError as error:
            request.scope[CODE] = error.code
            return error_page(request, error)
        return response

    _files = 0
    _ends_with_client = False  # a change goes on

    def _limit(self, request: Request) -> tuple[int, str]:
        """Return the maximum size of the form, and what sets it."""
        return FORM_BYTES, "the limit of a form"

    def _field_bytes(self, limit: int) -> int:
        """Return the maximum size of a field that is no file, in a form of at most `limit` bytes."""
        return FIELD_BYTES


class AskRoute(ActionRoute):
    """An action that changes nothing: it ends in the time of a request, or when its browser has left."""

    _ends_with_client = True
    _files = MAX_FILES

    def _limit(self, request: Request) -> tuple[int, str]:
        return max(FORM_BYTES, hub_of(request).limits.body_bytes), "limits.body_bytes"

    def _field_bytes(self, limit: int) -> int:
        return limit  # a field may hold a file in base64, as the body of a request does

    def _seconds(self, limits: LimitSettings) -> float:
        return limits.timeout_s


def add_page(
    app: FastAPI,
    path: str,
    endpoint: Callable[..., Any],
    right: Right = Right.INFER,
    *,
    route: type[ConsoleRoute] = ConsoleRoute,
) -> None:
    """Add a page, or an action where `route` is one."""
    made = type(f"{right.title()}{route.__name__}", (route,), {"right": right})
    method = "POST" if issubclass(route, ActionRoute) else "GET"
    app.router.add_api_route(
        f"{ROOT}{path}",
        endpoint,
        methods=[method],
        include_in_schema=False,
        response_model=None,
        route_class_override=made,
    )


def page(request: Request, template: str, title: str, /, **data: Any) -> Response:
    """Return a page, or its data as JSON if the request asks for that alone."""
    if request.headers.get("accept", "").startswith("application/json"):
        return json_response(data, headers=HEADERS)
    return html(render(template, title=title, **common(request), **data))


def common(request: Request) -> dict[str, Any]:
    """Return what the frame of every page shows."""
    session: ConsoleSession | None = request.scope.get(_SESSION)
    return {
        "root": ROOT,
        "session": session,
        "rights": {right.value: bool(session and session.caller.may(right)) for right in Right},
        "here": request.url.path.removeprefix(ROOT),
        "replica": hub_of(request).runtime.replica[:8],
        "query": dict(request.query_params),
    }


def html(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an HTML page with the headers that restrict what it may load."""
    return Response(text, status, {**HEADERS, **(headers or {})}, "text/html; charset=utf-8")


def redirect(path: str, **query: str) -> Response:
    """Send the browser to a page of the console."""
    where = f"{ROOT}{path}" + (f"?{urlencode(query)}" if query else "")
    return Response(status_code=HTTPStatus.SEE_OTHER, headers={**HEADERS, "location": where})


def error_page(request: Request, error: HubError) -> Response:
    """Return an error: as a page, as a part of one that a script asked for, or as JSON."""
    if request.headers.get("accept", "").startswith("application/json"):
        return error_response(error, HEADERS)
    if isinstance(error, NotReady) and request.method == "GET":
        text = render("loading.html", title="Loading", error=error, **common(request))
        return html(text, error.status, {"refresh": str(AGAIN_S), "retry-after": str(AGAIN_S)})
    name = "problem.html" if request.headers.get("hx-request") else "error.html"
    title = _PHRASES.get(error.status, "Error")
    text = render(name, title=title, error=error, **common(request))
    return html(text, error.status)


def session_of(request: Request) -> ConsoleSession:
    """Return the session of an admitted request."""
    session: ConsoleSession = request.scope[_SESSION]
    return session


def sessions_of(request: Request) -> Sessions:
    """Return the sessions of the server."""
    sessions: Sessions = request.app.state.console
    return sessions


def form_of(request: Request) -> FormData:
    """Return the form of an action."""
    form: FormData = request.scope[_FORM]
    return form


def text_of(request: Request, field: str, default: str | None = None) -> str:
    """Return a field of the form.

    Raises:
        BadRequest: it is missing and has no default, or it is a file.
    """
    value = form_of(request).get(field, default)
    if not isinstance(value, str):
        raise BadRequest(f"The form has no {field}.")
    return value


def _signed_out(request: Request, error: Unauthorized) -> Response:
    """Send a browser to sign in, and from there to the page that it asked for."""
    if request.headers.get("accept", "").startswith("application/json"):
        return error_response(error, HEADERS)
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    next_page = f"?next={quote(here, safe='')}" if request.method == "GET" else ""
    if request.headers.get("hx-request"):  # a part of a page: the whole page must go
        return html("", HTTPStatus.UNAUTHORIZED, {"hx-redirect": SIGN_IN})
    return Response(
        status_code=HTTPStatus.SEE_OTHER, headers={**HEADERS, "location": f"{SIGN_IN}{next_page}"}
    )
