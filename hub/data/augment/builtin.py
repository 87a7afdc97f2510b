"""The augmenters that are built in: changes of words."""

from __future__ import annotations

from functools import cache

from hub.api import Augmenter, AugmentOptions, Change, NoOptions
from hub.data.augment.changes import delete, replace_words, swap
from hub.data.augment.wordnet import WordNet

__all__ = ["Delete", "Swap", "Synonyms"]


class Delete(Augmenter[NoOptions]):
    """Deletes words."""

    def changer(self, options: AugmentOptions) -> Change:
        return delete


class Swap(Augmenter[NoOptions]):
    """Swaps words."""

    def changer(self, options: AugmentOptions) -> Change:
        return swap


class Synonyms(Augmenter[NoOptions]):
    """Replaces words by synonyms of WordNet."""

    def changer(self, options: AugmentOptions) -> Change:
        words = WordNet.open(options.folder / options.wordnet)
        return replace_words(cache(words.synonyms))
