"""Ways to change a text that leave its label alone, after EDA (arXiv:1901.11196)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

__all__ = ["Change", "delete", "replace_words", "swap", "turns"]

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
    """Tell whether a word may turn a label around: not, never, wasn't, but."""
    plain = word.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").strip(".,;:!?\"'()")
    return plain in _TURNING or plain.endswith("n't")


def _some(indices: Sequence[int], share: float, words: int, chance: random.Random) -> list[int]:
    return chance.sample(list(indices), min(len(indices), _count(share, words)))


def _count(share: float, words: int) -> int:
    return max(1, round(share * words))
