"""Cleaners of training texts, and augmenters that write changed copies of them."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hub.api.kinds.extension import Extension, ExtensionSpec, SettingsT

Span = tuple[int, int, str]
"""Start, end and replacement; spans are not empty, sorted, and do not overlap."""
Change = Callable[[str, float, random.Random], str]
"""Changes a text: the text, the share of its words to change, the random numbers to use."""


@dataclass(frozen=True, slots=True)
class CleanerSpec(ExtensionSpec):
    """A cleaner of training texts; its name is a value of the recipe's `data.clean.others`."""


class Cleaner(Extension[SettingsT], ABC):
    """Replaces parts of training texts; held-out rows stay as a client would send them."""

    cuts: ClassVar[bool] = False
    """Whether it may remove visible text, so that a row can end up empty."""

    @abstractmethod
    def spans(self, text: str) -> Iterable[Span]:
        """Return what to replace, so that offsets of answers and entities can follow."""


@dataclass(frozen=True, slots=True)
class AugmentOptions:
    """Where an augmenter finds files: the recipe's folder, and its key `augment.wordnet`."""

    folder: Path
    wordnet: str = ""


@dataclass(frozen=True, slots=True)
class AugmenterSpec(ExtensionSpec):
    """An augmenter; its name is a key of the recipe's `augment.others`."""


class Augmenter(Extension[SettingsT], ABC):
    """Makes changed copies of training texts that keep their label."""

    @abstractmethod
    def changer(self, options: AugmentOptions) -> Change:
        """Return the function that changes texts in one run; equal random numbers give equal copies."""
