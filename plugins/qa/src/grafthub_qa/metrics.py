"""Exact match and F1 as SQuAD defines them, from 0 to 1.

Rajpurkar et al. 2016, https://aclanthology.org/D16-1264; with unanswerable questions, 2018,
https://aclanthology.org/P18-2124.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

__all__ = ["exact_match", "f1", "normalise"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(predicted: str, true: Sequence[str]) -> float:
    """Return 1 if the prediction equals a true answer; `true` is empty if there is no answer."""
    return max(float(normalise(predicted) == normalise(text)) for text in _accepted(true))


def f1(predicted: str, true: Sequence[str]) -> float:
    """Return the best F1 over words with one of the true answers."""
    return max(_overlap(normalise(predicted).split(), normalise(text).split()) for text in _accepted(true))


def normalise(text: str) -> str:
    """Lowercase; remove ASCII punctuation, English articles and extra spaces."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split())


def _accepted(true: Sequence[str]) -> Sequence[str]:
    return [text for text in true if normalise(text)] or [""]


def _overlap(predicted: Sequence[str], true: Sequence[str]) -> float:
    if not predicted or not true:
        return float(predicted == true)
    shared = sum((Counter(predicted) & Counter(true)).values())
    return 2 * shared / (len(predicted) + len(true))
