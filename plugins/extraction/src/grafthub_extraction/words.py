"""Splits a text into words without a tokenizer, so that entity boundaries are the same on every base."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hub.task_tools import is_continuation

__all__ = ["Offsets", "Units", "group_tokens", "word_bounds"]

Offsets = npt.NDArray[np.int64]
_NON_JOINER = "\u200c"  # within words of Persian and Indic scripts
# Scripts written without spaces: Thai, Lao, Burmese, Khmer, kana, Han. Each character is a word.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)


def word_bounds(text: str) -> Offsets:
    """Return the start and end of each word of a text, [W, 2], in characters.

    A word is a run of letters, digits and their marks; any other visible character is a word by itself.
    """
    bounds: list[list[int]] = []
    running = False  # a letter that follows continues the last word
    for index, character in enumerate(text):
        touching = bool(bounds) and bounds[-1][1] == index
        if touching and (character == _NON_JOINER or is_continuation(text, index)):
            bounds[-1][1] = index + 1
            continue
        kind = unicodedata.category(character)[0]
        if kind in "ZC":
            continue
        letter = kind in "LMN" and not _UNSPACED.match(character)
        if letter and running and touching:
            bounds[-1][1] = index + 1
        else:
            bounds.append([index, index + 1])
        running = letter
    return np.array(bounds, dtype=np.int64).reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class Units:
    """The units of tagging: a word with its tokens, or several words that share a token."""

    starts: Offsets  # [U] first character
    ends: Offsets  # [U] character after
    first: Offsets  # [U] first token
    stop: Offsets  # [U] token after

    def __len__(self) -> int:
        return len(self.starts)


def group_tokens(words: Offsets, starts: Offsets, ends: Offsets) -> Units:
    """Assign the tokens, which begin and end at `starts` and `ends` [N], to the words [W, 2].

    A token belongs to the word of its first character. A word in which no token begins is part of the unit
    whose token reaches into it, if any.
    """
    begins = np.searchsorted(words[:, 0], starts, side="right") - 1  # [N] the word, -1: before all
    reaches = np.searchsorted(words[:, 0], ends - 1, side="right") - 1
    units: list[list[int]] = []
    last = -1
    for token in range(len(starts)):
        word = int(begins[token])
        if starts[token] >= ends[token] or word < 0 or starts[token] >= words[word, 1]:
            continue
        if word > last:
            units.append([int(words[word, 0]), int(words[word, 1]), token, token + 1])
        units[-1][3] = token + 1
        last = max(last, word, int(reaches[token]))
        units[-1][1] = int(words[last, 1])
    columns = np.array(units, dtype=np.int64).reshape(-1, 4).T
    return Units(*columns)
