"""Whether two versions gave the same answer."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

__all__ = ["agree"]


def agree(one: BaseModel, other: BaseModel) -> bool:
    """Whether two responses of a task say the same: equal once every float is left out.

    Labels, spans, texts, numbers of characters, what is true and what is null count; scores do not. The
    order of a list counts, also where scores made it: a second-best label that differs is a difference.
    """
    return bool(_said(one.model_dump()) == _said(other.model_dump()))


def _said(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _said(inner) for key, inner in value.items() if not isinstance(inner, float)}
    if isinstance(value, list | tuple):
        return [_said(inner) for inner in value if not isinstance(inner, float)]
    return None if isinstance(value, float) else value
