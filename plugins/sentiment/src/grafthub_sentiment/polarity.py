"""The polarity of labels, by their names or by the recipe's option `polarity`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hub.api import BadRecipe

__all__ = ["known_polarities", "polarities"]

_NAMES = {
    "very negative": -1.0,
    "negative": -1.0,
    "neg": -1.0,
    "neutral": 0.0,
    "neu": 0.0,
    "mixed": 0.0,
    "positive": 1.0,
    "pos": 1.0,
    "very positive": 1.0,
}
_STEPS = ("very negative", "very positive")  # with these, plain negative and positive are halfway
_NUMBER = re.compile(r"([+-]?[0-9]{1,9})(?: stars?)?")


def polarities(labels: Sequence[str], given: Mapping[str, float]) -> list[float]:
    """Return the polarity of each label; `given` overrides the names.

    Raises:
        BadRecipe: `given` names an unknown label, or a label has no polarity.
    """
    if unknown := sorted(set(given).difference(labels)):
        raise BadRecipe(f"Option 'polarity' names {unknown[0]!r}. The labels are: {', '.join(labels)}.")
    known = {**known_polarities(labels), **given}
    if missing := [label for label in labels if label not in known]:
        raise BadRecipe(
            f"The polarity of label {missing[0]!r} is not known. Give each label one from -1 to 1 in the "
            f"recipe, such as options.polarity: {{{missing[0]}: 0.5}}."
        )
    return [known[label] for label in labels]


def known_polarities(labels: Sequence[str]) -> dict[str, float]:
    """Return the polarity of the labels whose names are known words, numbers or stars.

    Numbers count only if every label is one: the lowest is -1, the highest 1, others are interpolated.
    """
    numbers = {
        label: int(match[1]) for label in labels if (match := _NUMBER.fullmatch(label.lower().strip()))
    }
    low, high = min(numbers.values(), default=0), max(numbers.values(), default=0)
    if len(numbers) == len(labels) and low < high:
        return {label: 2.0 * (number - low) / (high - low) - 1.0 for label, number in numbers.items()}
    words = {label: re.sub(r"[\s_-]+", " ", label).strip().lower() for label in labels}
    plain = 0.5 if any(word in _STEPS for word in words.values()) else 1.0
    return {
        label: _NAMES[word] * (1.0 if word in _STEPS else plain)
        for label, word in words.items()
        if word in _NAMES
    }
