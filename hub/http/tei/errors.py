"""Errors as clients of Text Embeddings Inference read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

from hub.api import MAX_TEXT
from hub.errors import (
    AmbiguousDeployment,
    BadRequest,
    Conflict,
    EngineFailed,
    HubError,
    NotReady,
    Overloaded,
    PluginFailed,
    TooLarge,
)
from hub.http.wire import error_response

__all__ = ["TeiError", "TokenizerError", "check_batch", "check_length", "tei_error"]


class TeiError(BaseModel):
    """An error."""

    error: str
    error_type: Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty"]
    code: str = Field(description="Stable: a program may match on it.")


class TokenizerError(BadRequest):
    """Token ids that the base does not have."""


class _EmptyBatch(BadRequest):
    """A list without an item."""


# The first class that fits; the status of the error itself where there is none.
_TYPES: Sequence[tuple[type[HubError], str, int | None]] = (
    (_EmptyBatch, "Empty", 400),
    (TokenizerError, "Tokenizer", 422),
    (TooLarge, "Validation", 413),
    (Overloaded, "Overloaded", 429),
    (NotReady, "Unhealthy", 503),
    (AmbiguousDeployment, "Validation", None),
    (Conflict, "Backend", 424),  # a deployment of another kind
    (EngineFailed, "Backend", 424),
    (PluginFailed, "Backend", 424),
)


def tei_error(error: HubError, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error in the shape and with the status of Text Embeddings Inference."""
    name, status = _type_of(error)
    body: dict[str, Any] = {"error": str(error), "error_type": name, "code": error.code}
    return error_response(error, headers, body, status)


def check_length(field: str, total: int) -> None:
    """Check the characters, or token ids, of a field.

    Raises:
        TooLarge: there are more than a text may have.
    """
    if total > MAX_TEXT:
        raise TooLarge(
            f"{field} has a length of {total:,} and the limit is {MAX_TEXT:,}. Send less at a time."
        )


def check_batch(field: str, items: Sequence[object], max_items: int) -> None:
    """Check the number of items of a field.

    Raises:
        BadRequest: there is none.
        TooLarge: there are more than `max_items`.
    """
    if not items:
        raise _EmptyBatch(f"`{field}` cannot be empty.")
    if len(items) > max_items:
        raise TooLarge(
            f"{field} has {len(items):,} items and the limit is {max_items} (limits.items). Send fewer."
        )


def _type_of(error: HubError) -> tuple[str, int]:
    for kind, name, status in _TYPES:
        if isinstance(error, kind):
            return name, status or error.status
    if error.status == BadRequest.status:
        return "Validation", 422
    return ("Backend" if error.status >= 500 else "Validation"), error.status
