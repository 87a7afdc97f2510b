"""Checks of what plugin code returns: rows for the engine, answers for callers."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from hub.api import AnswerStream, ImageInput, Pooling, Row, Sampling

__all__ = [
    "TooMuchReturned",
    "WrongReturn",
    "check_answer",
    "check_part",
    "check_rows",
    "check_stream",
    "non_finite",
]

MAX_DEPTH = 32
MAX_ROWS = 65_536  # of one request; limits.rows is below it
MAX_ANSWER_BYTES = 16_000_000  # of one answer as JSON, and of a part of a stream


class WrongReturn(Exception):
    """Plugin code returned something that its contract does not allow; contains nothing of the request.

    The message continues after the task's name: "returned None instead of ...".
    """


class TooMuchReturned(WrongReturn):
    """Plugin code returned more than a caller may get, or than the engine may be given."""


def check_rows(rows: object, max_length: int, image: ImageInput | None = None) -> list[Row]:
    """Return what `encode` returned if the engine can take it, with values that nobody can change.

    `image` is how the base takes images, None if it reads text.

    Raises:
        WrongReturn: it is not a list of rows of 1 to `max_length` token ids, or of such images.
    """
    if not isinstance(rows, list | tuple):
        raise WrongReturn(f"returned {_kind(rows)} instead of a list of rows")
    if not rows:
        raise WrongReturn("returned no rows; at least one is needed")
    if len(rows) > MAX_ROWS:
        raise TooMuchReturned(f"returned {len(rows):,} rows, and at most {MAX_ROWS:,} are taken")
    return [_checked(row, max_length, image) for row in rows]


def check_stream(stream: object) -> AnswerStream | None:
    """Return what `stream` returned.

    Raises:
        WrongReturn: it is neither None nor an AnswerStream.
    """
    if stream is not None and not isinstance(stream, AnswerStream):
        raise WrongReturn(f"returned {_kind(stream)} instead of an AnswerStream or None")
    return stream


def check_part(part: object) -> str:
    """Return a part of a streamed answer, which `AnswerStream.add` or `end` returned.

    Raises:
        WrongReturn: it is not a text that can be sent.
    """
    if not isinstance(part, str):
        raise WrongReturn(f"returned {_kind(part)} instead of a part of the answer as str")
    try:
        if len(part.encode()) > MAX_ANSWER_BYTES:
            raise TooMuchReturned(f"returned a part of the answer over {MAX_ANSWER_BYTES:,} bytes")
    except UnicodeEncodeError:
        raise WrongReturn("returned a part of the answer with half a surrogate pair") from None
    return part


def check_answer(answer: object, model: type[BaseModel]) -> tuple[BaseModel, bytes]:
    """Return what `decode` returned, and its JSON, if it is an answer of the task.

    Raises:
        WrongReturn: it is of another class, its fields have wrong types, or a number is NaN or infinite.
    """
    if not isinstance(answer, model):
        raise WrongReturn(f"returned {_kind(answer)} instead of {model.__name__}")
    try:
        # Also finds wrong types in a model that was built without validation. pydantic 2.14 has no other way
        # to bytes that the plugin's class cannot override.
        body: bytes = answer.__pydantic_serializer__.to_json(answer, warnings="error")
    except PydanticSerializationError as error:
        raise WrongReturn(f"returned a {model.__name__} whose fields have wrong types") from error
    if len(body) > MAX_ANSWER_BYTES:
        size = f"{len(body):,} bytes, and at most {MAX_ANSWER_BYTES:,} are sent"
        raise TooMuchReturned(f"returned a {model.__name__} of {size}")
    if len(vars(answer)) < len(type(answer).model_fields):
        raise WrongReturn(f"returned a {model.__name__} without all its fields")
    if b"null" in body or b"NaN" in body or b"Infinity" in body:
        if non_finite(answer):
            raise WrongReturn(f"returned a {model.__name__} with NaN or infinity")
        if not all(_allows_none(type(answer), name) for name, value in vars(answer).items() if value is None):
            raise WrongReturn(f"returned a {model.__name__} whose fields have wrong types")
    return answer, body


def non_finite(value: object, where: str = "", depth: int = MAX_DEPTH) -> str:
    """Return the path of a NaN or infinite number in nested models, mappings and lists; "" if there is none.

    Values nested deeper than `depth` count as not finite.
    """
    if isinstance(value, float):
        return "" if math.isfinite(value) else where or "value"
    if isinstance(value, BaseModel):
        value = {**vars(value), **(value.model_extra or {})}
    if isinstance(value, Mapping):
        items: Iterable[tuple[object, object]] = value.items()
    elif isinstance(value, list | tuple | set | frozenset):
        items = enumerate(value)
    else:
        return ""
    if not depth:
        return where or "value"
    paths = (non_finite(inner, f"{where}.{key}" if where else str(key), depth - 1) for key, inner in items)
    return next(filter(None, paths), "")


def _checked(row: object, max_length: int, image: ImageInput | None) -> Row:
    if not isinstance(row, Row):
        raise WrongReturn(f"returned a list with {_kind(row)} instead of hub.api.Row")
    ids, types = _ids(row.input_ids, "input_ids"), None
    if not 0 < len(ids) <= max_length:
        raise WrongReturn(
            f"made a row of {len(ids)} tokens: it is empty or longer than the {max_length} tokens that the "
            "base and the adapter take"
        )
    if row.token_type_ids is not None:
        types = _ids(row.token_type_ids, "token_type_ids")
        if len(types) != len(ids):
            raise WrongReturn("made a row with more or fewer token_type_ids than input_ids")
    if not isinstance(row.max_new_tokens, int):
        raise WrongReturn(f"made a row with {_kind(row.max_new_tokens)} as max_new_tokens")
    if not isinstance(row.sampling, Sampling):
        raise WrongReturn(f"made a row with {_kind(row.sampling)} as sampling")
    if row.pooling is not None and not isinstance(row.pooling, Pooling):
        raise WrongReturn(f"made a row with {_kind(row.pooling)} as pooling")
    if image is None and row.pixel_values is None:
        return replace(row, input_ids=ids, token_type_ids=types)
    pixels = _pixels(row.pixel_values, len(ids), image)
    return replace(row, input_ids=ids, token_type_ids=types, pixel_values=pixels)


def _pixels(values: object, tokens: int, image: ImageInput | None) -> npt.NDArray[np.float32]:
    """Return a copy of an image that is no longer written to."""
    if image is None:
        raise WrongReturn("made a row with pixel_values, and the base reads text")
    if not isinstance(values, np.ndarray) or values.shape != image.shape or values.dtype != np.float32:
        what = (
            f"an array of {values.dtype} {values.shape}" if isinstance(values, np.ndarray) else _kind(values)
        )
        raise WrongReturn(f"made a row with {what} as pixel_values instead of float32 {image.shape}")
    if tokens != image.tokens:
        raise WrongReturn(f"made a row of {tokens} tokens for an image, which has {image.tokens}")
    if not np.isfinite(values).all():
        raise WrongReturn("made a row whose pixel_values are not all finite")
    copied = values.copy()
    copied.flags.writeable = False
    return copied


def _ids(ids: object, name: str) -> tuple[int, ...]:
    """Return a copy of token ids; a tensor or generator is rejected."""
    if not isinstance(ids, Sequence) or isinstance(ids, str | bytes):
        raise WrongReturn(f"made a row with {_kind(ids)} instead of a list as {name}")
    try:
        return tuple(array("q", ids))
    except (TypeError, OverflowError):
        raise WrongReturn(f"made a row whose {name} are not all integers of 64 bits") from None


@cache
def _allows_none(model: type[BaseModel], name: str) -> bool:
    """Return whether a field may be None: the serializer accepts None for any type."""
    if name not in model.model_fields:
        return True
    annotation: Any = model.model_fields[name].annotation
    try:
        TypeAdapter(annotation).validate_python(None)
    except ValidationError:
        return False
    return True


def _kind(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"
