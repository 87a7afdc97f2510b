"""A request's deadline; stands in for BentoML's, whose timer outlives every request it was set for."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.errors import DeadlineExceeded
from hub.http.wire import error_response

__all__ = ["Deadline"]

EXEMPT = "/admin"  # a deploy may have to load a base first


class Deadline:
    """Answers 504 and cancels the work when no byte has been sent after `seconds`."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(EXEMPT):
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.seconds) as timer:

                async def begun(message: Message) -> None:
                    timer.reschedule(None)
                    await send(message)

                await self.app(scope, receive, begun)
        except TimeoutError:
            if not timer.expired():
                raise
            late = DeadlineExceeded(
                f"No answer within {self.seconds:g} s (limits.timeout_s). Send less at a time, or later."
            )
            await error_response(late)(scope, receive, send)
