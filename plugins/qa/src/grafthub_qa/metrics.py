"""Exact match and F1 as SQuAD defines them, from 0 to 1.

Rajpurkar et al. 2016, https://aclanthology.org/D16-1264; with questions that have no answer, 2018,
https://aclanthology.org/P18-2124.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

__all__ = ["exact_match", "f1", "normalise"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(said: str, right: Sequence[str]) -> float:
    """Return 1 if the answer is one of the right ones; `right` is empty where there is no answer."""
    return max(float(normalise(said) == normalise(text)) for text in _accepted(right))


def f1(said: str, right: Sequence[str]) -> float:
    """Return the best overlap in words with one of the right answers."""
    return max(_overlap(normalise(said).split(), normalise(text).split()) for text in _accepted(right))


def normalise(text: str) -> str:
    """Lower the case; drop ASCII punctuation, English articles and extra spaces."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split())


def _accepted(right: Sequence[str]) -> Sequence[str]:
    return [text for text in right if normalise(text)] or [""]


def _overlap(said: Sequence[str], right: Sequence[str]) -> float:
    if not said or not right:
        return float(said == right)
    shared = sum((Counter(said) & Counter(right)).values())
    return 2 * shared / (len(said) + len(right))
