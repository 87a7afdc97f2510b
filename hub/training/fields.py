"""From a cell to the value a task's field needs; what cannot become one is said in a few words."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hub.api import MAX_TEXT, Field, FieldKind, split_tag
from hub.training.recipe import LabelRules

__all__ = ["LABELLED", "LeftOut", "Unusable", "convert", "labels_in"]

LABELLED = (FieldKind.LABEL, FieldKind.LABELS, FieldKind.TAGS, FieldKind.ENTITIES)


class Unusable(Exception):
    """The row is bad; the message is the reason and quotes none of its text."""


class LeftOut(Exception):
    """The recipe leaves the row out on purpose; the message is the reason."""


def convert(field: Field, value: Any, rules: LabelRules) -> Any:
    """Return the cell's value as `field` needs it; None for an optional one that is empty.

    Raises:
        Unusable: it cannot be.
        LeftOut: it lies in none of the recipe's bins.
    """
    empty = value is None or (isinstance(value, str) and not value.strip())
    if empty and not field.required:
        return None
    if empty and field.kind not in (FieldKind.LABELS, FieldKind.ANSWERS, FieldKind.ENTITIES):
        raise Unusable(f"{field.name} is empty")
    try:
        return _CONVERTERS[field.kind](value, rules)
    except Unusable as error:
        raise Unusable(f"{field.name} {error}") from None


def labels_in(field: Field, value: Any) -> tuple[str, ...]:
    """Return the labels that a converted value holds, in its order; of tags and entities their types."""
    if value is None or field.kind not in LABELLED:
        return ()
    if field.kind is FieldKind.LABEL:
        return (value,)
    if field.kind is FieldKind.TAGS:
        return _distinct(split_tag(tag)[1] for tag in value if tag != "O")
    if field.kind is FieldKind.ENTITIES:
        return _distinct(entity["label"] for entity in value)
    return tuple(value)


def _text(value: Any, rules: LabelRules) -> str:
    if not isinstance(value, str):
        raise Unusable(f"is {_kind_of(value)}, not text")
    if len(value) > MAX_TEXT:
        raise Unusable(f"has {len(value):,} characters; at most {MAX_TEXT:,} are read")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unusable("is not UTF-8 text") from None
    return value


def _label(value: Any, rules: LabelRules) -> str:
    if rules.bins:
        return _binned(_number(value, rules), rules)
    return _known(_word(value), rules)


def _labels(value: Any, rules: LabelRules) -> tuple[str, ...]:
    if value is None:
        return ()
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise Unusable(f"is {_kind_of(value)}, not a list of labels")
    words = [_word(item) for item in items if not isinstance(item, str) or item.strip()]
    return _distinct(_known(word, rules) for word in words)


def _number(value: Any, rules: LabelRules) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or isinstance(value, bool):
        raise Unusable("is not a number")
    return number


def _answers(value: Any, rules: LabelRules) -> tuple[dict[str, Any], ...]:
    """Accept a list of objects, an object of two lists (as Parquet has it), or either as JSON text."""
    return tuple(_answer(item, rules) for item in _objects(value, ("text", "answer_start"), "answers"))


def _answer(item: Any, rules: LabelRules) -> dict[str, Any]:
    text = item.get("text") if isinstance(item, Mapping) else None
    start = item.get("answer_start") if isinstance(item, Mapping) else None
    if not isinstance(text, str) or not text or type(start) is not int or start < 0:
        raise Unusable("needs a text and an answer_start from 0 in each answer")
    return {"text": _text(text, rules), "answer_start": start}


def _tokens(value: Any, rules: LabelRules) -> tuple[str, ...]:
    """Accept strings, and objects with a `text`, as some annotation tools write them."""
    items = value.split() if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise Unusable(f"is {_kind_of(value)}, not a list of tokens")
    if not items:
        raise Unusable("is empty")
    texts = (item.get("text") if isinstance(item, Mapping) else item for item in items)
    tokens = tuple(_text(text, rules) for text in texts)
    if not all(token.strip() for token in tokens):
        raise Unusable("has an empty token")
    return tokens


def _tags(value: Any, rules: LabelRules) -> tuple[str, ...]:
    """Rename whole tags, such as the numbers of a data set, or the types in them."""
    items = value.split() if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise Unusable(f"is {_kind_of(value)}, not a list of tags")
    if not items:
        raise Unusable("is empty")
    return tuple(_tag(_word(item), rules) for item in items)


def _tag(tag: str, rules: LabelRules) -> str:
    tag = rules.rename.get(tag, tag)
    prefix, kind = split_tag(tag)
    if not kind:
        return tag
    kind = _known(kind, rules)
    return f"{prefix}-{kind}" if prefix else kind


def _entities(value: Any, rules: LabelRules) -> tuple[dict[str, Any], ...]:
    """Accept what `_answers` does, and lists of start, end and label in place of objects."""
    return tuple(_entity(item, rules) for item in _objects(value, ("start", "end", "label"), "entities"))


def _entity(item: Any, rules: LabelRules) -> dict[str, Any]:
    if isinstance(item, list | tuple) and len(item) == 3:
        item = dict(zip(("start", "end", "label"), item, strict=True))
    start, end, label = (
        (item.get("start"), item.get("end"), item.get("label", item.get("entity_group")))
        if isinstance(item, Mapping)
        else (None, None, None)
    )
    if type(start) is not int or type(end) is not int or not 0 <= start < end or label is None:
        raise Unusable("needs a start from 0, an end after it and a label in each entity")
    return {"start": start, "end": end, "label": _known(_word(label), rules)}


_CONVERTERS: dict[FieldKind, Callable[[Any, LabelRules], Any]] = {
    FieldKind.TEXT: _text,
    FieldKind.LABEL: _label,
    FieldKind.LABELS: _labels,
    FieldKind.ANSWERS: _answers,
    FieldKind.TOKENS: _tokens,
    FieldKind.TAGS: _tags,
    FieldKind.ENTITIES: _entities,
    FieldKind.NUMBER: _number,
}


def _objects(value: Any, keys: tuple[str, ...], what: str) -> list[Any]:
    """Return a list that a cell holds as it is, as JSON, or as one list for each of the keys."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else []
        except (ValueError, RecursionError):
            raise Unusable("is not JSON") from None
    if isinstance(value, Mapping):
        columns = [column for key in keys if isinstance(column := value.get(key), list)]
        if len(columns) < len(keys) or len({len(column) for column in columns}) > 1:
            *most, last = keys
            raise Unusable(f"needs the lists {', '.join(most)} and {last}, of one length")
        value = [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
    if value is not None and not isinstance(value, list):
        raise Unusable(f"is {_kind_of(value)}, not a list of {what}")
    return value or []


def _distinct(labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(labels))


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise Unusable(f"is {_kind_of(value)}, not a label")
    word = _text(str(value), LabelRules()).strip()
    if not word:
        raise Unusable("is empty")
    return word


def _known(word: str, rules: LabelRules) -> str:
    label = rules.rename.get(word, word)
    if rules.only and label not in rules.only:
        raise Unusable(f"is {label[:40]!r}, which is not one of {', '.join(rules.only)}")
    return label


def _binned(number: float, rules: LabelRules) -> str:
    for bin in rules.bins:
        above = bin.min is None or number >= bin.min
        below = bin.max is None or number <= bin.max
        if above and below:
            return bin.label
    raise LeftOut("in none of labels.bins")


def _kind_of(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}" if value is not None else "nothing")
