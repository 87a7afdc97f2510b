"""What is odd about a text, without a quote of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from hub.data.cleaning import Aligned, cleaner
from hub.data.pii import builtin
from hub.recipe.sections.data import Clean

__all__ = ["TextSample", "languages", "oddities", "very_long"]

LONG = 1000  # characters; shorter texts are never very long
_CLEAN = Clean(html=True, entities=True, control=True, unicode="NFC", whitespace=False)
_SAID = {
    "html": "HTML tags (clean.html)",
    "entities": "HTML entities (clean.entities)",
    "control": "control characters (clean.control)",
    "unicode": "letters that are not composed (clean.unicode)",
}
# UTF-8 that was read as Latin-1 or Windows-1252: the first byte of a letter, then one of the rest of it.
_REST = "\x80-\xbf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u2018\u2019\u201c\u201d\u2022\u2122"
_MOJIBAKE = re.compile(f"[\u00c2-\u00c5\u00ce-\u00d1][{_REST}]|\u00e2[\u0080\u20ac][{_REST}]|\ufffd")


def oddities() -> Callable[[str], list[str]]:
    """Return a function that names what is odd about a text."""
    clean = cleaner(_CLEAN)

    def find(text: str) -> list[str]:
        if not text.strip():
            return ["empty text"]
        found = [_SAID[name] for name in clean(Aligned(text))]
        if _MOJIBAKE.search(text):
            found.append("broken characters (read in a wrong encoding)")
        kinds = dict.fromkeys(one.kind for one in builtin(text))
        return found + [f"personal data: {kind} (pii)" for kind in kinds]

    return find


def very_long(lengths: Sequence[int]) -> int:
    """Return the length beyond which a text is far from all others (six quartile ranges over the third)."""
    ordered = sorted(lengths)
    low, high = (ordered[min(len(ordered) - 1, len(ordered) * share // 4)] for share in (1, 3))
    return max(LONG, high + 6 * (high - low))


SAMPLE = 300  # texts
FEWEST = 20  # letters; of fewer nothing can be told
LONGEST = 1000  # characters that are looked at
SURE = 0.8  # probability
UNSURE = "unsure"


class TextSample:
    """An even sample of a stream of texts: every n-th that is long enough, where n doubles as they come."""

    def __init__(self, size: int = SAMPLE) -> None:
        self.texts: list[str] = []
        self._size = size
        self._step = 1
        self._seen = 0

    def add(self, text: str) -> None:
        """Take the text into the sample if it is its turn."""
        text = text[:LONGEST]
        if sum(map(str.isalpha, text)) < FEWEST:
            return
        if self._seen % self._step == 0:
            self.texts.append(text)
            if len(self.texts) > self._size:
                self.texts = self.texts[::2]
                self._step *= 2
        self._seen += 1


def languages(texts: Sequence[str]) -> Counter[str]:
    """Count the languages (ISO 639-1) of texts taken evenly from all that are long enough."""
    usable = [text for text in texts if sum(map(str.isalpha, text[:LONGEST])) >= FEWEST]
    step = max(1, len(usable) // SAMPLE)
    return Counter(_language(text[:LONGEST]) for text in usable[::step][:SAMPLE])


def _language(text: str) -> str:
    from langdetect import DetectorFactory, LangDetectException, detect_langs

    DetectorFactory.seed = 0  # it draws at random otherwise
    try:
        best = detect_langs(text)[0]
    except LangDetectException:
        return UNSURE
    return str(best.lang) if best.prob >= SURE else UNSURE
