"""Server-sent events: parts of a page, rendered again whenever the figures change."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from hub.console.live import LiveFigures
from hub.console.routes import HEADERS, sessions_of
from hub.errors import HubError
from hub.http.auth import ACCOUNT
from hub.http.hub import hub_of
from hub.http.stream import EVENTS
from hub.http.stream import HEADERS as NO_BUFFER

__all__ = ["html_event", "live_of", "live_part"]

SIGNED_OUT = "signed-out"  # an event on which the page loads again


def live_of(request: Request) -> LiveFigures:
    """Return the figures of the server."""
    live: LiveFigures = request.app.state.console_live
    return live


def live_part(request: Request, part: Callable[[], Awaitable[str]]) -> Response:
    """Stream a part of a page: now, and after each new reading if it has changed.

    An open page is counted as a request of its key, but as none of those that the key may send at a time.
    """
    request.scope.pop(ACCOUNT).end(failed=False)
    return StreamingResponse(_parts(request, part), media_type=EVENTS, headers={**HEADERS, **NO_BUFFER})


async def _parts(request: Request, part: Callable[[], Awaitable[str]]) -> AsyncGenerator[bytes]:
    sent, runtime = "", hub_of(request).runtime
    async for _ in live_of(request).watch():
        if runtime.draining:  # an open stream would delay the end of the server
            return
        try:
            sessions_of(request).of(request.cookies)
            text = await part()
        except HubError:
            yield f"event: {SIGNED_OUT}\ndata: \n\n".encode()
            return
        if text != sent:
            sent = text
            yield html_event(text)
        else:
            yield b":\n\n"  # shows a client that left


def html_event(text: str) -> bytes:
    """Return an event whose HTML the page puts in place of what it had."""
    return "".join(f"data: {line}\n" for line in text.splitlines()).encode() + b"\n"
