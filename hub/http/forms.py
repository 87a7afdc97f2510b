"""Forms (multipart/form-data) of bounded size; their files are spooled to the disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from hub.errors import BadMediaType, BadRequest, RequestTimeout, TooLarge

__all__ = ["FIELD_BYTES", "read_form"]

FIELD_BYTES = 1_048_576


async def read_form(
    request: Request,
    limit: int,
    setting: str,
    seconds: float,
    *,
    files: int = 0,
    fields: int = 64,
    field_bytes: int = FIELD_BYTES,
) -> FormData:
    """Read a form of at most `limit` bytes, which `setting` sets, with at most so many files and fields.

    `field_bytes` is the maximum of one field that is no file: those stay in memory.

    Raises:
        BadMediaType: it has another charset than UTF-8.
        BadRequest: the body is no such form.
        TooLarge: it has more bytes; the rest is not read.
        RequestTimeout: it did not arrive within `seconds`.
    """
    _check_charset(request.headers.get("content-type", ""))
    too_large = TooLarge(f"The form has more than {limit:,} bytes ({setting}). Send less.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large

    async def bounded() -> AsyncGenerator[bytes, None]:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise too_large
            yield part

    parser = MultiPartParser(
        request.headers, bounded(), max_files=files, max_fields=fields, max_part_size=field_bytes
    )
    try:
        async with asyncio.timeout(seconds):
            return await parser.parse()
    except MultiPartException as error:
        raise BadRequest(f"The body is not a form as this route takes it: {error.message}") from None
    except TimeoutError:
        raise RequestTimeout(f"The form was not complete within {seconds:g} s. Send less.") from None


def _check_charset(declared: str) -> None:
    """Refuse what the parser would take: any codec of Python by its name, also one that fails."""
    _, options = parse_options_header(declared)
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise BadMediaType("A form must be UTF-8: send the content-type without a charset.")
