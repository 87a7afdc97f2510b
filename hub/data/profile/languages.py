"""Languages of texts, by langdetect (Nakatani's language-detection: naive Bayes over letter trigrams)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

__all__ = ["Sample", "languages"]

SAMPLE = 300  # texts
FEWEST = 20  # letters; of fewer nothing can be told
LONGEST = 1000  # characters that are looked at
SURE = 0.8  # probability
UNSURE = "unsure"


class Sample:
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
