"""Strict JSON: whatever the bytes, either a request or an error that says what to do."""

from __future__ import annotations

import json
import time
from typing import Annotated, TypeVar

import pytest
from annotated_types import Len
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from hub.api import MAX_TEXT, Model, Text
from hub.errors import BadRequest, HubError, InvalidText, TooLarge
from hub.serving.requests.parsing import BadField, parse, parse_call

TokenId = Annotated[int, Field(ge=0)]
T = TypeVar("T")
Some = Annotated[list[T], Len(1)]


class Ask(Model):
    text: Text
    top_k: int = Field(1, ge=1, le=5)
    threshold: float = 0.5


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_an_error_of_ours(body) -> None:
    try:
        assert isinstance(parse(body, Ask), Ask)
    except HubError as error:
        assert error.status in (400, 413)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.dictionaries(st.sampled_from(["text", "top_k", "threshold", "items", "x"]), json_values))
def test_any_object_is_a_call_or_an_error_of_ours(value) -> None:
    try:
        requests, many = parse_call(json.dumps(value).encode(), Ask, max_items=3)
    except HubError as error:
        assert error.status in (400, 413)
    else:
        assert all(isinstance(request, Ask | HubError) for request in requests)
        assert many == ("items" in value)


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (b"", BadRequest, "empty"),
        (b"  ", BadRequest, "empty"),
        (b"{", BadRequest, "not valid JSON"),
        (b"[]", BadField, "body"),
        (b'"text"', BadField, "body"),
        (b"{}", BadField, "text: Field required"),
        (b'{"text": 1}', BadField, "text: Input should be a valid string"),
        (b'{"text": null}', BadField, "text"),
        (b'{"text": ["a"]}', BadField, "text"),
        (b'{"text": "a", "top_k": 9}', BadField, "top_k"),
        (b'{"text": "a", "top_k": "x"}', BadField, "top_k"),
        (b'{"text": "a", "more": 1}', BadField, "more"),
        (b'{"text": "a", "threshold": NaN}', BadRequest, "not valid JSON"),
        (b'{"text": "a", "threshold": -Infinity}', BadRequest, "not valid JSON"),
        (b'{"text": ""}', InvalidText, "empty"),
        (b'{"text": " \\n\\t "}', InvalidText, "empty"),
        (b'{"text": "\xff"}', InvalidText, "UTF-8: byte 10"),
        (b'{"text": "\\ud800"}', InvalidText, "surrogate"),
        (b'{"text": "\\udc00 a"}', InvalidText, "surrogate"),
        (b"\xff\xfe{", InvalidText, "UTF-8"),
        (b'{"text": ' + b"[" * 100_000, BadRequest, "recursion"),
        (b'{"text": "' + b"a" * (MAX_TEXT + 1) + b'"}', TooLarge, "limit"),
    ],
)
def test_what_is_wrong_is_told(body, kind, says) -> None:
    with pytest.raises(kind, match=says) as caught:
        parse(body, Ask)
    assert type(caught.value) is kind


def test_an_error_repeats_nothing_of_the_input() -> None:
    with pytest.raises(BadField) as caught:
        parse(b'{"text": "a", "top_k": "my secret", "threshold": {"my": "secret"}}', Ask)
    assert "secret" not in json.dumps(caught.value.to_json())


def test_a_field_path_is_given_and_kept_short() -> None:
    with pytest.raises(BadField) as caught:
        parse(json.dumps({"text": "a", "k" * 500: 1}).encode(), Ask)
    assert len(caught.value.field) <= 120


@pytest.mark.parametrize("key", ["text", "tags"])
def test_a_body_that_is_wrong_in_many_places_is_refused_at_once(key) -> None:
    class Tagged(Model):
        text: Text
        tags: list[Some[str] | Some[int]]

    unknown = {str(number): 1 for number in range(90_000)}
    body = unknown if key == "text" else {"text": "a", "tags": [0] * 300_000}
    sent = json.dumps(body).encode()
    began = time.monotonic()
    with pytest.raises(BadField, match="places, too many to name"):
        parse(sent, Tagged)
    assert time.monotonic() - began < 3


def test_many_lists_that_are_too_short_are_told_at_once() -> None:
    class Tagged(Model):
        tags: list[Some[str]]

    began = time.monotonic()
    with pytest.raises(BadField, match="and 4997 more"):
        parse(json.dumps({"tags": [[]] * 5000}).encode(), Tagged)
    assert time.monotonic() - began < 2


def test_items_fail_in_their_places() -> None:
    body = {"items": [{"text": "a"}, {"text": ""}, {"txt": "a"}, 7, {"text": "b", "top_k": 2}]}
    requests, many = parse_call(json.dumps(body).encode(), Ask, max_items=5)
    assert many
    assert [type(request) for request in requests] == [Ask, InvalidText, BadField, BadField, Ask]
    assert isinstance(requests[2], BadField)
    assert requests[2].field == "items.2.text"
    assert isinstance(requests[3], BadField)
    assert requests[3].field == "items.3"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"items": []}, BadField),
        ({"items": {"text": "a"}}, BadField),
        ({"items": [{"text": "a"}], "text": "b"}, BadField),
        ({"items": [{"text": "a"}] * 4}, TooLarge),
    ],
)
def test_a_wrong_list_fails_the_call(body, kind) -> None:
    with pytest.raises(kind, match=r"items|text"):
        parse_call(json.dumps(body).encode(), Ask, max_items=3)


def test_a_task_whose_request_has_a_field_items_keeps_it() -> None:
    class Basket(Model):
        items: list[str]

    requests, many = parse_call(b'{"items": ["a", "b"]}', Basket, max_items=1)
    assert (requests, many) == ([Basket(items=["a", "b"])], False)


class Vectors(Model):
    input: (
        Text
        | Annotated[list[Text], Len(1)]
        | Annotated[list[TokenId], Len(1)]
        | Annotated[list[list[TokenId]], Len(1)]
    )
    method: dict[str, int] | None = None


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"input": 5}, "input", "input: Input should be a valid string, or a valid array."),
        ({"input": []}, "input", "input: Should have at least 1 item, not 0."),
        ({"input": ["a", 7]}, "input.1", "input.1: Input should be a valid string."),
        ({"input": [3, -1]}, "input.1", "input.1: Input should be greater than or equal to 0."),
        ({"input": [[3], [-1]]}, "input.1.0", "input.1.0: Input should be greater than or equal to 0."),
        ({}, "input", "input: Field required."),
        ({"input": "a", "str": 1}, "str", "str: Extra inputs are not permitted."),
        ({"input": "a", "method": {"x": "?"}}, "method.x", None),
        (
            {"method": 5, "input": 5},
            "input",
            "input: Input should be a valid string, or a valid array; method: Input should be an object.",
        ),
    ],
)
def test_an_error_names_no_type_of_a_value_that_may_have_several(body, field, message) -> None:
    with pytest.raises(BadField) as caught:
        parse(json.dumps(body).encode(), Vectors)
    assert caught.value.field == field
    assert message is None or str(caught.value) == message


def test_an_item_of_the_wrong_type_is_not_called_the_body() -> None:
    (wrong, _), _ = parse_call(b'{"items": [5, {"text": "a"}]}', Ask, max_items=3)
    assert isinstance(wrong, BadField)
    assert (str(wrong), wrong.field) == ("Input should be an object.", "items.0")
