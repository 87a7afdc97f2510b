"""Converts cells to the values of a task's fields."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.api import MAX_TEXT, Field, FieldKind, split_tag
from hub.data.read.cell_lists import UnreadableList, is_missing, literal, literal_list, split_cell
from hub.recipe.label_names import normal_label
from hub.recipe.recipe import LabelRules

__all__ = ["LABELLED", "Filtered", "Unusable", "check_relations", "convert", "labelled_fields", "labels_in"]

LABELLED = (FieldKind.LABEL, FieldKind.LABELS, FieldKind.TAGS, FieldKind.ENTITIES, FieldKind.RELATIONS)
_MAY_BE_EMPTY = (
    FieldKind.LABELS,
    FieldKind.ANSWERS,
    FieldKind.ENTITIES,
    FieldKind.RELATIONS,
    FieldKind.MESSAGES,
)
# Keys of our own format and Prodigy; of doccano; of Label Studio; of Hugging Face pipelines.
_ENTITY_KEYS = (
    ("start", "start_offset"),
    ("end", "end_offset"),
    ("label", "labels", "entity_group", "entity"),
)
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.0*)?")


class Unusable(Exception):
    """The row is invalid; the message is the reason and quotes none of its text."""


class Filtered(Exception):
    """The recipe excludes the row; the message is the reason."""


@dataclass(frozen=True, slots=True)
class _Cell:
    """Settings for reading cells: the recipe's label rules, and the separator of items in one cell."""

    rules: LabelRules
    separator: str | None = None


def convert(field: Field, value: Any, rules: LabelRules, separator: str | None = None) -> Any:
    """Convert a cell to the type of `field`; None for an empty optional cell.

    `separator` is the recipe's `data.separator`.

    Raises:
        Unusable: the cell cannot be converted.
        Filtered: the number is in none of the recipe's bins.
    """
    empty = _is_empty(field, value, rules)
    if empty and not field.required:
        return None
    if empty and field.kind not in _MAY_BE_EMPTY:
        raise Unusable(f"{field.name} is empty")
    try:
        return _CONVERTERS[field.kind](None if empty else value, _Cell(rules, separator))
    except (Unusable, UnreadableList) as error:
        raise Unusable(f"{field.name} {error}") from None


def _is_empty(field: Field, value: Any, rules: LabelRules) -> bool:
    """Return whether a cell is empty; for labels, pandas' `nan` counts as empty too."""
    if not isinstance(value, str):
        return is_missing(value)
    word = value.strip()
    return not word or (field.kind in LABELLED and is_missing(word) and word not in rules.rename)


def labelled_fields(fields: Iterable[Field]) -> list[Field]:
    """Return the fields that hold labels; of a task that learns relations, entities are part of the input."""
    found = [field for field in fields if field.kind in LABELLED]
    related = any(field.kind is FieldKind.RELATIONS for field in found)
    return [field for field in found if not (related and field.kind is FieldKind.ENTITIES)]


def labels_in(field: Field, value: Any) -> tuple[str, ...]:
    """Return the labels in a converted value, in order; for tags and entities, their distinct types."""
    if value is None or field.kind not in LABELLED:
        return ()
    if field.kind is FieldKind.LABEL:
        return (value,)
    if field.kind is FieldKind.TAGS:
        return _distinct(split_tag(tag)[1] for tag in value if tag != "O")
    if field.kind in (FieldKind.ENTITIES, FieldKind.RELATIONS):
        return _distinct(item["label"] for item in value)
    return tuple(value)


def _text(value: Any, cell: _Cell) -> str:
    if not isinstance(value, str):
        raise Unusable(f"is {_kind_of(value)}, not text")
    if len(value) > MAX_TEXT:
        raise Unusable(f"has {len(value):,} characters; at most {MAX_TEXT:,} are read")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unusable("is not UTF-8 text") from None
    return value


def _label(value: Any, cell: _Cell) -> str:
    """Also accept a list of one label, as some annotation tools export it."""
    value = _choices(value)
    items = literal_list(value) if isinstance(value, str) else value
    if isinstance(items, list | tuple):
        if len(items) != 1:
            raise Unusable(f"has {len(items)} labels instead of one")
        value = items[0]
    if cell.rules.bins:
        return _binned(_number(value, cell), cell.rules)
    return _known(_word(value, cell.rules), cell.rules)


def _labels(value: Any, cell: _Cell) -> tuple[str, ...]:
    if value is None:
        return ()
    items = _items(_choices(value), cell, ",", "labels")
    words = [_word(item, cell.rules) for item in items if not isinstance(item, str) or item.strip()]
    return _distinct(_known(word, cell.rules) for word in words)


def _items(value: Any, cell: _Cell, default: str | None, what: str) -> Sequence[Any]:
    """Return the items of a cell, which `default` separates if the recipe sets no separator."""
    items = split_cell(value, cell.separator, default) if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise Unusable(f"is {_kind_of(value)}, not a list of {what}")
    return items


def _choices(value: Any) -> Any:
    """Return the list in `{"choices": [...]}`, Label Studio's form of several labels; else the value."""
    found = value
    if isinstance(value, str) and value.lstrip().startswith('{"choices"'):
        found = literal(value)
    return found["choices"] if isinstance(found, Mapping) and "choices" in found else value


def _number(value: Any, cell: _Cell) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or isinstance(value, bool):
        raise Unusable("is not a number")
    return number


def _answers(value: Any, cell: _Cell) -> tuple[dict[str, Any], ...]:
    """Accept a list of objects, an object of two lists (as in Parquet), or either as JSON text."""
    return tuple(_answer(item, cell) for item in _objects(value, ("text", "answer_start"), "answers"))


def _answer(item: Any, cell: _Cell) -> dict[str, Any]:
    text = item.get("text") if isinstance(item, Mapping) else None
    start = item.get("answer_start") if isinstance(item, Mapping) else None
    if not isinstance(text, str) or not text or type(start) is not int or start < 0:
        raise Unusable("needs a text and an answer_start from 0 in each answer")
    return {"text": _text(text, cell), "answer_start": start}


def _tokens(value: Any, cell: _Cell) -> tuple[str, ...]:
    """Accept strings, and objects with a `text`, as some annotation tools export them."""
    items = _items(value, cell, None, "tokens")
    if not items:
        raise Unusable("is empty")
    texts = (item.get("text") if isinstance(item, Mapping) else item for item in items)
    tokens = tuple(_text(text, cell) for text in texts)
    if not all(token.strip() for token in tokens):
        raise Unusable("has an empty token")
    return tokens


def _tags(value: Any, cell: _Cell) -> tuple[str, ...]:
    """Rename whole tags, such as numbers, or the entity types in them."""
    items = _items(value, cell, None, "tags")
    if not items:
        raise Unusable("is empty")
    return tuple(_tag(_word(item, cell.rules), cell.rules) for item in items)


def _tag(tag: str, rules: LabelRules) -> str:
    tag = rules.rename.get(tag, tag)
    if _NUMBER.fullmatch(tag):
        raise Unusable(
            "has numbers instead of tags: map each number to a tag in data.labels.rename, such as "
            "{0: O, 1: B-PER, 2: I-PER}"
        )
    prefix, kind = split_tag(tag)
    if not kind:
        return tag
    kind = _known(kind, rules)
    return f"{prefix}-{kind}" if prefix else kind


def _entities(value: Any, cell: _Cell) -> tuple[dict[str, Any], ...]:
    """Accept the forms of `_answers`, and lists of start, end and label instead of objects."""
    return tuple(_entity(item, cell) for item in _objects(value, ("start", "end", "label"), "entities"))


def _entity(item: Any, cell: _Cell) -> dict[str, Any]:
    if isinstance(item, list | tuple) and len(item) == 3:
        item = dict(zip(("start", "end", "label"), item, strict=True))
    found = item if isinstance(item, Mapping) else {}
    start, end, label = (_first(found, names) for names in _ENTITY_KEYS)
    if isinstance(label, list | tuple) and len(label) == 1:
        label = label[0]
    if type(start) is not int or type(end) is not int or not 0 <= start < end or is_missing(label):
        raise Unusable("needs a start from 0, an end after it and a label in each entity")
    return {"start": start, "end": end, "label": _known(_word(label, cell.rules), cell.rules)}


def _relations(value: Any, cell: _Cell) -> tuple[dict[str, Any], ...]:
    """Accept the forms of `_entities`; a label may be called a type."""
    return tuple(_relation(item, cell) for item in _objects(value, ("head", "tail", "label"), "relations"))


def _relation(item: Any, cell: _Cell) -> dict[str, Any]:
    if isinstance(item, list | tuple) and len(item) == 3:
        item = dict(zip(("head", "tail", "label"), item, strict=True))
    found = item if isinstance(item, Mapping) else {}
    head, tail, label = found.get("head"), found.get("tail"), _first(found, ("label", "type"))
    if type(head) is not int or type(tail) is not int or min(head, tail) < 0 or is_missing(label):
        raise Unusable("needs the indices of two entities, head and tail, and a label in each relation")
    return {"head": head, "tail": tail, "label": _known(_word(label, cell.rules), cell.rules)}


def check_relations(fields: Iterable[Field], example: Mapping[str, Any]) -> None:
    """Check that the relations of an example are between two of its entities.

    Raises:
        Unusable: one names an entity that is not there, or one twice.
    """
    kinds = {field.kind: field.name for field in fields if example[field.name] is not None}
    if FieldKind.RELATIONS not in kinds or FieldKind.ENTITIES not in kinds:
        return
    known = len(example[kinds[FieldKind.ENTITIES]])
    for relation in example[kinds[FieldKind.RELATIONS]]:
        head, tail = relation["head"], relation["tail"]
        if max(head, tail) >= known or head == tail:
            name = kinds[FieldKind.RELATIONS]
            raise Unusable(f"{name} has one from entity {head} to {tail}, and there are {known} entities")


def _messages(value: Any, cell: _Cell) -> tuple[dict[str, str], ...]:
    """Accept the forms of `_answers`; the task checks the roles."""
    return tuple(_message(item, cell) for item in _objects(value, ("role", "content"), "messages"))


def _message(item: Any, cell: _Cell) -> dict[str, str]:
    role, content = (item.get("role"), item.get("content")) if isinstance(item, Mapping) else (None, None)
    if not isinstance(role, str) or not isinstance(content, str) or not content:
        raise Unusable("needs a role and a content, both text, in each message")
    return {"role": _text(role, cell), "content": _text(content, cell)}


def _first(item: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((item[name] for name in names if item.get(name) is not None), None)


_CONVERTERS: dict[FieldKind, Callable[[Any, _Cell], Any]] = {
    FieldKind.TEXT: _text,
    FieldKind.LABEL: _label,
    FieldKind.LABELS: _labels,
    FieldKind.ANSWERS: _answers,
    FieldKind.TOKENS: _tokens,
    FieldKind.TAGS: _tags,
    FieldKind.ENTITIES: _entities,
    FieldKind.RELATIONS: _relations,
    FieldKind.NUMBER: _number,
    FieldKind.MESSAGES: _messages,
}


def _objects(value: Any, keys: tuple[str, ...], what: str) -> list[Any]:
    """Return the objects in a cell: a list, its JSON or Python text, or an object of one list per key."""
    if isinstance(value, str):
        value = literal(value) if value.strip() else []
    if isinstance(value, Mapping):
        columns = [column for key in keys if isinstance(column := value.get(key), list)]
        if len(columns) < len(keys) or len({len(column) for column in columns}) > 1:
            *most, last = keys
            raise Unusable(f"needs the lists {', '.join(most)} and {last}, of equal length")
        value = [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
    if value is not None and not isinstance(value, list):
        raise Unusable(f"is {_kind_of(value)}, not a list of {what}")
    return value or []


def _distinct(labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(labels))


def _word(value: Any, rules: LabelRules) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise Unusable(f"is {_kind_of(value)}, not a label")
    word = normal_label(_text(str(value), _Cell(rules)))
    if not word or (is_missing(value) and word not in rules.rename):
        raise Unusable("is empty" if not word else "lacks a label")
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
    raise Filtered("in none of labels.bins")


def _kind_of(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}" if value is not None else "nothing")
