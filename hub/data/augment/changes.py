"""Ways to change a text that leave its label alone, after EDA (arXiv:1901.11196)."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Change", "Rules", "delete", "fault", "replace_words", "same_words", "swap", "turns"]

Change = Callable[[str, float, random.Random], str]
# Words that turn a label around are neither left out nor moved nor replaced.
_TURNING = frozenset(
    (
        "no",
        "not",
        "never",
        "none",
        "nobody",
        "nothing",
        "neither",
        "nor",
        "without",
        "cannot",
        "hardly",
        "but",
    )
)


def delete(text: str, share: float, chance: random.Random) -> str:
    """Leave out a share of the words, one at least; the longest one, and negations, stay."""
    words = text.split()
    free = _free(words)
    longest = max(free, key=lambda index: len(words[index]), default=None)
    taken = set(_some([index for index in free if index != longest], share, len(words), chance))
    return " ".join(word for index, word in enumerate(words) if index not in taken)


def swap(text: str, share: float, chance: random.Random) -> str:
    """Let pairs of words change places, one pair at least; negations stay where they are."""
    words = text.split()
    free = _free(words)
    for _ in range(_count(share, len(words))):
        if len(free) >= 2:
            one, other = chance.sample(free, 2)
            words[one], words[other] = words[other], words[one]
    return " ".join(words)


def replace_words(synonyms: Callable[[str], Sequence[str]]) -> Change:
    """Return a change that puts a synonym in the place of a share of the words, one at least."""

    def change(text: str, share: float, chance: random.Random) -> str:
        words = text.split()
        known = [index for index in _free(words) if synonyms(words[index].lower())]
        for index in _some(known, share, len(words), chance):
            word = words[index]
            other = chance.choice(list(synonyms(word.lower())))
            words[index] = other.capitalize() if word[:1].isupper() else other
        return " ".join(words)

    return change


def _free(words: Sequence[str]) -> list[int]:
    return [index for index, word in enumerate(words) if not turns(word)]


def turns(word: str) -> bool:
    """Return whether a word may turn a label around: not, never, wasn't, but."""
    plain = word.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").strip(".,;:!?\"'()")
    return plain in _TURNING or plain.endswith("n't")


def _some(indices: Sequence[int], share: float, words: int, chance: random.Random) -> list[int]:
    return chance.sample(list(indices), min(len(indices), _count(share, words)))


def _count(share: float, words: int) -> int:
    return max(1, round(share * words))


_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_NAME = re.compile(r"(?<![.!?:\"'\u201c\u2019])\s(?:[\"'(\u201c]?)([A-Z]\w+)")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a copy has to have of its source.

    `least_kept` is the share of the source's words, `length` how many times as long, or as short, it may
    be in words; `keep` names what has to be the same: negation, number, name.
    """

    least_kept: float = 0.4
    length: float = 2.0
    keep: Sequence[str] = ("negation", "number")


def same_words(source: str, copy: str) -> bool:
    """Return whether two texts have the same words in the same order, but for case and punctuation."""
    return _words(source) == _words(copy)


def fault(source: str, copy: str, rules: Rules) -> str | None:
    """Return why a copy may mean something else: length, words, negation, number or name; None if it may not.

    There may be no more and no fewer negations than before, and the same numbers. Names are words with a
    capital that start no sentence; none of them may be gone.
    """
    before, after = _words(source), _words(copy)
    if not after or max(len(before) / len(after), len(after) / max(1, len(before))) > rules.length:
        return "length"
    kept = (Counter(before) & Counter(after)).total()
    if kept < rules.least_kept * len(before):
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
    return word != "but" and turns(word)
