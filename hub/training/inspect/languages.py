"""Languages of texts, by langdetect (Nakatani's language-detection: naive Bayes over letter trigrams)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

__all__ = ["languages"]

SAMPLE = 300  # texts
FEWEST = 20  # letters; of fewer nothing can be told
LONGEST = 1000  # characters that are looked at
SURE = 0.8  # probability
UNSURE = "unsure"


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
