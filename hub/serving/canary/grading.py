"""Whether an answer was right, by a label that came later: by the task's own comparison, or one for all."""

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

__all__ = ["Comparer", "Label", "agree", "can_agree", "has_own_agrees", "is_right", "matches"]

Result = TypeVar("Result")

TOLERANCE = 1e-6  # of numbers, which JSON and float32 round

Label = str | Sequence[str] | Mapping[str, Any]

_SAME = {"label": "entity_group"}  # what training data call it, and what answers do


class Read(Protocol):
    """Runs plugin code in a thread of its task, under its time limit; `Pipeline.read` does."""

    def __call__(
        self, task: LoadedTask, call: Callable[[], Result], step: str = ...
    ) -> Awaitable[Result]: ...


@dataclass(frozen=True, slots=True)
class Comparer:
    """Compares kept answers with labels, in the way that the answer's task compares answers."""

    registry: Registry
    store: Store
    read: Read

    async def __call__(self, answer: StoredAnswer, label: Label) -> bool:
        """Tell whether an answer was right.

        Raises:
            BadRequest: as `is_right`.
            PluginTimeout, PluginSuspended, PluginFailed: the task's `agrees` hangs or fails.
        """
        response = json.loads(answer.response)
        if isinstance(label, Mapping) and (task := await asyncio.to_thread(self._task, answer)):
            call = partial(matches, task, response, label)
            if (found := await self.read(task, call, "agrees")) is not None:
                return found
        return await asyncio.to_thread(is_right, response, label)

    def _task(self, answer: StoredAnswer) -> LoadedTask | None:
        """Return the task that gave an answer, if it is still here and compares answers itself."""
        try:
            version = self.store.get(answer.version)
            task = self.registry.task(version.manifest.serving.task)
        except NotFound:
            return None
        return task if has_own_agrees(task.task) else None


def matches(task: LoadedTask, response: Mapping[str, Any], label: Mapping[str, Any]) -> bool | None:
    """Compare a response with itself in which the fields of `label` are replaced, by the task's `agrees`.

    None if that makes no answer of the task, or if the task cannot tell. Runs plugin code.
    """
    if not label or not label.keys() <= response.keys():
        return None
    try:
        given, right = (
            # Strict: by default a text of digits or a truth value would pass for a number.
            task.response.model_validate_json(json.dumps(fields), strict=True, by_name=True)
            for fields in (response, {**response, **label})
        )
    except ValidationError:
        return None
    return agree(task.task, given, right)


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
