"""Changes to a text that keep its label (EDA, arXiv:1901.11196), and checks of the changed text."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hub.api import Change

__all__ = [
    "CopyRules",
    "broken_rule",
    "delete",
    "is_negation",
    "replace_words",
    "same_words",
    "swap",
]

# Words that can invert a label are not deleted, moved or replaced.
_NEGATIONS = frozenset(
    re.findall(r"\w+", "but cannot hardly neither never no nobody none nor not nothing without")
)


def delete(text: str, share: float, rng: random.Random) -> str:
    """Delete a share of the words, at least one; the longest word and negations stay."""
    words = text.split()
    free = _free(words)
    longest = max(free, key=lambda index: len(words[index]), default=None)
    taken = set(_some([index for index in free if index != longest], share, len(words), rng))
    return " ".join(word for index, word in enumerate(words) if index not in taken)


def swap(text: str, share: float, rng: random.Random) -> str:
    """Swap pairs of words, at least one pair; negations stay in place."""
    words = text.split()
    free = _free(words)
    for _ in range(_count(share, len(words))):
        if len(free) >= 2:
            one, other = rng.sample(free, 2)
            words[one], words[other] = words[other], words[one]
    return " ".join(words)


def replace_words(synonyms: Callable[[str], Sequence[str]]) -> Change:
    """Return a change that replaces a share of the words, at least one, by synonyms."""

    def change(text: str, share: float, rng: random.Random) -> str:
        words = text.split()
        known = [index for index in _free(words) if synonyms(words[index].lower())]
        for index in _some(known, share, len(words), rng):
            word = words[index]
            other = rng.choice(list(synonyms(word.lower())))
            words[index] = other.capitalize() if word[:1].isupper() else other
        return " ".join(words)

    return change


def _free(words: Sequence[str]) -> list[int]:
    return [index for index, word in enumerate(words) if not is_negation(word)]


def is_negation(word: str) -> bool:
    """Return whether a word may invert a label: not, never, wasn't, but."""
    plain = word.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").strip(".,;:!?\"'()")
    return plain in _NEGATIONS or plain.endswith("n't")


def _some(indices: Sequence[int], share: float, words: int, rng: random.Random) -> list[int]:
    return rng.sample(list(indices), min(len(indices), _count(share, words)))


def _count(share: float, words: int) -> int:
    return max(1, round(share * words))


_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_NAME = re.compile(r"(?<![.!?:\"'\u201c\u2019])\s(?:[\"'(\u201c]?)([A-Z]\w+)")


@dataclass(frozen=True, slots=True)
class CopyRules:
    """Limits on the difference between a copy and its source.

    `min_kept` is the minimum share of kept words, `length` the maximum ratio of the lengths in words, either
    way; `keep` names what must be equal: negation, number, name.
    """

    min_kept: float = 0.4
    length: float = 2.0
    keep: Sequence[str] = ("negation", "number")


def same_words(source: str, copy: str) -> bool:
    """Return whether two texts have the same words in the same order; case and punctuation are ignored."""
    return _words(source) == _words(copy)


def broken_rule(source: str, copy: str, rules: CopyRules) -> str | None:
    """Return the rule that a copy breaks: length, words, negation, number or name; None if it breaks none.

    The number of negations and all numbers must be equal. Names are capitalized words inside a sentence; all
    of them must be kept.
    """
    before, after = _words(source), _words(copy)
    if not after or max(len(before) / len(after), len(after) / max(1, len(before))) > rules.length:
        return "length"
    kept = (Counter(before) & Counter(after)).total()
    if kept < rules.min_kept * len(before):
        return "words"
    if "negation" in rules.keep and sum(map(_negates, before)) != sum(map(_negates, after)):
        return "negation"
    if "number" in rules.keep and Counter(_NUMBER.findall(source)) != Counter(_NUMBER.findall(copy)):
        return "number"
    if "name" in rules.keep and not {name.casefold() for name in _NAME.findall(source)} <= set(after):
        return "name"
    return None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _negates(word: str) -> bool:
    return word != "but" and is_negation(word)
