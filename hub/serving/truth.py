"""Whether an answer was right, by what somebody says the right one is: the same rules for every task."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hub.answers import is_comparable
from hub.errors import BadRequest

__all__ = ["Label", "is_right"]

TOLERANCE = 1e-6  # of numbers, which JSON and float32 round

Label = str | Sequence[str] | Mapping[str, Any]

_SAME = {"label": "entity_group"}  # what training data call it, and what answers do


def is_right(response: Mapping[str, Any], label: Label) -> bool:
    """Compare a response, as JSON values, with the right answer.

    - A response with `labels`, or else `label`: the set of them equals the label or labels given.
    - Another one has its answer in its first text (`answer`, `translation`, ...): it equals the text
      given, or one of several, but for case, punctuation and white space.
    - An object: each field it has equals that of the response; texts as above, and of lists of objects,
      such as entities, each has its equal on the other side in those fields that the right ones name.
      Numbers are equal but for rounding.

    Raises:
        BadRequest: a label was given for a response of floats alone.
    """
    if isinstance(label, Mapping):
        return bool(label) and all(
            key in response and _equal(response[key], right) for key, right in label.items()
        )
    given = {label} if isinstance(label, str) else set(label)
    chosen = _labels(response)
    if chosen is not None:
        return chosen == given
    answer = next((value for value in response.values() if isinstance(value, str)), None)
    if answer is None and response and not is_comparable(dict(response)):
        raise BadRequest(
            "This answer holds only floating-point numbers, so no label can be compared with it. Send an "
            f"object with the right value of a field, of: {', '.join(response)}."
        )
    return answer is not None and _normal(answer) in {_normal(text) for text in given}


def _labels(response: Mapping[str, Any]) -> set[str] | None:
    """Return the labels that a response chose; None if it is of another kind."""
    listed = response.get("labels")
    if isinstance(listed, list):
        found = [item.get("label") if isinstance(item, Mapping) else item for item in listed]
        names = {name for name in found if isinstance(name, str)}
        if len(names) == len(found):
            return names
    if "label" not in response:
        return None
    one = response["label"]
    return {one} if isinstance(one, str) else set()


def _equal(answer: Any, right: Any) -> bool:
    if isinstance(answer, str) and isinstance(right, str):
        return _normal(answer) == _normal(right)
    if isinstance(answer, list) and isinstance(right, list):
        if all(isinstance(item, Mapping) for item in (*answer, *right)):
            keys = [_named(item) for item in right]
            named = sorted({key for item in keys for key in item})
            return _chosen(map(_named, answer), named) == _chosen(keys, named)
        return len(answer) == len(right) and all(map(_equal, answer, right))
    if _is_number(answer) and _is_number(right):
        return math.isclose(answer, right, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(answer == right) and isinstance(answer, bool) == isinstance(right, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _named(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return {_SAME.get(key, key): value for key, value in item.items()}


def _chosen(items: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    """Return the items in those fields, in an order of their own; without fields, one for each item."""
    return sorted(repr([item.get(key) for key in keys]) for item in items)


def _normal(text: str) -> str:
    """Leave case, punctuation, white space and ways to write one character out of a comparison."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(" " if unicodedata.category(mark).startswith("P") else mark for mark in folded)
    return " ".join(kept.split())
