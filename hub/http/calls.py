"""A call of a deployment over HTTP, the same for every family of routes; only its form differs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Protocol

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from hub.errors import BadRequest, HubError
from hub.http.auth import ACCOUNT, Right, caller_of
from hub.http.gate import NUMBER
from hub.http.hub import Hub, hub_of
from hub.http.stream import Events, EventStream
from hub.http.telemetry.record import CallRecord
from hub.keys import EVERY_NAME
from hub.serving.plugins.validators import runs_plugin_code
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import Resolve, Route, Routes

__all__ = [
    "MAX_KEY_CHARS",
    "Form",
    "Read",
    "admit",
    "admit_each",
    "ask",
    "ask_for_stream",
    "read_requests",
    "sticky_key",
    "version_headers",
    "visible_routes",
]

MAX_KEY_CHARS = 256
_Answer = Callable[[CallRecord, Admission, AsyncExitStack], Awaitable[Response]]
Read = Callable[[Route], list[BaseModel | HubError]]
"""Turns a body into requests of the route's task; may run in a thread of the plugin."""


class Form(Protocol):
    """How a family of routes writes answers and errors."""

    def answer(self, admission: Admission, answers: CallAnswers) -> bytes:
        """Return the JSON body of a whole answer.

        Raises: the error of a request, where the family has no place for it in the answer.
        """

    def events(self, admission: Admission) -> Events:
        """Return what writes the events of one stream."""

    def error(self, error: HubError, headers: Mapping[str, str] | None = None) -> Response:
        """Return the response for an error."""


async def ask(request: Request, resolve: Resolve, read: Read, form: Form) -> Response:
    """Answer a call whole.

    Raises:
        HubError: no deployment took it; later errors are responses, with the headers of the version.
    """
    hub = hub_of(request)

    async def whole(call: CallRecord, admission: Admission, _: AsyncExitStack) -> Response:
        requests = await read_requests(hub, admission.route, read)
        run = hub.runtime.pipeline.run
        answers = call.answers = await run(admission, requests, request_id=request.scope[NUMBER])
        body = form.answer(admission, answers)
        call.end("ok", answers)
        hub.ended(call)
        return Response(
            body, headers=_headers(admission, answers, call.seconds), media_type="application/json"
        )

    return await _answer(request, resolve, form, whole)


async def ask_for_stream(request: Request, resolve: Resolve, read: Read, form: Form) -> Response:
    """Answer a call with one request as a stream; an error before the first part is an error response."""
    hub = hub_of(request)

    async def stream(call: CallRecord, admission: Admission, held: AsyncExitStack) -> Response:
        requests = await read_requests(hub, admission.route, read)
        if len(requests) != 1:
            raise BadRequest("A stream answers one request. Send it alone.")
        begun = hub.runtime.pipeline.stream(admission, requests[0], request_id=request.scope[NUMBER])
        parts = await held.enter_async_context(aclosing(begun))
        first = await anext(parts)
        if isinstance(first, CallAnswers):
            first.only()  # raises the error of the request
        headers, events = version_headers(admission), form.events(admission)
        return EventStream(hub, call, headers, events, first, parts, held.pop_all())

    return await _answer(request, resolve, form, stream)


async def _answer(request: Request, resolve: Resolve, form: Form, answer: _Answer) -> Response:
    """Admit a call and answer it by `answer`, which counts it once it has succeeded.

    `answer` may take the stack, which holds the lease. A call that fails here is counted here.
    """
    hub, call = hub_of(request), CallRecord(request.scope)
    admission: Admission | None = None
    try:
        async with AsyncExitStack() as held:
            admission = held.enter_context(await admit(request, call.resolving(resolve)))
            call.admitted(admission)
            return await answer(call, admission, held)
    except BaseException as error:
        call.failed(error)
        hub.ended(call)
        if admission is None or not isinstance(error, HubError):
            raise
        return form.error(error, version_headers(admission))


async def admit(request: Request, resolve: Resolve) -> Admission:
    """Admit a request to a deployment that its key may call; the others do not exist for it.

    Raises: as `Router.admit`.
    """
    visible = _among_visible(request, resolve)
    admission = await hub_of(request).runtime.router.admit(visible, sticky_key(request))
    admission.account = request.scope[ACCOUNT]
    return admission


async def admit_each(request: Request, resolves: Sequence[Resolve]) -> list[Admission | HubError]:
    """Admit a request to several deployments, as `Router.admit_each` does, of those that its key may call."""
    visible = [_among_visible(request, resolve) for resolve in resolves]
    found = await hub_of(request).runtime.router.admit_each(visible, sticky_key(request))
    for one in found:
        if isinstance(one, Admission):
            one.account = request.scope[ACCOUNT]
    return found


def visible_routes(request: Request) -> Routes:
    """Return the routing table with the deployments that the key of a request may call."""
    routes, may = hub_of(request).runtime.router.routes, _may_call(request)
    return routes.only(may) if may else routes


def _among_visible(request: Request, resolve: Resolve) -> Resolve:
    may = _may_call(request)
    return (lambda routes: resolve(routes.only(may))) if may else resolve


def _may_call(request: Request) -> Callable[[str], bool] | None:
    """Return whether the caller may call a deployment; None if it may call all."""
    caller = caller_of(request)
    return None if caller.may(Right.INFER, EVERY_NAME) else partial(caller.may, Right.INFER)


def sticky_key(request: Request) -> str:
    """Return the key that pins the caller to one of the versions, or ""."""
    key = request.headers.get("x-hub-key", "")
    if len(key) > MAX_KEY_CHARS:
        raise BadRequest(
            f"x-hub-key has {len(key):,} characters; the limit is {MAX_KEY_CHARS}. Send a hash of it."
        )
    return key


async def read_requests(hub: Hub, route: Route, read: Read) -> list[BaseModel | HubError]:
    """Read the requests of a body; for a plugin's own validators in a thread of its task."""
    if runs_plugin_code(route.task.request):  # may hang, so it does not run on the event loop
        return await hub.runtime.pipeline.read(route.task, partial(read, route))
    return read(route)


def version_headers(admission: Admission) -> dict[str, str]:
    """Return the headers that name the version of an answer."""
    return {
        "x-hub-deployment": admission.route.name,
        "x-hub-version": str(admission.version.ref),
        "x-hub-sha256": admission.version.sha256,
        "x-hub-track": admission.track,
    }


def _headers(admission: Admission, answers: CallAnswers, took: float) -> dict[str, str]:
    return {
        **version_headers(admission),
        "server-timing": f"queue;dur={answers.queue_s * 1000:.3f}, engine;dur={answers.engine_s * 1000:.3f}, "
        f"total;dur={took * 1000:.3f}",
    }
