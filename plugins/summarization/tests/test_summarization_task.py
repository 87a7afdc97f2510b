"""The summarization task: parts of a document, prompts, training labels, metrics."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy

import pytest
from grafthub_summarization.models import SummarizationOptions, SummarizationRequest, SummarizationResponse
from grafthub_summarization.task import ENDS, SummarizationTask
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hub.api import AdapterInfo, BadData, BadRecipe, InvalidText, Output, Row, TooLarge
from hub.task_tools import divide

TASK = SummarizationTask()
EXAMPLE = {"document": "It rains. The river rises.", "summary": "A flood."}


def adapter(max_length=256, **options):
    return AdapterInfo("desk", 1, (), {"max_new_tokens": 20, **options}, max_length)


def rows_of(document, tokenizer, info=None, **asked):
    return TASK.encode(SummarizationRequest(document=document, **asked), tokenizer, info or adapter())


def test_listing_the_task_imports_no_heavy_library():
    code = "import sys, grafthub_summarization as p; [*p.hub_tasks()]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert {"numpy", "sacrebleu", "torch", "transformers"}.isdisjoint(loaded.split())


# Parts


@given(text=st.text(alphabet="ab. \n\u3002é😀", max_size=300), room=st.integers(1, 60))
def test_the_parts_are_the_whole_text_and_not_longer_than_the_room(byte_tokenizer, text, room):
    parts = divide(text, room, byte_tokenizer, ENDS, anywhere=True)
    assert "".join(parts) == text
    longest = max(room, 4)  # a character has up to four bytes, and each of them is a token
    assert all(len(part.encode()) <= longest + 3 for part in parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One two. Three.\n\nFour. Five six.", ["One two. Three.\n\n", "Four. Five six."]),
        ("One two three four. Five six seven.", ["One two three four. ", "Five six seven."]),
        ("one two three four five six", ["one two three four ", "five six"]),
        ("abcdefghijklmnopqrstuvwxyz", ["abcdefghijklmnopqrst", "uvwxyz"]),
        ("short", ["short"]),
        ("", [""]),
    ],
)
def test_a_part_ends_at_a_paragraph_else_a_sentence_else_a_word(byte_tokenizer, text, parts):
    assert divide(text, 20, byte_tokenizer, ENDS, anywhere=True) == parts


def test_every_part_fits_the_limit_with_its_summary(byte_tokenizer):
    document = "The river rises. " * 60
    rows = rows_of(document, byte_tokenizer)
    assert len(rows) > 4
    assert all(len(row.input_ids) + row.max_new_tokens <= 256 for row in rows)
    texts = [byte_tokenizer.decode(row.input_ids) for row in rows]
    assert all(text.startswith("<|im_start|>user\nSummarize the text:\nThe river rises.") for text in texts)
    assert sum(text.count("The river rises.") for text in texts) == 60


def test_a_document_that_fits_is_one_row(byte_tokenizer):
    (row,) = rows_of("a" * 170, byte_tokenizer, max_new_tokens=5, temperature=0.5)
    assert (row.max_new_tokens, row.sampling.temperature) == (5, 0.5)


def test_too_many_parts_and_too_little_room_are_too_large(byte_tokenizer):
    with pytest.raises(TooLarge, match=r"has \d+ parts .* limit is 2 parts"):
        rows_of("The river rises. " * 60, byte_tokenizer, adapter(max_parts=2))
    with pytest.raises(TooLarge, match=r"max_new_tokens is 230 .* limit of 256 tokens leaves no room"):
        rows_of("a" * 300, byte_tokenizer, max_new_tokens=230)


# Prompts and answers


def test_a_base_without_a_chat_template_gets_plain_text(byte_tokenizer):
    plain = deepcopy(byte_tokenizer)
    plain.chat_template = None
    (row,) = rows_of("It rains.", plain, adapter(instruction="{document}\nTL;DR:"))
    assert plain.decode(row.input_ids) == "It rains.\nTL;DR:"
    (features,) = TASK.features({"document": "It rains.", "summary": "Rain"}, plain, adapter())
    assert plain.decode(features["input_ids"]).endswith("It rains. Rain<|im_end|>")


def test_control_tokens_are_invalid(byte_tokenizer):
    with pytest.raises(InvalidText, match="a control token of the model"):
        rows_of("a <|im_end|> b", byte_tokenizer)
    with pytest.raises(BadData, match="`summary` contains '<|im_end|>'".replace("|", r"\|")):
        TASK.features({**EXAMPLE, "summary": "<|im_end|>"}, byte_tokenizer, adapter())


def test_the_answer_joins_the_summaries_of_the_parts():
    outputs = [Output(Row([1]), text=text) for text in (" One.\n", " ", "Two.")]
    answer = TASK.decode(SummarizationRequest(document="a"), outputs, adapter())
    assert answer == SummarizationResponse(summary="One.\nTwo.", parts=3)
    assert TASK.agrees(answer, SummarizationResponse(summary="One. Two.", parts=2))
    assert not TASK.agrees(answer, SummarizationResponse(summary="One.", parts=3))


# Training


def test_the_summary_and_its_end_are_learned(byte_tokenizer):
    (features,) = TASK.features(EXAMPLE, byte_tokenizer, adapter())
    (row,) = rows_of(EXAMPLE["document"], byte_tokenizer)
    prompt = len(row.input_ids)
    assert features["input_ids"][:prompt] == row.input_ids
    assert features["labels"][:prompt] == [-100] * prompt
    assert features["labels"][prompt:] == features["input_ids"][prompt:]
    assert byte_tokenizer.decode(features["labels"][prompt:]) == "A flood.<|im_end|>"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"document": "The river rises. " * 60}, "parts; training needs documents of one part"),
        ({"document": " "}, "`document` is empty"),
        ({"summary": "a" * 300}, "tokens with its summary; `max_length` is 256"),
    ],
)
def test_a_row_that_cannot_be_used_has_a_reason(byte_tokenizer, changed, reason):
    with pytest.raises(BadData, match=reason):
        TASK.features({**EXAMPLE, **changed}, byte_tokenizer, adapter())


def test_a_base_that_cannot_stop_is_a_bad_recipe(byte_tokenizer):
    endless = deepcopy(byte_tokenizer)
    endless.eos_token = None
    with pytest.raises(BadRecipe, match="no end token"):
        TASK.features(EXAMPLE, endless, adapter())


@pytest.mark.parametrize("instruction", ["Summarize.", "{document} {tone}", "{document", "{document.x}"])
def test_an_instruction_has_one_place_for_the_document(instruction):
    with pytest.raises(ValidationError, match="instruction"):
        SummarizationOptions(instruction=instruction)


def test_metrics_compare_words():
    figures = TASK.metrics([SummarizationResponse(summary="a flood", parts=1)], [{"summary": "A flood"}])
    assert figures["rouge_1"] == figures["rouge_l"] == 1.0
    assert set(figures) == {"rouge_1", "rouge_2", "rouge_l", "chrf"}
