"""Finds anomalies in texts, such as markup, mojibake and personal data, and detects languages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from hub.data.cleaning import Aligned, cleaner
from hub.data.pii import builtin
from hub.recipe.sections.data import Clean

__all__ = ["TextSample", "anomaly_detector", "languages", "very_long"]

MIN_VERY_LONG_CHARS = 1000
_CLEAN = Clean(html=True, entities=True, control=True, unicode="NFC", whitespace=False)
_NAMES = {
    "html": "HTML tags (clean.html)",
    "entities": "HTML entities (clean.entities)",
    "control": "control characters (clean.control)",
    "unicode": "decomposed letters (clean.unicode)",
}
# UTF-8 that was decoded as Latin-1 or Windows-1252: a lead byte, then a continuation byte.
_REST = "\x80-\xbf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u2018\u2019\u201c\u201d\u2022\u2122"
_MOJIBAKE = re.compile(f"[\u00c2-\u00c5\u00ce-\u00d1][{_REST}]|\u00e2[\u0080\u20ac][{_REST}]|\ufffd")


def anomaly_detector() -> Callable[[str], list[str]]:
    """Return a function that names the anomalies of a text and quotes none of it."""
    clean = cleaner(_CLEAN)

    def find(text: str) -> list[str]:
        if not text.strip():
            return ["empty text"]
        found = [_NAMES[name] for name in clean(Aligned(text))]
        if _MOJIBAKE.search(text):
            found.append("broken characters (decoded with the wrong encoding)")
        kinds = dict.fromkeys(one.kind for one in builtin(text))
        return found + [f"personal data: {kind} (pii)" for kind in kinds]

    return find


def very_long(lengths: Sequence[int]) -> int:
    """Return the length above which a text is an outlier: third quartile plus six interquartile ranges."""
    ordered = sorted(lengths)
    low, high = (ordered[min(len(ordered) - 1, len(ordered) * share // 4)] for share in (1, 3))
    return max(MIN_VERY_LONG_CHARS, high + 6 * (high - low))


SAMPLE = 300  # texts
MIN_LETTERS = 20  # per text; language detection is unreliable with fewer
MAX_SAMPLE_CHARS = 1000  # per text
MIN_PROBABILITY = 0.8
UNSURE = "unsure"


class TextSample:
    """An even sample of a stream of texts: every n-th long enough one; n doubles when the sample is full."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._step = 1
        self._seen = 0

    def add(self, text: str) -> None:
        """Add every n-th text to the sample."""
        text = text[:MAX_SAMPLE_CHARS]
        if sum(map(str.isalpha, text)) < MIN_LETTERS:
            return
        if self._seen % self._step == 0:
            self.texts.append(text)
            if len(self.texts) > SAMPLE:
                self.texts = self.texts[::2]
                self._step *= 2
        self._seen += 1


def languages(texts: Sequence[str]) -> Counter[str]:
    """Count the languages (ISO 639-1) of texts."""
    return Counter(map(_language, texts))


def _language(text: str) -> str:
    from langdetect import DetectorFactory, LangDetectException, detect_langs

    DetectorFactory.seed = 0  # langdetect samples randomly without a seed
    try:
        best = detect_langs(text)[0]
    except LangDetectException:
        return UNSURE
    return str(best.lang) if best.prob >= MIN_PROBABILITY else UNSURE
