"""Words of a text, their tokens, and windows of tokens."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from grafthub_extraction.models import ExtractionRequest
from grafthub_extraction.task import ExtractionTask
from grafthub_extraction.windows import cut_windows, joined_scores, tokenize
from grafthub_extraction.words import group_tokens, word_bounds
from hypothesis import given
from hypothesis import strategies as st

from hub.api import AdapterInfo, InvalidText, Output, TooLarge

TASK = ExtractionTask()
TEXTS = st.text(
    st.sampled_from("ab1 \n.,-'é日本รักนี้हिन्दी€\u0301\u200d👩👍🏽\ufffd\u00a0")
    | st.characters(exclude_categories=["Cs"]),
    max_size=40,
)


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in word_bounds(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada Novak's B2B-site", ["Ada", "Novak", "'", "s", "B2B", "-", "site"]),
        ("€5.20 (net)", ["€", "5", ".", "20", "(", "net", ")"]),
        ("cafe\u0301 noir", ["cafe\u0301", "noir"]),
        ("東京に住む", ["東", "京", "に", "住", "む"]),
        ("Oslo東京", ["Oslo", "東", "京"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("\u0645\u06cc\u200c\u0631\u0648\u0645", ["\u0645\u06cc\u200c\u0631\u0648\u0645"]),
        ("a 👩\u200d👩\u200d👧 👍🏽", ["a", "👩\u200d👩\u200d👧", "👍🏽"]),
        (" \n\u00a0", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(TEXTS)
def test_words_are_apart_and_leave_out_only_what_cannot_be_seen(text: str) -> None:
    bounds = word_bounds(text).tolist()
    assert all(start < end for start, end in bounds)
    assert all(end <= start for (_, end), (start, _) in pairwise(bounds))
    inside = {index for start, end in bounds for index in range(start, end)}
    assert all(index in inside for index, character in enumerate(text) if character.isalnum())


@given(TEXTS)
def test_each_token_is_in_one_unit_and_units_are_apart(word_tokenizer, text: str) -> None:
    document = tokenize(text, word_tokenizer)
    units = group_tokens(word_bounds(text), document.starts, document.ends)
    held = [
        token for first, stop in zip(units.first, units.stop, strict=True) for token in range(first, stop)
    ]
    assert held == sorted(set(held))
    assert (units.starts < units.ends).all()
    assert (units.ends[:-1] <= units.starts[1:]).all()
    covered = {at for start, end in zip(units.starts, units.ends, strict=True) for at in range(start, end)}
    for start, end in zip(document.starts, document.ends, strict=True):
        assert not text[start:end].strip().isalnum() or set(range(start, end)) <= covered


def test_words_that_share_a_token_are_one_unit() -> None:
    text = "in the city"
    units = group_tokens(word_bounds(text), np.array([0, 7]), np.array([6, 11]))
    assert [text[start:end] for start, end in zip(units.starts, units.ends, strict=True)] == [
        "in the",
        "city",
    ]


@given(st.integers(0, 200), st.integers(1, 30), st.integers(0, 15))
def test_windows_cover_a_text_and_share_it_out(size: int, room: int, overlap: int) -> None:
    overlap = min(overlap, room // 2)
    windows = cut_windows(size, room, overlap, 10_000)
    assert windows is not None
    assert [index for window in windows for index in range(window.own_start, window.own_stop)] == [
        *range(size)
    ]
    for window in windows:
        assert window.start <= window.own_start <= window.own_stop <= window.stop <= window.start + room
        context = min(
            window.own_start - window.start if window.start else room,
            window.stop - window.own_stop if window.stop < size else room,
        )
        assert context >= overlap // 2
    assert all(window.stop - window.start == room for window in windows) or len(windows) == 1


def adapter(max_length=32, **options) -> AdapterInfo:
    return AdapterInfo("finder", 1, ("O", "B-LOC", "I-LOC"), options, max_length)


def test_a_long_text_is_put_together_again(word_tokenizer) -> None:
    text = "won lost in the rain " * 30
    document = tokenize(text, word_tokenizer)
    rows = TASK.encode(ExtractionRequest(text=text), word_tokenizer, adapter(stride=10))
    assert len(rows) > 5
    assert all(len(row.input_ids) <= 32 for row in rows)
    outputs = [Output(row, np.array(row.input_ids, np.float32)[:, None]) for row in rows]
    assert joined_scores(outputs)[:, 0].tolist() == document.ids[1:-1]


def test_thousands_of_windows_are_refused(word_tokenizer) -> None:
    with pytest.raises(TooLarge, match="more than 256 windows"):
        TASK.encode(ExtractionRequest(text="sun " * 40_000), word_tokenizer, adapter())
    with pytest.raises(TooLarge, match="more than 2 windows"):
        TASK.encode(ExtractionRequest(text="sun " * 100), word_tokenizer, adapter(max_windows=2))


@pytest.mark.parametrize("text", ["", "  ", "\u200b\n"])
def test_text_with_nothing_to_see_is_refused(text: str) -> None:
    with pytest.raises(InvalidText, match="`text` is empty"):
        ExtractionRequest(text=text)
