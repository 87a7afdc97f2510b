"""Responses that are the same for every caller, cached with their gzip form and ETag."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
import time
from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["CachedBody", "RecentText"]

MIN_GZIP_BYTES = 1024
_GZIP = re.compile(r"(?:^|,)\s*(?:gzip|\*)\s*(?:;\s*q=(?P<q>[\d.]+)\s*)?(?:,|$)", re.IGNORECASE)


class CachedBody:
    """A response body in memory, with its gzip form, ETag and `headers`."""

    def __init__(self, body: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> None:
        self._body = body
        self._zipped = gzip.compress(body, mtime=0) if len(body) >= MIN_GZIP_BYTES else b""
        digest = hashlib.sha256(body).hexdigest()[:32]
        self._etag = f'W/"{digest}"'  # weak: shared by both forms
        self._headers = {
            "content-type": media_type,
            "etag": self._etag,
            "cache-control": "no-cache",  # cache it, and revalidate on each use
            "vary": "accept-encoding, authorization",
            **(headers or {}),
        }

    def answer(self, request: Request) -> Response:
        """Return the body, in gzip if the request accepts it, or 304 if its ETag matches."""
        known = request.headers.get("if-none-match", "")
        if known.strip() == "*" or self._etag.removeprefix("W/") in known:
            return Response(status_code=304, headers=self._headers)
        if self._zipped and _accepts_gzip(request.headers.get("accept-encoding", "")):
            return Response(self._zipped, headers={**self._headers, "content-encoding": "gzip"})
        return Response(self._body, headers=self._headers)


class RecentText:
    """A text that is generated in a thread at most once per `seconds`, for any number of requests."""

    def __init__(self, generate: Callable[[], bytes], seconds: float) -> None:
        self._generate = generate
        self._seconds = seconds
        self._generated_at = -seconds
        self._text = b""
        self._lock = asyncio.Lock()

    async def get(self) -> bytes:
        """Return the text, at most `seconds` old."""
        async with self._lock:
            if time.monotonic() - self._generated_at >= self._seconds:
                self._text = await asyncio.to_thread(self._generate)
                self._generated_at = time.monotonic()
        return self._text


def _accepts_gzip(accepted: str) -> bool:
    found = _GZIP.search(accepted)
    return found is not None and float(found["q"] or 1) > 0
