"""Examples with emoji and combining marks before their texts, and the places of an answer in them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from hub.api import Example, Field, FieldKind
from hub.errors import HubError
from hub.registry.loaded import LoadedTask

__all__ = ["PREFIX", "misplaced", "with_prefix"]

PREFIX = "👍🏽 cafe\u0301 日本 "


def with_prefix(example: Example, loaded: LoadedTask) -> tuple[Example, BaseModel] | None:
    """Return an example whose texts begin with PREFIX, and its request; None if the task takes no such text.

    Offsets in it are moved. If a text cannot have the prefix, such as a language, only the longest has it.
    """
    fields = loaded.task.fields
    texts = [field.name for field in fields if field.kind is FieldKind.TEXT and example.get(field.name)]
    longest = sorted(texts, key=lambda name: len(example[name]))[-1:]
    for prefixed in (texts, longest):
        moved = {field.name: _moved(field, example.get(field.name), prefixed) for field in fields}
        try:
            return {**example, **moved}, loaded.task.request({**example, **moved})
        except (HubError, ValidationError):
            continue
    return None


def _moved(field: Field, value: Any, texts: Collection[str]) -> Any:
    shift = len(PREFIX)
    if not value:
        return value
    match field.kind:
        case FieldKind.TEXT:
            return PREFIX + value if field.name in texts else value
        case FieldKind.ANSWERS:
            return tuple({**one, "answer_start": one["answer_start"] + shift} for one in value)
        case FieldKind.ENTITIES:
            return tuple({**one, "start": one["start"] + shift, "end": one["end"] + shift} for one in value)
        case FieldKind.TOKENS | FieldKind.TAGS:
            words = PREFIX.split()
            return (*(words if field.kind is FieldKind.TOKENS else ("O" for _ in words)), *value)
    return value


def misplaced(request: Any, answer: Any) -> list[str]:
    """Return the parts of an answer whose `start` and `end` are not those of their text in the request.

    A part has `start`, `end` and one of `text`, `answer` and `word`. One that is empty has no place.
    """
    texts = list(_texts(request))
    wrong = []
    for part in _parts(answer):
        start, end = part["start"], part["end"]
        text = next((part[key] for key in ("text", "answer", "word") if isinstance(part.get(key), str)), "")
        if text and not any(whole[start:end] == text for whole in texts):
            wrong.append(f"{text!r} is not at {start}:{end}")
    return wrong


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        if value and all(isinstance(one, str) for one in value):
            yield " ".join(value)
        for one in value:
            yield from _texts(one)


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if isinstance(value.get("start"), int) and isinstance(value.get("end"), int):
            yield value
        for one in value.values():
            yield from _parts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _parts(one)
