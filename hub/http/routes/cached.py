"""Responses that are the same for every caller, cached with their gzip form and ETag."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["CachedBody", "RecentText"]

MIN_GZIP_BYTES = 1024
_GZIP = re.compile(r"(?:^|,)\s*(?:gzip|\*)\s*(?:;\s*q=(?P<q>[01](?:\.\d*)?)\s*)?(?:,|$)", re.IGNORECASE)


@dataclass(frozen=True)
class _Forms:
    """A body as it is sent."""

    plain: bytes
    zipped: bytes  # empty for a body that is too short
    etag: str


class CachedBody:
    """A response body, its gzip form and its ETag, built in a thread at the first request."""

    def __init__(
        self, build: Callable[[], bytes], media_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self._build = build
        self._headers = {
            "content-type": media_type,
            "cache-control": "no-cache",  # cache it, and revalidate on each use
            "vary": "accept-encoding, authorization",
            **(headers or {}),
        }
        self._lock = asyncio.Lock()
        self._forms: _Forms | None = None

    async def answer(self, request: Request) -> Response:
        """Return the body, in gzip if the request accepts it, or 304 if its ETag matches."""
        async with self._lock:
            if self._forms is None:
                self._forms = await asyncio.to_thread(_forms_of, self._build)
            forms = self._forms
        headers = {**self._headers, "etag": forms.etag}
        known = request.headers.get("if-none-match", "")
        if known.strip() == "*" or forms.etag.removeprefix("W/") in known:
            return Response(status_code=304, headers=headers)
        if forms.zipped and _accepts_gzip(request.headers.get("accept-encoding", "")):
            return Response(forms.zipped, headers={**headers, "content-encoding": "gzip"})
        return Response(forms.plain, headers=headers)


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


def _forms_of(build: Callable[[], bytes]) -> _Forms:
    body = build()
    zipped = gzip.compress(body, mtime=0) if len(body) >= MIN_GZIP_BYTES else b""
    digest = hashlib.sha256(body).hexdigest()[:32]
    return _Forms(body, zipped, f'W/"{digest}"')  # weak: shared by both forms


def _accepts_gzip(accepted: str) -> bool:
    found = _GZIP.search(accepted)
    return found is not None and float(found["q"] or 1) > 0
