"""Grades answers by feedback labels, with the task's own comparison or a general one."""

from __future__ import annotations

import asyncio
import json
import math
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from hub.answers import is_comparable
from hub.api import Task
from hub.errors import BadRequest, NotFound
from hub.registry.host import Registry
from hub.registry.loaded import LoadedTask
from hub.store.catalog.feedback import StoredAnswer
from hub.store.store import Store

__all__ = ["Comparer", "Label", "agree", "can_agree", "has_own_agrees", "is_correct", "matches"]

Result = TypeVar("Result")

TOLERANCE = 1e-6  # of numbers, which JSON and float32 round

Label = str | Sequence[str] | Mapping[str, Any]

_SAME = {"label": "entity_group"}  # the field of entities in training data, and in answers


class Read(Protocol):
    """Runs plugin code in a thread of its task, under its time limit; `Pipeline.read` does."""

    def __call__(
        self, task: LoadedTask, call: Callable[[], Result], step: str = ...
    ) -> Awaitable[Result]: ...


@dataclass(frozen=True, slots=True)
class Comparer:
    """Compares stored answers with labels as the answer's task does."""

    registry: Registry
    store: Store
    read: Read

    async def __call__(self, answer: StoredAnswer, label: Label) -> bool:
        """Return whether an answer is correct.

        Raises:
            BadRequest: as `is_correct`.
            PluginTimeout, PluginSuspended, PluginFailed: the task's `agrees` hangs or fails.
        """
        response = json.loads(answer.response)
        if isinstance(label, Mapping) and (task := await asyncio.to_thread(self._task, answer)):
            call = partial(matches, task, response, label)
            if (found := await self.read(task, call, "agrees")) is not None:
                return found
        return await asyncio.to_thread(is_correct, response, label)

    def _task(self, answer: StoredAnswer) -> LoadedTask | None:
        """Return the task of an answer, if it is installed and has its own comparison."""
        try:
            version = self.store.get(answer.version)
            task = self.registry.task(version.manifest.serving.task)
        except NotFound:
            return None
        return task if has_own_agrees(task.task) else None


def matches(task: LoadedTask, response: Mapping[str, Any], label: Mapping[str, Any]) -> bool | None:
    """Compare a response with a copy that has the fields of `label`, by the task's `agrees`.

    Runs plugin code. Returns None if the copy is no valid answer of the task, or if the task cannot decide.
    """
    if not label or not label.keys() <= response.keys():
        return None
    try:
        predicted, expected = (
            # Strict: by default a string of digits or a boolean would be accepted as a number.
            task.response.model_validate_json(json.dumps(fields), strict=True, by_name=True)
            for fields in (response, {**response, **label})
        )
    except ValidationError:
        return None
    return agree(task.task, predicted, expected)


def is_correct(response: Mapping[str, Any], label: Label) -> bool:
    """Return whether a response, as JSON values, matches its label.

    - A response with `labels`, or else `label`: they must equal the given labels as a set.
    - Any other response: its first string (`answer`, `translation`, ...) must equal one of the given texts,
      up to case, punctuation and white space.
    - An object as label: each of its fields must equal that of the response; strings as above, numbers up to
      rounding. Lists of objects, such as entities, are compared regardless of order, in the fields that the
      label has.

    Raises:
        BadRequest: the label is no object and the response has floats only.
    """
    if isinstance(label, Mapping):
        return bool(label) and all(
            key in response and _equal(response[key], expected) for key, expected in label.items()
        )
    expected = {label} if isinstance(label, str) else set(label)
    chosen = _labels(response)
    if chosen is not None:
        return chosen == expected
    answer = next((value for value in response.values() if isinstance(value, str)), None)
    if answer is None and response and not is_comparable(dict(response)):
        raise BadRequest(
            "This answer holds only floating-point numbers, so no label can be compared with it. Send an "
            f"object with the true value of a field, one of: {', '.join(response)}."
        )
    return answer is not None and _normal(answer) in {_normal(text) for text in expected}


def _labels(response: Mapping[str, Any]) -> set[str] | None:
    """Return the predicted labels of a response; None if it has no field for them."""
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


def _equal(answer: Any, expected: Any) -> bool:
    if isinstance(answer, str) and isinstance(expected, str):
        return _normal(answer) == _normal(expected)
    if isinstance(answer, list) and isinstance(expected, list):
        if all(isinstance(item, Mapping) for item in (*answer, *expected)):
            items = [_renamed(item) for item in expected]
            keys = sorted({key for item in items for key in item})
            return _selected(map(_renamed, answer), keys) == _selected(items, keys)
        return len(answer) == len(expected) and all(map(_equal, answer, expected))
    if _is_number(answer) and _is_number(expected):
        return _is_close(answer, expected)
    return bool(answer == expected) and isinstance(answer, bool) == isinstance(expected, bool)


def _is_close(answer: float, expected: float) -> bool:
    try:
        return math.isclose(answer, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    except OverflowError:  # a whole number beyond all floats
        return answer == expected


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _renamed(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return {_SAME.get(key, key): value for key, value in item.items()}


def _selected(items: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    """Return the values of those fields of each item, sorted."""
    return sorted(repr([item.get(key) for key in keys]) for item in items)


def _normal(text: str) -> str:
    """Normalise case, punctuation, white space and Unicode compatibility forms."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(" " if unicodedata.category(mark).startswith("P") else mark for mark in folded)
    return " ".join(kept.split())


def agree(task: Task[Any, Any], one: BaseModel, other: BaseModel) -> bool | None:
    """Return whether two responses agree; None if the task cannot decide.

    Raises:
        TypeError: the task's `agrees` returns something else.
    """
    found: object = task.agrees(one, other)
    if found is not None and not isinstance(found, bool):
        raise TypeError(f"agrees() returns {type(found).__name__} and not True, False or None")
    return found


def can_agree(loaded: LoadedTask) -> bool:
    """Return whether answers of a task can be compared: by its `agrees`, or as more than floats."""
    if has_own_agrees(loaded.task):
        return True
    examples = loaded.response.model_json_schema().get("examples", ())
    return any(is_comparable(loaded.response.model_validate(one).model_dump()) for one in examples)


def has_own_agrees(task: Task[Any, Any]) -> bool:
    """Return whether a task has its own comparison of answers."""
    return type(task).agrees is not Task.agrees
