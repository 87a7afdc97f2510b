"""Cleaners of training texts, and augmenters that write changed copies of them."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hub.api.kinds.base_source import PullProgress
from hub.api.kinds.extension import Extension, ExtensionSpec, SettingsT
from hub.errors import BadRecipe

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


def _silent(stage: str, done: int, total: int, note: str = "") -> None:
    """Show nothing."""


def _bad_recipe(key: str, reason: str) -> Exception:
    return BadRecipe(f"{key}: {reason}.")


@dataclass(frozen=True, slots=True)
class AugmentOptions:
    """What an augmenter may use in one run: the recipe's folder, and its keys of the same names.

    `texts` are those that it will be asked to change, for one that is faster at many together; `progress`
    shows that work, and the file `memory` may keep its results for later runs of the adapter, None: nothing
    is kept. `error` makes an error of the recipe from a key and a reason.
    """

    folder: Path
    wordnet: str = ""
    language: str = ""
    via: str = ""
    texts: Sequence[str] = ()
    memory: Path | None = None
    progress: PullProgress = _silent
    error: Callable[[str, str], Exception] = _bad_recipe


@dataclass(frozen=True, slots=True)
class AugmenterSpec(ExtensionSpec):
    """An augmenter; its name is a key of the recipe's `augment.others`."""


class Augmenter(Extension[SettingsT], ABC):
    """Makes changed copies of training texts that keep their label."""

    repeats: ClassVar[bool] = False
    """Whether it makes the same copy of a text each time, so that a row gets one copy of it at most."""

    @abstractmethod
    def changer(self, options: AugmentOptions) -> Change:
        """Return the function that changes texts in one run; equal random numbers give equal copies."""
