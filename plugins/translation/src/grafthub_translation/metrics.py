"""BLEU, chrF and ROUGE, from 0 to 1.

BLEU: Papineni et al. 2002, https://aclanthology.org/P02-1040; chrF: Popović 2015,
https://aclanthology.org/W15-3049; ROUGE: Lin 2004, https://aclanthology.org/W04-1013.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

__all__ = ["overlap"]

_ROUGE = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l"}


def overlap(predicted: Sequence[str], true: Sequence[str]) -> dict[str, float]:
    """Return corpus BLEU and chrF by sacrebleu, and the means of ROUGE-1, -2 and -L by rouge-score.

    Words are those of the tokenizer 13a, in lower case for ROUGE: rouge-score's own supports ASCII only.
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


@cache
def _by_corpus() -> dict[str, Any]:
    from sacrebleu.metrics import BLEU, CHRF

    return {"bleu": BLEU(tokenize="13a"), "chrf": CHRF()}


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
