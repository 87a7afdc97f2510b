"""What hub.api does for plugins: texts are checked, options read, tokens cut."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from hub.api import (
    MAX_TEXT,
    AdapterInfo,
    BadRecipe,
    InvalidText,
    Model,
    Row,
    Text,
    TooLarge,
    split_tag,
    truncate,
)
from hub.api import read_options as read


class Asked(Model):
    text: Text = Field(description="A text.")
    more: Text | None = None


class Options(Model):
    temperature: float = Field(1.0, gt=0)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A word-piece tokenizer."""
    from transformers import AutoTokenizer

    from hub.testing.tiny import tiny_encoder

    return AutoTokenizer.from_pretrained(tiny_encoder(tmp_path_factory.mktemp("tiny")).path)


@pytest.mark.parametrize("text", ["", " ", "\n\t\u3000", "\u200b\ufeff\x00"])
def test_text_with_nothing_to_see_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidText, match="`text` is empty"):
        Asked(text=text)
    with pytest.raises(InvalidText, match="`more` is empty"):
        Asked(text="x", more=text)


@pytest.mark.parametrize("text", ["x", " x ", "日本", "👍🏽", "\u0301", "\ue000", "x" * MAX_TEXT])
def test_text_with_something_to_see_stays_as_it_is(text: str) -> None:
    assert Asked(text=text).text == text


def test_text_over_the_limit_is_too_large_and_not_invalid() -> None:
    with pytest.raises(TooLarge, match="200,001 characters"):
        Asked(text="x" * (MAX_TEXT + 1))


def test_half_a_surrogate_pair_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidText, match="at character 2"):
        Asked(text="ab\ud800")


@pytest.mark.parametrize("text", [None, 3, ["x"], {"text": "x"}])
def test_what_is_no_text_stays_a_validation_error(text: object) -> None:
    with pytest.raises(ValidationError, match="valid string"):
        Asked.model_validate({"text": text})


def test_the_schema_says_the_limits() -> None:
    text = Asked.model_json_schema()["properties"]["text"]
    assert (text["type"], text["minLength"], text["maxLength"]) == ("string", 1, MAX_TEXT)
    assert text["description"] == "A text."


def test_options_are_read_from_settings_whatever_else_is_there() -> None:
    assert (
        read(Options, AdapterInfo("a", 1, settings={"temperature": 2, "found": "later"})).temperature == 2.0
    )
    assert read(Options, AdapterInfo("a", 1)).temperature == 1.0


def test_a_setting_that_does_not_fit_is_named() -> None:
    with pytest.raises(BadRecipe, match="'temperature' of adapter 'a'"):
        read(Options, AdapterInfo("a", 1, settings={"temperature": -1}))


@settings(deadline=None)
@given(text=st.text(max_size=120), limit=st.integers(3, 40))
def test_one_text_is_cut_as_the_tokenizer_would(pieces: Any, text: str, limit: int) -> None:
    own = deepcopy(pieces)(text, truncation=True, max_length=limit)
    assert truncate(pieces(text), limit) == {name: own[name] for name in ("input_ids", "token_type_ids")}


@settings(deadline=None)
@given(first=st.text(max_size=80), second=st.text(min_size=1, max_size=80), limit=st.integers(5, 60))
def test_of_a_pair_the_longer_text_is_cut(pieces: Any, first: str, second: str, limit: int) -> None:
    whole = pieces(first, second)
    sizes = [sum(part == number for part in whole.sequence_ids(0)) for number in (0, 1)]
    tokens = truncate(whole, limit)
    special = len(whole["input_ids"]) - sum(sizes)
    second_left = sum(tokens["token_type_ids"]) - 1  # its closing token has its type
    left = [len(tokens["input_ids"]) - special - second_left, second_left]
    assert sum(left) == min(sum(sizes), limit - special)
    for number, other in ((0, 1), (1, 0)):
        if left[number] < sizes[number]:
            assert left[number] >= left[other] - 1, "the shorter one was cut"


def test_truncating_leaves_no_trace_in_the_tokenizer(pieces: Any) -> None:
    Row(**truncate(pieces("good film " * 50, "bad film"), 16))
    assert pieces.backend_tokenizer.truncation is None


def test_tokens_of_a_tokenizer_without_types_have_none(pieces: Any, tmp_path: Path) -> None:
    encoding = pieces("good film " * 50, return_token_type_ids=False)
    assert set(truncate(encoding, 8)) == {"input_ids"}


@pytest.mark.parametrize(
    ("tag", "parts"),
    [
        ("O", ("O", "")),
        ("B-PER", ("B", "PER")),
        ("I-date-of-birth", ("I", "date-of-birth")),
        ("E-PER", ("L", "PER")),
        ("S-PER", ("U", "PER")),
        ("NOUN", ("", "NOUN")),
        ("X-PER", ("", "X-PER")),
        ("B-", ("", "B-")),
    ],
)
def test_a_tag_is_a_prefix_and_a_type(tag: str, parts: tuple[str, str]) -> None:
    assert split_tag(tag) == parts
