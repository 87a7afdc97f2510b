"""The default comparison of two answers, without knowledge of the task."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

__all__ = ["is_comparable", "same_answer"]


def same_answer(one: BaseModel, other: BaseModel) -> bool | None:
    """Return whether two responses are equal without their floats; None if they hold only floats.

    Strings, integers, booleans and nulls are compared, and the order of lists: a different second-best label
    is a difference.
    """
    first, second = one.model_dump(), other.model_dump()
    if not is_comparable(first) and not is_comparable(second):
        return None
    return bool(_without_floats(first) == _without_floats(second))


def is_comparable(value: Any) -> bool:
    """Return whether a value holds anything but floats; an empty list does."""
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
