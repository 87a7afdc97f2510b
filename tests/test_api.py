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

    from tests.support.tiny import tiny_encoder

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


TOKENIZERS = ("bert", "roberta", "t5", "qwen2", "unigram")


def unigram() -> Any:
    """A tokenizer as T5 has it: Unigram pieces, a closing token behind each text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [*special, ("\u2581", -2.0), ("ab", -2.5), ("\u2581a", -2.5)]
    made = Tokenizer(models.Unigram([*pieces, *((letter, -4.0) for letter in "abcd")], unk_id=2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, tuple[Any, Any]]:
    """Tokenizers by kind: one without truncation, and one whose own truncation shows the right tokens."""
    from tests.support.tiny_tokenizers import tiny_tokenizer

    made = {name: unigram() if name == "unigram" else tiny_tokenizer(name) for name in TOKENIZERS}
    return {name: (tokenizer, deepcopy(tokenizer)) for name, tokenizer in made.items()}


def truncated(
    tokenizers: Any, name: str, texts: tuple[str, ...], limit: int, side: str
) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Return the tokens that `truncate` keeps, and those that the tokenizer itself keeps."""
    tokenizer, oracle = tokenizers[name]
    oracle.truncation_side = side
    right = oracle(*texts, truncation="longest_first", max_length=limit)
    found = dict(truncate(tokenizer(*texts, verbose=False), limit, side=side))
    return found, {key: list(right[key]) for key in ("input_ids", "token_type_ids") if key in right}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_all_lengths_of_texts_and_limits_are_truncated_as_the_tokenizer_would(
    tokenizers: Any, name: str, side: str
) -> None:
    letters = "c d c d c d c d"  # one token a letter in each of the tokenizers, or two with its space
    for first in range(7):
        for second in (None, *range(7)):
            texts = tuple(letters[: 2 * size] for size in (first, second) if size is not None)
            for limit in range(20):
                found, right = truncated(tokenizers, name, texts, limit, side)
                assert found == right, (first, second, limit)


TEXTS = st.text(max_size=60) | st.text(alphabet="ab [SEP]</s>", max_size=60)


@settings(deadline=None)
@given(
    first=TEXTS,
    second=st.none() | TEXTS,
    limit=st.integers(0, 80),
    name=st.sampled_from(TOKENIZERS),
    side=st.sampled_from(["right", "left"]),
)
def test_any_text_or_pair_is_truncated_as_the_tokenizer_would(
    tokenizers: Any, first: str, second: str | None, limit: int, name: str, side: str
) -> None:
    texts = (first,) if second is None else (first, second)
    found, right = truncated(tokenizers, name, texts, limit, side)
    assert found == right


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
