"""Helpers for task plugins: windows over long texts, probabilities, prompts, scores of texts."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from hub.errors import TooLarge

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.floating[Any]]

__all__ = [
    "answer_ids",
    "control_token",
    "divide",
    "instruction_ids",
    "is_continuation",
    "mean_absolute_error",
    "number_metrics",
    "overlap_signatures",
    "pearson",
    "root_mean_squared_error",
    "softmax",
    "spearman",
    "text_overlap",
    "window_bounds",
]

JOINER = "\u200d"  # zero-width joiner, as in emoji sequences
_ROUGE = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l"}


def window_bounds(size: int, room: int, overlap: int, max_windows: int) -> list[tuple[int, int]] | None:
    """Cover `size` tokens with windows of `room` tokens that overlap by `overlap`.

    Returns start and stop of each window, the last of which may be shorter; None if there would be more than
    `max_windows`.
    """
    step = max(1, room - overlap)
    count = 1 + max(0, -(-(size - room) // step))
    if count > max_windows:
        return None
    return [(index * step, min(index * step + room, size)) for index in range(count)]


def divide(
    text: str,
    room: int,
    tokenizer: Any,
    ends: Sequence[re.Pattern[str]],
    *,
    mask: str | None = None,
    anywhere: bool = False,
) -> list[str]:
    """Divide a text into parts of about `room` tokens at most; joined they are the text.

    A part ends after the last match, in its second half if possible, of the first pattern that matches;
    `ends` has the best places first. They are searched in `mask`, a text of equal length, if given. Without a
    match a part ends `anywhere`.

    Raises:
        TooLarge: no pattern matches, and not `anywhere`.
    """
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    starts: Sequence[int] = [begin for begin, _ in encoded["offset_mapping"]]  # [T], in characters
    searched = text if mask is None else mask
    parts, begin, first = [], 0, 0
    while len(starts) - first > room:
        middle = max(starts[first + room // 2], begin + 1)
        limit = max(starts[first + room], middle)
        windows = ((middle, limit), (begin, middle))
        found = (list(pattern.finditer(searched, *window)) for window in windows for pattern in ends)
        end = next((matches[-1].end() for matches in found if matches), limit if anywhere else None)
        if end is None:
            raise TooLarge(
                f"The text has more than {room:,} tokens without a place to divide it. Send it in parts."
            )
        parts.append(text[begin:end])
        begin, first = end, bisect_left(starts, end)
    return [*parts, text[begin:]]


def softmax(scores: npt.NDArray[np.floating[Any]], temperature: float = 1.0) -> npt.NDArray[Any]:
    """Return probabilities [..., C] of scores [..., C] divided by `temperature`, in the scores' precision.

    scipy.special.softmax gives the same; its import takes 0.17 s (measured with scipy 1.17), of every start.
    """
    import numpy as np

    scaled = scores / np.asarray(temperature, dtype=scores.dtype)
    exponents = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True))


def number_metrics(predicted: Sequence[float], true: Sequence[float]) -> dict[str, float]:
    """Return `mae` and `rmse`, in the units of the numbers, and the correlations `pearson` and `spearman`.

    `NUMBER_METRICS` of hub.api names the formula of each, for `Task.metric_kinds`.
    """
    import numpy as np

    numbers = np.asarray(predicted, dtype=float), np.asarray(true, dtype=float)
    return {
        "mae": mean_absolute_error(*numbers),
        "rmse": root_mean_squared_error(*numbers),
        "pearson": pearson(*numbers),
        "spearman": spearman(*numbers),
    }


def mean_absolute_error(predicted: Numbers, true: Numbers) -> float:
    """Return the mean of |predicted - true|; both are [N]."""
    return float(abs(predicted - true).mean())


def root_mean_squared_error(predicted: Numbers, true: Numbers) -> float:
    """Return the root of the mean squared difference of numbers [N]."""
    return float(((predicted - true) ** 2).mean() ** 0.5)


def pearson(predicted: Numbers, true: Numbers) -> float:
    """Return Pearson's correlation of numbers [N]; 0 if one side is constant, where it is undefined."""
    import numpy as np

    if np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return 0.0
    first, second = predicted - predicted.mean(), true - true.mean()
    spread = float(np.sqrt((first @ first) * (second @ second)))
    return float(np.clip(first @ second / spread, -1.0, 1.0)) if spread else 0.0


def spearman(predicted: Numbers, true: Numbers) -> float:
    """Return Spearman's rank correlation of numbers [N]; ties have mean ranks; 0 if one side is constant."""
    from scipy.stats import rankdata

    return pearson(rankdata(predicted), rankdata(true))


def is_continuation(text: str, index: int) -> bool:
    """Return whether the character at `index`, which is at least 1, belongs to the one before it.

    Such are combining marks, variation selectors, skin tones, and both sides of a zero-width joiner.
    """
    character = text[index]
    return (
        unicodedata.category(character)[0] == "M"
        or character == JOINER
        or text[index - 1] == JOINER
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
    )


def control_token(text: str, tokenizer: Any) -> str | None:
    """Return a control token of the chat template in `text`, or an end token; None without one."""
    chat = getattr(tokenizer, "chat_template", None) or ""
    ends = (getattr(tokenizer, "bos_token", None), getattr(tokenizer, "eos_token", None))
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    special = [token.content for token in added if token.special]
    for token in (*getattr(tokenizer, "all_special_tokens", ()), *special):
        if token in text and (token in chat or token in ends):
            return str(token)
    return None


def instruction_ids(instruction: str, tokenizer: Any) -> list[int]:
    """Return the tokens of an instruction: a chat turn if there is a chat template, else plain text."""
    if not getattr(tokenizer, "chat_template", None):
        return list(tokenizer(instruction, verbose=False)["input_ids"])
    turn = [{"role": "user", "content": instruction}]
    rendered = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(rendered, add_special_tokens=False, verbose=False)["input_ids"])


def answer_ids(text: str, tokenizer: Any) -> list[int]:
    """Return the tokens of an answer after `instruction_ids`, without an end token."""
    answer = text if getattr(tokenizer, "chat_template", None) else f" {text}"
    return list(tokenizer(answer, add_special_tokens=False, verbose=False)["input_ids"])


def text_overlap(predicted: Sequence[str], true: Sequence[str]) -> dict[str, float]:
    """Return corpus `bleu` and `chrf` by sacrebleu, mean `rouge_1`, `rouge_2` and `rouge_l` by rouge-score.

    All are from 0 to 1. Words are those of the tokenizer 13a, in lower case for ROUGE: rouge-score's own
    supports ASCII only. BLEU: Papineni et al. 2002, https://aclanthology.org/P02-1040; chrF: Popović 2015,
    https://aclanthology.org/W15-3049; ROUGE: Lin 2004, https://aclanthology.org/W04-1013.
    """
    pairs = [_rouge(one, other) for one, other in zip(predicted, true, strict=True)]
    counts = zip(*(_counts(one, other) for one, other in zip(predicted, true, strict=True)), strict=True)
    return {
        **{
            name: metric._aggregate_and_compute(of_pairs).score / 100
            for (name, metric), of_pairs in zip(_by_corpus().items(), counts, strict=True)
        },
        **{
            name: sum(pair[place] for pair in pairs) / max(1, len(pairs))
            for place, name in enumerate(_ROUGE.values())
        },
    }


def overlap_signatures() -> dict[str, str]:
    """Return sacrebleu's signatures of the `bleu` and `chrf` of `text_overlap`."""
    return {name: str(metric.get_signature()) for name, metric in _by_corpus().items()}


@cache
def _by_corpus() -> dict[str, Any]:
    from sacrebleu.metrics import BLEU, CHRF

    metrics = {"bleu": BLEU(tokenize="13a"), "chrf": CHRF()}
    for metric in metrics.values():
        metric.num_refs = 1  # a signature has it; sacrebleu sets it in a function that is not used here
    return metrics


@lru_cache(maxsize=20_000)  # confidence intervals score the same pairs many times
def _counts(predicted: str, true: str) -> tuple[list[Any], ...]:
    """Return the match counts of a pair for each corpus metric.

    Private in sacrebleu 2, whose own bootstrap sums them too; there is no public name.
    """
    return tuple(
        metric._extract_corpus_statistics([predicted], [[true]])[0] for metric in _by_corpus().values()
    )


@lru_cache(maxsize=20_000)
def _rouge(predicted: str, true: str) -> tuple[float, ...]:
    scores = _scorer().score(true, predicted)
    return tuple(float(scores[name].fmeasure) for name in _ROUGE)


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(_ROUGE), tokenizer=_Words())


class _Words:
    """The tokenizer for rouge-score."""

    def tokenize(self, text: str) -> list[str]:
        words: list[str] = _tokenizer()(text.lower()).split()
        return words


@cache
def _tokenizer() -> Any:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()
