"""Answers that are the same for every caller: built once, kept with their gzip form and their ETag."""

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
    """A body with what is needed to answer from memory; `headers` are sent along."""

    def __init__(self, body: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> None:
        self._body = body
        self._zipped = gzip.compress(body, mtime=0) if len(body) >= MIN_GZIP_BYTES else b""
        digest = hashlib.sha256(body).hexdigest()[:32]
        self._etag = f'W/"{digest}"'  # weak: one for both forms
        self._headers = {
            "content-type": media_type,
            "etag": self._etag,
            "cache-control": "no-cache",  # keep it, and ask whether it is still the same
            "vary": "accept-encoding, authorization",
            **(headers or {}),
        }

    def answer(self, request: Request) -> Response:
        """Return the body, in gzip if the request accepts it, or 304 if the caller has it."""
        known = request.headers.get("if-none-match", "")
        if known.strip() == "*" or self._etag.removeprefix("W/") in known:
            return Response(status_code=304, headers=self._headers)
        if self._zipped and _accepts_gzip(request.headers.get("accept-encoding", "")):
            return Response(self._zipped, headers={**self._headers, "content-encoding": "gzip"})
        return Response(self._body, headers=self._headers)


class RecentText:
    """A text that is made again at most once in `seconds`, in a thread, however many ask for it."""

    def __init__(self, make: Callable[[], bytes], seconds: float) -> None:
        self._make = make
        self._seconds = seconds
        self._made = -seconds
        self._text = b""
        self._lock = asyncio.Lock()

    async def get(self) -> bytes:
        """Return the text; it is at most `seconds` old."""
        async with self._lock:
            if time.monotonic() - self._made >= self._seconds:
                self._text = await asyncio.to_thread(self._make)
                self._made = time.monotonic()
        return self._text


def _accepts_gzip(accepted: str) -> bool:
    found = _GZIP.search(accepted)
    return bool(found) and float(found["q"] or 1) > 0 if found else False
