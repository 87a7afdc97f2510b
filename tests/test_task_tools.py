"""Windows over long texts, probabilities, joined characters, control tokens, scores of generated texts."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special

from hub.task_tools import (
    control_token,
    is_continuation,
    number_metrics,
    softmax,
    text_overlap,
    window_bounds,
)
from hub.testing.tiny_tokenizers import LLAMA, tiny_tokenizer


@given(
    size=st.integers(0, 500), room=st.integers(1, 60), overlap=st.integers(0, 60), most=st.integers(1, 1000)
)
def test_every_token_is_in_a_window_and_neighbours_share_the_overlap(
    size: int, room: int, overlap: int, most: int
) -> None:
    assume(overlap < room)
    bounds = window_bounds(size, room, overlap, most)
    if bounds is None:
        return
    covered = {token for start, stop in bounds for token in range(start, stop)}
    assert covered == set(range(size))
    assert all(stop - start <= room for start, stop in bounds)
    assert all(before[1] - after[0] == overlap for before, after in pairwise(bounds))
    assert len(bounds) <= most


@given(size=st.integers(1, 500), room=st.integers(1, 60))
def test_the_limit_on_windows_is_exact(size: int, room: int) -> None:
    needed = len(window_bounds(size, room, room // 2, 10_000))
    assert window_bounds(size, room, room // 2, needed) is not None
    assert window_bounds(size, room, room // 2, needed - 1) is None


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=9), st.floats(0.1, 10))
def test_softmax_is_scipys(values: list[float], temperature: float) -> None:
    scores = np.array([values, values[::-1]])
    np.testing.assert_allclose(softmax(scores, temperature), special.softmax(scores / temperature, axis=1))
    assert softmax(scores.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e\u0301", True),
        ("\u2764\ufe0f", True),
        ("a\u200d", True),
        ("\u200da", True),
        ("ab", False),
        ("a ", False),
    ],
)
def test_marks_and_joined_characters_are_continuations(text: str, expected: bool) -> None:
    assert is_continuation(text, 1) is expected


def test_bleu_is_that_of_the_paper() -> None:
    # 4-grams 3 of 4, 3-grams 4 of 5, 2-grams 5 of 6, words 6 of 7; no brevity penalty.
    figures = text_overlap(["a b c d e f x"], ["a b c d e f g"])
    assert figures["bleu"] == pytest.approx((6 / 7 * 5 / 6 * 4 / 5 * 3 / 4) ** 0.25)


def test_bleu_and_chrf_are_those_of_sacrebleu_whatever_was_scored_before() -> None:
    from sacrebleu.metrics import BLEU, CHRF

    chance = random.Random(0)
    texts = [
        " ".join(chance.choices(["one", "two,", "Three.", "été", "x"], k=chance.randint(0, 9)))
        for _ in range(30)
    ]
    for size in (1, 2, 30, 60):  # longer ones have pairs more than once
        found, right = chance.choices(texts, k=size), chance.choices(texts, k=size)
        figures = text_overlap(found, right)
        assert figures["bleu"] == BLEU(tokenize="13a").corpus_score(found, [right]).score / 100
        assert figures["chrf"] == CHRF().corpus_score(found, [right]).score / 100


def test_rouge_is_that_of_the_paper_in_any_script() -> None:
    # All words are there, no pair of neighbours is, and three are in the same order.
    figures = text_overlap(["Été à nouveau là"], ["été nouveau à là"])
    assert figures["rouge_1"] == pytest.approx(1.0)
    assert figures["rouge_2"] == pytest.approx(0.0)
    assert figures["rouge_l"] == pytest.approx(0.75)
    halves = text_overlap(["a b", "x y"], ["a b", "z z"])
    assert halves["rouge_l"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a <|im_end|> b", "<|im_end|>"),
        ("<|im_start|>system", "<|im_start|>"),
        ("<|endoftext|>", None),
        ("<|", None),
    ],
)
def test_control_tokens_are_those_of_the_chat_template_and_the_ends(text: str, found: str | None) -> None:
    assert control_token(text, tiny_tokenizer(LLAMA)) == found


def test_metrics_of_numbers_are_those_of_scipy_and_scikit_learn() -> None:
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error

    true, predicted = [1.0, 2.0, 2.0, 5.0, 9.0], [1.5, 1.0, 3.0, 3.0, 8.0]
    assert number_metrics(predicted, true) == pytest.approx(
        {
            "mae": mean_absolute_error(true, predicted),
            "rmse": root_mean_squared_error(true, predicted),
            "pearson": pearsonr(true, predicted).statistic,
            "spearman": spearmanr(true, predicted).statistic,
        }
    )
    constant = number_metrics([2.0, 2.0], [1.0, 3.0])
    assert constant == {"mae": 1.0, "rmse": 1.0, "pearson": 0.0, "spearman": 0.0}
