"""The wording of a base is stored with the adapter; encoder-decoders read the source alone."""

from __future__ import annotations

from copy import deepcopy

import pytest
from grafthub_translation import prompt
from grafthub_translation.models import TranslationRequest
from grafthub_translation.task import TranslationTask

from hub.api import AdapterInfo, BadData, BadRecipe, BadRequest, InvalidText, TooLarge

TASK = TranslationTask()
ONE_PAIR = {"source_language": "en", "target_language": "fr"}
TWO_PAIRS = {"pairs": [["eng", "fra"], ["eng", "deu"]]}
PREFIX = "translate {source_language} to {target_language}: {text}"
EXAMPLE = {"source": "A dog.", "target": "Un chien."}


def adapter(*, encoder_decoder=True, max_length=64, **settings):
    return AdapterInfo("mover", 1, (), settings, max_length, encoder_decoder)


@pytest.fixture(scope="module")
def source_tokenizer(byte_tokenizer):
    """A tokenizer of an encoder-decoder, which puts an end token after each text."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = deepcopy(byte_tokenizer)
    tokenizer.chat_template = None
    end = (tokenizer.eos_token, tokenizer.eos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A " + end[0], special_tokens=[end]
    )
    return tokenizer


@pytest.fixture(scope="module")
def marian_tokenizer(source_tokenizer):
    """A tokenizer of a base with several target languages."""
    tokenizer = deepcopy(source_tokenizer)
    tokenizer.add_tokens([">>fra<<", ">>deu<<"])
    return tokenizer


def template(tokenizer, info, model_type="marian"):
    return TASK.settle(info, tokenizer, model_type)["template"]


@pytest.mark.parametrize(
    ("model_type", "settings", "expected"),
    [
        ("marian", ONE_PAIR, "{text}"),
        ("bart", ONE_PAIR, "{text}"),
        ("bart", TWO_PAIRS, PREFIX),
        ("bart", {}, PREFIX),
        ("t5", ONE_PAIR, PREFIX),
        ("umt5", TWO_PAIRS, PREFIX),
        ("t5", ONE_PAIR | {"template": "{target_code} {text}"}, "{target_code} {text}"),
    ],
)
def test_each_base_has_its_wording(source_tokenizer, model_type, settings, expected):
    settled = TASK.settle(adapter(**settings), source_tokenizer, model_type)
    assert settled == settings | {"template": expected}


def test_a_decoder_has_the_wording_of_a_chat_or_of_text(byte_tokenizer, source_tokenizer):
    info = adapter(encoder_decoder=False, **ONE_PAIR)
    assert template(byte_tokenizer, info, "llama").startswith("Translate from {source_language}")
    assert template(source_tokenizer, info, "llama").endswith("\n{target_language}:")


def test_a_later_default_does_not_change_an_adapter(byte_tokenizer, monkeypatch):
    info = adapter(encoder_decoder=False, **ONE_PAIR)
    trained = adapter(encoder_decoder=False, **TASK.settle(info, byte_tokenizer, "llama"))
    request = TranslationRequest(text="A dog.")
    before = TASK.encode(request, byte_tokenizer, trained)
    monkeypatch.setattr(prompt, "_CHAT", "Say in {target_language}: {text}")
    assert TASK.encode(request, byte_tokenizer, trained) == before
    assert TASK.encode(request, byte_tokenizer, info) != before


@pytest.mark.parametrize("model_type", ["mbart", "m2m_100", "nllb-moe"])
def test_a_base_that_needs_a_language_in_its_decoder_is_refused(source_tokenizer, model_type):
    with pytest.raises(BadRecipe, match=f"type {model_type} reads the target language from the first token"):
        TASK.settle(adapter(**ONE_PAIR), source_tokenizer, model_type)


# A multilingual base


def test_the_target_is_a_token_before_the_text(marian_tokenizer):
    info = adapter(**TASK.settle(adapter(**TWO_PAIRS), marian_tokenizer, "marian"))
    request = TranslationRequest(text="A dog. A cat.", target_language="de")
    rows = TASK.encode(request, marian_tokenizer, info)
    assert [marian_tokenizer.decode(row.input_ids) for row in rows] == [
        ">>deu<< A dog.<|im_end|>",
        ">>deu<< A cat.<|im_end|>",
    ]
    assert rows[0].input_ids[0] == marian_tokenizer.convert_tokens_to_ids(">>deu<<")


def test_a_language_that_the_base_has_no_token_for_is_refused(marian_tokenizer):
    with pytest.raises(
        BadRecipe, match=r"no token >>fr<<\. Name the target language as the base does: deu, fra"
    ):
        TASK.settle(adapter(**ONE_PAIR), marian_tokenizer, "marian")
    info = adapter(**TASK.settle(adapter(), marian_tokenizer, "marian"))
    request = TranslationRequest(text="x", source_language="en", target_language="ita")
    with pytest.raises(BadRequest, match="does not translate to 'ita'"):
        TASK.encode(request, marian_tokenizer, info)
    with pytest.raises(BadData, match="does not translate to 'ita'"):
        TASK.features(EXAMPLE | {"source_language": "en", "target_language": "ita"}, marian_tokenizer, info)


def test_a_language_token_in_a_text_is_refused(marian_tokenizer, source_tokenizer):
    info = adapter(**ONE_PAIR, template="{text}")
    request = TranslationRequest(text="a >>deu<< b")
    with pytest.raises(InvalidText, match=">>deu<<"):
        TASK.encode(request, marian_tokenizer, info)
    assert TASK.encode(request, source_tokenizer, info)


# Rows and labels


def test_an_encoder_reads_the_source_and_the_labels_are_the_target(source_tokenizer):
    info = adapter(**ONE_PAIR, template="{text}", max_new_tokens=9)
    (features,) = TASK.features(EXAMPLE, source_tokenizer, info)
    (row,) = TASK.encode(TASK.request(EXAMPLE), source_tokenizer, info)
    assert features["input_ids"] == row.input_ids
    assert source_tokenizer.decode(row.input_ids) == "A dog.<|im_end|>"
    assert source_tokenizer.decode(features["labels"]) == "Un chien.<|im_end|>"
    assert row.max_new_tokens == 9


def test_a_whole_row_is_for_the_source_and_a_long_target_loses_its_end(source_tokenizer):
    info = adapter(**ONE_PAIR, template="{text}", max_length=10)
    (features,) = TASK.features({"source": "x" * 9, "target": "y" * 30}, source_tokenizer, info)
    assert (len(features["input_ids"]), len(features["labels"])) == (10, 10)
    with pytest.raises(TooLarge):
        TASK.encode(TranslationRequest(text="x" * 10), source_tokenizer, info)


def test_a_tokenizer_without_end_tokens_gets_one(byte_tokenizer):
    (features,) = TASK.features(EXAMPLE, byte_tokenizer, adapter(**ONE_PAIR, template="{text}"))
    assert byte_tokenizer.decode(features["labels"]) == "Un chien.<|im_end|>"
