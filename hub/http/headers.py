"""Headers of every answer, which restrict what browsers do with it."""

from __future__ import annotations

from functools import cache

__all__ = ["POLICY", "safe_headers"]

POLICY = b"content-security-policy"
YEAR_S = 31_536_000
_SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_NO_PAGE = (
    (b"referrer-policy", b"no-referrer"),
    (POLICY, b"default-src 'none'; frame-ancestors 'none'"),
)
_TLS_ONLY = (b"strict-transport-security", b"max-age=%d" % YEAR_S)


@cache
def safe_headers(*, tls: bool, page: bool = False) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers of an answer; a `page` has policies of its own."""
    return (*_SAFE, *(() if page else _NO_PAGE), *((_TLS_ONLY,) if tls else ()))
