"""Whether two answers say the same, where nothing is known of what they mean."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

__all__ = ["is_comparable", "same_answer"]


def same_answer(one: BaseModel, other: BaseModel) -> bool | None:
    """Compare two responses of a task: equal once every float is left out; None if nothing else is there.

    Labels, spans, texts, whole numbers, what is true and what is null count; scores do not. The order of a
    list counts, also where scores made it: a second-best label that differs is a difference.
    """
    first, second = one.model_dump(), other.model_dump()
    if not is_comparable(first) and not is_comparable(second):
        return None
    return bool(_without_floats(first) == _without_floats(second))


def is_comparable(value: Any) -> bool:
    """Tell whether a value holds anything but floats; an empty list does: it says that there is nothing."""
    if isinstance(value, dict):
        return not value or any(is_comparable(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return not value or any(is_comparable(inner) for inner in value)
    return not isinstance(value, float)


def _without_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_floats(inner) for key, inner in value.items() if not isinstance(inner, float)}
    if isinstance(value, list | tuple):
        return [_without_floats(inner) for inner in value if not isinstance(inner, float)]
    return None if isinstance(value, float) else value
