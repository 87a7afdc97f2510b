"""Request bodies of bounded size, and JSON responses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hub.errors import (
    HubError,
    MethodNotAllowed,
    NotReady,
    Overloaded,
    RequestTimeout,
    TooLarge,
    Unauthorized,
)

__all__ = ["error_response", "internal_error", "json_response", "read_body"]


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, status, headers, "application/json")


def error_response(
    error: HubError,
    extra: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    status: int | None = None,
) -> Response:
    """Return the error object, or `body`, with the headers of the error and `extra` ones.

    The status is that of the error, if none is given.
    """
    headers = dict(extra or {})
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    elif isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allowed)
    elif isinstance(error, Overloaded):
        headers["retry-after"] = str(error.retry_after_s)
    elif isinstance(error, NotReady):
        headers["retry-after"] = "1"
    elif isinstance(error, TooLarge | RequestTimeout):
        headers["connection"] = "close"  # the rest of the body is not read
    return json_response(body or error.to_json(), status or error.status, headers)


def internal_error(error: Exception) -> HubError:
    """Return the error for an unexpected exception, without its message, which may quote user text."""
    return HubError(f"The server failed on this request ({type(error).__name__}); see its log.")


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """Read a body of at most `limit` bytes, with or without a declared length.

    Raises:
        TooLarge: it exceeds the limit; the rest is not read.
        RequestTimeout: it did not arrive within `seconds`; the rest is not read.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise TooLarge(
                        f"The body has more than {limit:,} bytes (limits.body_bytes). Send less at a time."
                    )
                parts.append(part)
    except TimeoutError:
        raise RequestTimeout(
            f"The body was not complete within {seconds:g} s (limits.body_s). Send less at a time."
        ) from None
    return b"".join(parts)
