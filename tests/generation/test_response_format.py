"""The response format of a request, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from hub.errors import BadRequest, TooLarge
from hub.generation.response_format import (
    MAX_SCHEMA_DEPTH,
    ChoiceFormat,
    JsonObjectFormat,
    JsonSchemaFormat,
)
from hub.generation.sampling import Sampling, SamplingFields


def read(asked: Any) -> Sampling:
    return SamplingFields(response_format=asked).sampling


def schema(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"schema": schema, **more}}


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels - 1):
        found = {"items": found}
    return found


def test_a_format_reaches_the_engine_and_text_is_none() -> None:
    assert read({"type": "text"}).response_format is None
    assert isinstance(read({"type": "json_object"}).response_format, JsonObjectFormat)
    assert read({"type": "choice", "choices": ["a\n", "b"]}).response_format == ChoiceFormat(
        type="choice", choices=("a\n", "b")
    )
    asked = read(schema({"type": "integer"}, name="number", description="a number", strict=True))
    assert isinstance(asked.response_format, JsonSchemaFormat)
    assert asked.response_format.json_schema.schema_ == {"type": "integer"}


def test_a_request_is_written_as_it_was_sent() -> None:
    sent = schema({"type": "integer"}, name="number", description=None, strict=None)
    assert json.loads(SamplingFields(response_format=sent).model_dump_json())["response_format"] == sent


@pytest.mark.parametrize(
    "asked",
    [
        "json_object",
        {},
        {"type": "grammar"},
        {"type": "json_object", "schema": {}},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {}},
        schema(True),
        schema([1]),
        schema({}, name="n" * 65),
        {"type": "choice"},
        {"type": "choice", "choices": []},
        {"type": "choice", "choices": ["a"]},
        {"type": "choice", "choices": ["a", ""]},
        {"type": "choice", "choices": ["a", "b" * 201]},
        {"type": "choice", "choices": [str(number) for number in range(501)]},
        {"type": "choice", "choices": ["a", 5]},
        {"type": "choice", "choices": ["a", "b\0"]},
        {"type": "choice", "choices": ["a", "\ud800"]},
    ],
)
def test_a_malformed_format_is_refused(asked: Any) -> None:
    with pytest.raises(ValidationError):
        read(asked)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"type": "choice", "choices": ["a", "b", "a"]}, "twice"),
        (schema(nested(MAX_SCHEMA_DEPTH + 1)), "nested levels"),
        (schema(nested(10_000)), "nested levels"),
        (schema({"enum": ["\ud800"]}), "cannot hold"),
        (schema({"\udfff": {}}), "cannot hold"),
        (schema({"const": float("nan")}), "cannot hold"),
        (schema({"const": {1, 2}}), "cannot hold"),
        (schema({"enum": [2**53 + 1]}), "2\\*\\*53"),
    ],
)
def test_a_format_that_cannot_be_followed_is_refused(asked: Any, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        read(asked)


def test_the_deepest_schema_is_taken_and_one_that_is_too_large_is_not() -> None:
    assert read(schema(nested(MAX_SCHEMA_DEPTH))).response_format
    assert read(schema({"enum": ["é" * 10_000]})).response_format
    with pytest.raises(TooLarge, match=r"40,0\d\d bytes"):
        read(schema({"enum": ["é" * 20_000]}))


def test_beams_follow_no_format() -> None:
    assert SamplingFields(num_beams=2, response_format={"type": "text"}).sampling.num_beams == 2
    with pytest.raises(BadRequest, match="Beam search follows no `response_format`"):
        SamplingFields(num_beams=2, response_format={"type": "json_object"})
