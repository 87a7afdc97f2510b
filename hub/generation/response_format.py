"""The form that a generated text must have: JSON, JSON of a schema, or one of several strings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from hub.errors import BadRequest, TooLarge

__all__ = ["ChoiceFormat", "JsonObjectFormat", "JsonSchemaFormat", "ResponseFormat", "TextFormat"]

MAX_CHOICES = 500
MAX_CHOICE_CHARS = 200
MAX_SCHEMA_BYTES = 32_768  # as compact JSON
MAX_SCHEMA_DEPTH = 48
MAX_INTEGER = 2**53  # the library reads numbers as 64-bit floats


class _Format(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)


class TextFormat(_Format):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(_Format):
    """A JSON object."""

    type: Literal["json_object"]


def _check_schema(schema: dict[str, Any]) -> dict[str, Any]:
    _check_values(schema)
    try:
        size = len(json.dumps(schema, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode())
    except (TypeError, ValueError):
        raise BadRequest("The schema of response_format contains a value that JSON cannot hold.") from None
    if size > MAX_SCHEMA_BYTES:
        raise TooLarge(
            f"The schema of response_format has {size:,} bytes as JSON; the limit is {MAX_SCHEMA_BYTES:,}."
        )
    return schema


def _check_values(schema: dict[str, Any]) -> None:
    level: Sequence[Any] = [schema]
    for _ in range(MAX_SCHEMA_DEPTH):
        level = [inner for value in level for inner in _values(value)]
        if any(isinstance(value, int) and abs(value) > MAX_INTEGER for value in level):
            raise BadRequest("The schema of response_format has an integer beyond 2**53, which is not exact.")
        if not level:
            return
    raise BadRequest(f"The schema of response_format has more than {MAX_SCHEMA_DEPTH} nested levels.")


def _values(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


class JsonSchema(_Format):
    """A JSON schema with the fields that OpenAI's interface has beside it."""

    name: str | None = Field(None, max_length=64, description="Not used.")
    description: str | None = Field(None, max_length=4096, description="Not used.")
    schema_: Annotated[dict[str, Any], AfterValidator(_check_schema)] = Field(
        alias="schema", description="The JSON schema of the answer (draft 2020-12 unless it names another)."
    )
    strict: bool | None = Field(
        None, description="false: ignore keywords that cannot be enforced; by default they are refused."
    )


class JsonSchemaFormat(_Format):
    """JSON that is valid against a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


def _check_choices(choices: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(choices)) < len(choices):
        raise BadRequest("`choices` contains a string twice.")
    return choices


_Choice = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CHOICE_CHARS, pattern=r"^[^\x00]*$")]


class ChoiceFormat(_Format):
    """One of several strings."""

    type: Literal["choice"]
    choices: Annotated[tuple[_Choice, ...], AfterValidator(_check_choices)] = Field(
        min_length=2,
        max_length=MAX_CHOICES,
        description="The text is exactly one of these.",
        json_schema_extra={"uniqueItems": True},
    )


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat | ChoiceFormat, Field(discriminator="type")
]
