"""Whether two versions gave the same answer, by the task's own comparison."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from hub.answers import is_comparable
from hub.api import Task
from hub.registry.loaded import LoadedTask

__all__ = ["agree", "can_agree", "has_own_agrees"]


def agree(task: Task[Any, Any], one: BaseModel, other: BaseModel) -> bool | None:
    """Return whether two responses say the same; None if the task cannot tell.

    Raises:
        TypeError: the task's `agrees` returns something else.
    """
    found: object = task.agrees(one, other)
    if found is not None and not isinstance(found, bool):
        raise TypeError(f"agrees() returns {type(found).__name__} and not True, False or None")
    return found


def can_agree(loaded: LoadedTask) -> bool:
    """Tell whether answers of a task can be compared: by its `agrees`, or if they hold more than floats."""
    if has_own_agrees(loaded.task):
        return True
    examples = loaded.response.model_json_schema().get("examples", ())
    return any(is_comparable(loaded.response.model_validate(one).model_dump()) for one in examples)


def has_own_agrees(task: Task[Any, Any]) -> bool:
    """Tell whether a task brings its own comparison of answers."""
    return type(task).agrees is not Task.agrees
