"""Images in texts: base64, or a data URL (RFC 2397). Addresses are refused: nothing is ever fetched."""

from __future__ import annotations

import base64
import binascii
import re

from hub.api import InvalidImage, TooLarge

__all__ = ["MAX_CHARS", "check_source", "image_bytes", "invalid", "too_large"]

MAX_CHARS = 64_000_000  # of a request; limits.body_bytes and max_bytes are lower
FIELD = "image"
_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?P<base64>;base64)?,", re.IGNORECASE)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}:")
_SHOWN = 40


def check_source(text: str) -> str:
    """Return the text of an image if it has one of the two forms; reads nothing of the image.

    Raises:
        InvalidImage: it is empty, an address or another data URL.
        TooLarge: it has more than MAX_CHARS characters.
    """
    if len(text) > MAX_CHARS:
        raise too_large(f"has {len(text):,} characters; the limit is {MAX_CHARS:,}.")
    if not text.strip():
        raise invalid("is empty: send a PNG, JPEG or WebP file in base64.")
    if text[:5].lower() == "data:":
        _after_prefix(text)
    elif _ADDRESS.match(text):
        raise invalid(
            "is an address, and nothing is fetched here. Send the file itself, in base64 or as a data URL."
        )
    return text


def image_bytes(text: str, max_bytes: int) -> bytes:
    """Return the file in a text that `check_source` accepts.

    Raises:
        InvalidImage: it is not base64.
        TooLarge: the file has more than `max_bytes`.
    """
    start = _after_prefix(text) if text[:5].lower() == "data:" else 0
    size = (len(text) - start) * 3 // 4  # white space and padding included
    if size > max_bytes * 2:
        raise _over(size, max_bytes)
    packed = "".join(text[start:].split())
    try:
        data = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):  # ValueError: characters beyond ASCII
        raise invalid("is not base64.") from None
    if len(data) > max_bytes:
        raise _over(len(data), max_bytes)
    return data


def invalid(problem: str) -> InvalidImage:
    """Return the error for an image that cannot be used; `problem` continues after the field's name."""
    error = InvalidImage(f"`{FIELD}` {problem}")
    error.field = FIELD
    return error


def too_large(problem: str) -> TooLarge:
    """Return the error for an image over a limit; `problem` continues after the field's name."""
    error = TooLarge(f"`{FIELD}` {problem}")
    error.field = FIELD
    return error


def _over(size: int, limit: int) -> TooLarge:
    return too_large(f"has {size:,} bytes; the limit is {limit:,}. Send a smaller image.")


def _after_prefix(text: str) -> int:
    """Return where the content of a data URL begins."""
    match = _DATA_URL.match(text, 0, 200)
    if not match or not match["base64"]:
        raise invalid("is a data URL without base64: it must begin with data:image/png;base64, or alike.")
    kind = (match["type"] or "").lower()
    if kind and not kind.startswith("image/"):
        raise invalid(f"is a data URL of type {kind[:_SHOWN]!r}, which is no image.")
    return match.end()
