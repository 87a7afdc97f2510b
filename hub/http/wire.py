"""Bodies on the wire: strict JSON in, one error object out, no word of the input echoed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from hub.errors import (
    BadMediaType,
    BadRequest,
    HubError,
    InvalidText,
    NotReady,
    Overloaded,
    TooLarge,
    Unauthorized,
)

__all__ = ["BadField", "check_json", "error_response", "json_response", "parse", "read_body"]

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_PATH = 120  # characters of a field's path in an error: its parts may be keys that the caller chose


class BadField(BadRequest):
    """A value in a body is wrong; `field` is its path, "items.0.text"."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field[:MAX_PATH]

    def to_json(self) -> dict[str, dict[str, str]]:
        body = super().to_json()
        return {"error": {**body["error"], "field": self.field}}


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with plain JSON values."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, status, headers, "application/json")


def error_response(error: HubError) -> Response:
    """Answer with the one error object there is, under the error's own status."""
    headers = {}
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    elif isinstance(error, Overloaded | NotReady):
        headers["retry-after"] = "1"
    elif isinstance(error, TooLarge):
        headers["connection"] = "close"  # the rest of the body is not read
    return json_response(error.to_json(), error.status, headers)


async def read_body(request: Request, limit: int) -> bytes:
    """Read a JSON body of at most `limit` bytes, whether or not its length was announced.

    Raises:
        BadMediaType: it is declared as something else than JSON in UTF-8.
        TooLarge: it is over the limit; the rest is not read.
    """
    _check_media_type(request.headers.get("content-type", ""))
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLarge(
                f"The body has more than {limit:,} bytes (limits.body_bytes). Send less at a time."
            )
        parts.append(part)
    return b"".join(parts)


def check_json(body: bytes) -> Any:
    """Parse JSON of any shape, strictly: UTF-8, no NaN, no half surrogates, no endless nesting.

    Raises:
        BadRequest, InvalidText: it is not such JSON.
    """
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise _not_json(body, str(error)) from None


def parse(body: bytes, model: type[ModelT]) -> ModelT:
    """Parse and validate a JSON body.

    Raises:
        BadField: a value is missing, of a wrong type or out of range.
        BadRequest, InvalidText, TooLarge: it is not JSON, or a text in it cannot be used.
    """
    try:
        value = model.model_validate_json(body)
    except ValidationError as error:
        raise _explain(body, error) from None
    if b"NaN" in body or b"Infinity" in body:  # pydantic takes both; JSON has neither
        check_json(body)
    return value


def _check_media_type(declared: str) -> None:
    media, _, rest = declared.partition(";")
    media, rest = media.strip().lower(), rest.replace(" ", "").replace('"', "").lower()
    if media and media != "application/json" and not media.endswith("+json"):
        raise BadMediaType(
            f"The body is declared as {media[:60]!r}. Send JSON, with the header "
            "'content-type: application/json'."
        )
    if "charset=" in rest and "charset=utf-8" not in rest and "charset=utf8" not in rest:
        raise BadMediaType("JSON is sent in UTF-8; leave the charset out of the content-type.")


def _explain(body: bytes, error: ValidationError) -> HubError:
    details = error.errors(include_url=False, include_input=False, include_context=False)
    first = details[0]
    if first["type"] == "json_invalid":
        return _not_json(body, first["msg"].removeprefix("Invalid JSON: "))
    path = ".".join(str(part) for part in first["loc"])[:MAX_PATH]
    more = f" ({len(details) - 1} more wrong)" if len(details) > 1 else ""
    if not path:
        return BadField(f"The body is not as it should be: {first['msg']}{more}.", "")
    return BadField(f"{path}: {first['msg']}{more}.", path)


def _not_json(body: bytes, reason: str) -> HubError:
    if not body.strip():
        return BadRequest("The body is empty. Send a JSON object.")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return InvalidText(f"The body is not valid UTF-8: byte {error.start} fits no character.")
    if "surrogate" in reason or "hex escape" in reason:
        return InvalidText(f"The body holds half a surrogate pair or a broken \\u escape: {reason}.")
    return BadRequest(f"The body is not valid JSON: {reason}.")
