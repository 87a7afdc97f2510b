"""Parses strict JSON into request models; errors name the field and quote nothing of the input."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from hub.api.models import text_error
from hub.errors import BadRequest, HubError, InvalidText, TooLarge, first_problem
from hub.serving.requests.problems import problems_of

__all__ = ["BadField", "below", "check_json", "parse", "parse_call", "parse_fields"]

ModelT = TypeVar("ModelT", bound=BaseModel)
Path = tuple[int | str, ...]

MAX_NAMED_FIELDS = 3  # wrong fields that a message names
MAX_PROBLEMS = 5000  # that are looked at: of a body with a million, it would take a minute
WHOLE = "body"  # the path of a body that is wrong as a whole
MAX_PATH = 120  # characters of a field's path in an error, which may contain keys of the caller


class BadField(BadRequest):
    """A value in a body is wrong; `field` is its path, "items.0.text"."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field[:MAX_PATH]

    def to_json(self) -> dict[str, dict[str, str]]:
        return {"error": {"code": self.code, "message": str(self), "field": self.field}}


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
    except (InvalidText, TooLarge) as error:
        raise _located(error, from_json(body)) from None
    if b"NaN" in body or b"Infinity" in body:  # pydantic takes both; JSON has neither
        check_json(body)
    return value


def parse_fields(
    fields: Mapping[str, Any], model: type[ModelT], places: Mapping[str, str] = MappingProxyType({})
) -> ModelT:
    """Validate the fields of a request that come from a body of another format, which has them at `places`.

    Raises:
        BadRequest: as `parse`, with the paths of that body.
    """
    try:
        return parse(to_json(fields), model)
    except BadRequest as error:
        raise _moved(error, places) from None


def parse_query(query: Mapping[str, str], model: type[ModelT]) -> ModelT:
    """Parse and validate the parameters of a query.

    Raises:
        BadField: a value is missing or out of range.
    """
    try:
        return model.model_validate(dict(query))
    except ValidationError as error:
        name, reason = first_problem(error, "query")
        raise BadField(f"{name}: {reason}.", name) from None


def parse_call(
    body: bytes, model: type[BaseModel], max_items: int
) -> tuple[list[BaseModel | HubError], bool]:
    """Parse a body that is one request or `{"items": [request, ...]}`; also return whether it was a list.

    An invalid request in a list becomes an error in its place.

    Raises:
        TooLarge: the list has more than `max_items` requests.
        BadRequest: as `parse`, for a body that is one request.
    """
    value = check_json(body) if b'"items"' in body and "items" not in model.model_fields else None
    if not isinstance(value, dict) or "items" not in value:
        return [parse(body, model)], False
    items = value["items"]
    if extra := sorted(value.keys() - {"items"}):
        raise BadField(f"{extra[0][:MAX_PATH]}: not allowed beside 'items'.", extra[0])
    if not isinstance(items, list) or not items:
        raise BadField("items: must be a list of at least one request.", "items")
    if len(items) > max_items:
        raise TooLarge(
            f"items holds {len(items):,} requests and the limit is {max_items} (limits.items). Send fewer."
        )
    return [_item(f"items.{index}", item, model) for index, item in enumerate(items)], True


def check_json(body: bytes) -> Any:
    """Parse JSON of any shape, strictly: UTF-8, no NaN, no unpaired surrogates, limited nesting.

    Raises:
        BadRequest, InvalidText: it is not such JSON.
    """
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise _not_json(body, str(error)) from None


def _item(path: str, item: object, model: type[BaseModel]) -> BaseModel | HubError:
    try:
        return parse(to_json(item), model)
    except HubError as error:
        return below(path, error)


def below(path: str, error: HubError) -> HubError:
    """Return an error with the field's path in the whole body, where `path` has the parsed object."""
    if isinstance(error, BadRequest) and (error.field or isinstance(error, BadField)):
        error.args = (str(error).removeprefix(f"{WHOLE}: "),)
        error.field = f"{path}.{error.field}".rstrip(".")[:MAX_PATH]
    return error


def _located(error: InvalidText | TooLarge, body: object) -> BadRequest:
    """Name the whole path of the text that `hub.api.Text` refused, which knows only its field."""
    name = error.field
    for path, text in _texts(body, name, ()):
        if str(text_error(text, name)) == str(error):
            error.field = _path(path)
            error.args = (str(error).replace(f"`{name}`", f"`{error.field}`", 1),)
            break
    return error


def _texts(value: object, name: str, path: Path, inside: bool = False) -> Iterator[tuple[Path, str]]:
    """Yield the texts below the keys `name`, with their paths."""
    if isinstance(value, str) and inside:
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, name, (*path, key), inside or key == name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, name, (*path, index), inside)


def _moved(error: BadRequest, places: Mapping[str, str]) -> BadRequest:
    """Replace the first keys of the paths in an error."""
    first, dot, rest = error.field.partition(".")
    if first in places:
        keys = "|".join(map(re.escape, places))
        message = re.sub(rf"(^|; |`)({keys})(?=[.:`])", lambda found: found[1] + places[found[2]], str(error))
        error.args = (message,)
        error.field = f"{places[first]}{dot}{rest}"[:MAX_PATH]
    return error


def _explain(body: bytes, error: ValidationError) -> HubError:
    if (count := error.error_count()) > MAX_PROBLEMS:
        return BadField(
            f"{WHOLE}: does not fit in {count:,} places, too many to name. The page at / has its schema."
        )
    details = error.errors(include_url=False, include_input=False, include_context=False)
    first = details[0]
    if first["type"] == "json_invalid":
        return _not_json(body, first["msg"].removeprefix("Invalid JSON: "))
    problems = problems_of(details, from_json(body))
    named = "; ".join(f"{_path(one.path)}: {one.message}" for one in problems[:MAX_NAMED_FIELDS])
    more = f"; and {len(problems) - MAX_NAMED_FIELDS} more" if len(problems) > MAX_NAMED_FIELDS else ""
    return BadField(f"{named}{more}.", _path(problems[0].path) if problems[0].path else "")


def _path(parts: Path) -> str:
    return ".".join(str(part) for part in parts)[:MAX_PATH] or WHOLE


def _not_json(body: bytes, reason: str) -> HubError:
    if not body.strip():
        return BadRequest("The body is empty. Send a JSON object.")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return InvalidText(f"The body is not valid UTF-8: byte {error.start} is invalid.")
    if "surrogate" in reason or "hex escape" in reason:
        return InvalidText(f"The body has an unpaired surrogate or a broken \\u escape: {reason}.")
    return BadRequest(f"The body is not valid JSON: {reason}.")
