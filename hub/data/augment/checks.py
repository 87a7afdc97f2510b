"""Whether a changed text may keep its label, as far as its words can tell; the word lists are English."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hub.data.augment.changes import turns

__all__ = ["Rules", "fault", "same_words"]

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
    """Tell whether two texts have the same words in the same order, but for case and punctuation."""
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
