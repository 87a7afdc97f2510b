"""Matches the columns of a data set to the fields of a task, by name and by content."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hub.api import Field, FieldKind
from hub.data.fields import LABELLED, Unusable, convert
from hub.data.profile.sniff import Column, Sniff
from hub.data.read.cell_lists import UnreadableList, is_missing, literal_list
from hub.errors import BadData
from hub.recipe.recipe import LabelRules

__all__ = ["is_text", "label_column", "label_separator", "match_columns", "separator_of"]

SAMPLE = 500  # rows
MAX_LABELS = 200
MAX_LABEL_CHARS = 40
_MARKS = ("|", ";", ",", "/")  # separators of the labels in a cell
_LABEL = Field("label", FieldKind.LABEL, "")
_LABELS = Field("labels", FieldKind.LABELS, "")
_TAGS = Field("tags", FieldKind.TAGS, "")
_ENTITIES = Field("entities", FieldKind.ENTITIES, "")
_SYNONYMS = {
    "text": "sentence review content body message comment tweet post document utterance description input",
    "text_pair": "text2 sentence2 second hypothesis",
    "label": "class category target sentiment polarity rating stars score intent topic answer output",
    "labels": "tags classes categories topics genres choices accept",
    "question": "query ask",
    "context": "passage paragraph document text",
    "answers": "answer",
    "prompt": "instruction question query input",
    "completion": "response answer output target",
    "document": "article text content passage body",
    "summary": "highlights abstract target output",
    "messages": "conversation conversations dialogue",
    "source": "src input original from",
    "target": "tgt translation translated output to",
    "tokens": "words",
    "tags": "ner_tags labels ner",
    "image": "img picture photo file path filename file_name image_path",
    "entities": "spans annotations ner label labels",
}
_NO_LABEL = re.compile(r"(?:id|idx|index|split|url|date|time|timestamp|author|user)$|.*_id$", re.IGNORECASE)


def match_columns(
    fields: Sequence[Field], found: Sniff, given: Mapping[str, str], task: str
) -> dict[str, Column]:
    """Map fields to columns; `given` maps fields to columns that are fixed.

    Of several optional labelled fields, such as `label` and `labels`, only the one that fits the content of
    the column is matched.

    Raises:
        BadData: a given field or column does not exist, or no column fits a field that the task needs.
    """
    matched = _given(fields, found, given, task)
    for known in ("name", "synonym"):
        for field in fields:
            if field.name not in matched and (column := _named(field, found, matched, known)) is not None:
                matched[field.name] = column
    labelled = [field for field in fields if field.kind in LABELLED]
    missing = [field for field in fields if field.required and field.name not in matched]
    many_texts = sum(field.kind is FieldKind.TEXT for field in missing) > 1
    for field in missing:
        in_order = many_texts and field.kind is FieldKind.TEXT
        matched[field.name] = _by_content(field, found, matched, task, in_order)
    if labelled and not any(field.name in matched for field in labelled):
        best = next((field for field in labelled if _best(field, found, matched) is not None), labelled[0])
        matched[best.name] = _by_content(best, found, matched, task)
    if labelled and not any(field.required for field in labelled):
        _keep_one(labelled, fields, found, matched, given)
    return {field.name: matched[field.name] for field in fields if field.name in matched}


def label_separator(found: Sniff, columns: Iterable[tuple[Field, Column]]) -> str | None:
    """Return the separator in the cells of the multi-label column; None without one."""
    column = next((column for field, column in columns if field.kind is FieldKind.LABELS), None)
    return None if column is None else separator_of(list(found.values(column)))


def separator_of(values: Sequence[Any]) -> str | None:
    """Return the separator between labels in the cells of a column; None if there is none.

    A mark is a separator if it yields fewer distinct parts than there are distinct cells, because labels
    recur in several combinations. The commas of `Paris, France` and `Oslo, Norway` are not separators.
    """
    cells = {value for value in values if isinstance(value, str) and _literal(value) is None}
    found = None
    min_parts = len({cell.strip() for cell in cells})
    for mark in _MARKS:
        parts = {part.strip() for cell in cells for part in cell.split(mark)}
        if (
            any(mark in cell for cell in cells)
            and len(parts) < min_parts
            and max(map(len, parts)) <= MAX_LABEL_CHARS
        ):
            found, min_parts = mark, len(parts)
    return found


def _keep_one(
    labelled: Sequence[Field],
    fields: Sequence[Field],
    found: Sniff,
    matched: dict[str, Column],
    given: Mapping[str, str],
) -> None:
    """Keep one of several labelled fields in `matched`, and no tokens next to a text with entities."""
    chosen = [field for field in labelled if field.name in matched]
    if len([field for field in chosen if field.name in given]) > 1:
        return
    first = next((field for field in chosen if field.name in given), chosen[0])
    if first.name not in given and first.kind in (FieldKind.LABEL, FieldKind.LABELS):
        kind = FieldKind.LABELS if _is_multi_label(_values(found, matched[first.name])) else FieldKind.LABEL
        column = matched[first.name]
        first = next((field for field in labelled if field.kind is kind), first)
        matched[first.name] = column
    for field in labelled:
        if field.name != first.name:
            matched.pop(field.name, None)
    if first.kind is FieldKind.ENTITIES:
        for field in fields:
            if field.kind is FieldKind.TOKENS and not field.required and field.name not in given:
                matched.pop(field.name, None)


def _is_multi_label(values: Sequence[Any]) -> bool:
    """Return whether cells have any number of labels: lists other than of one label, or separated labels."""
    for value in values:
        items = _literal(value) if isinstance(value, str) else value
        if isinstance(items, Mapping) or (isinstance(items, list | tuple) and len(items) != 1):
            return True
    return separator_of(values) is not None


def _literal(value: str) -> list[Any] | None:
    try:
        return literal_list(value)
    except UnreadableList:
        return None


def _column_for(field: Field, found: Sniff) -> Column | None:
    for known in ("name", "synonym"):
        if (column := _named(field, found, {}, known)) is not None:
            return column
    return _best(field, found, {})


def label_column(found: Sniff) -> tuple[Field, Column] | None:
    """Return the probable column of labels, tags or entities, and a field of its name; None without one."""
    for field in (_TAGS, _ENTITIES):
        if (column := _best(field, found, {})) is not None:
            return replace(field, name=str(column), required=False), column
    column = _column_for(_LABEL, found)
    if column is None:
        column = _column_for(_LABELS, found)
        if column is None or _score(_LABELS, column, _values(found, column)) is None:
            return None
    multi_label = _is_multi_label(_values(found, column))
    return replace(_LABELS if multi_label else _LABEL, name=str(column), required=False), column


def is_text(values: Sequence[Any]) -> bool:
    """Return whether a column's values are texts rather than words, numbers or ids."""
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    spaced = sum(len(text.split()) > 1 or not text.isascii() for text in texts)
    return bool(texts) and spaced >= 0.3 * len(texts) and len(texts) >= 0.5 * len(_filled(values))


def _is_label(name: Column, values: Sequence[Any]) -> bool:
    """Return whether a column's values are a few short words or numbers that recur."""
    try:
        words = [convert(_LABEL, value, LabelRules()) for value in values]
    except Unusable:
        return False
    return _recur(words, len(words)) and not _NO_LABEL.match(str(name))


def _recur(words: Sequence[str], rows: int) -> bool:
    """Return whether the words are short, and few for the number of rows."""
    distinct = set(words)
    few = 1 < len(distinct) <= max(2, min(MAX_LABELS, rows // 2))
    return few and max(map(len, distinct)) <= MAX_LABEL_CHARS


def _given(fields: Sequence[Field], found: Sniff, given: Mapping[str, str], task: str) -> dict[str, Column]:
    matched: dict[str, Column] = {}
    names = [field.name for field in fields]
    for name, text in given.items():
        column: Column = int(text) if text.isdecimal() and text not in found.columns else text
        if name not in names:
            raise BadData(f"--column {name}: task {task} has no such field. It has: {', '.join(names)}.")
        if column not in found.columns:
            raise BadData(f"--column {name}: {found.name} has no column {column!r}. {_available(found)}")
        matched[name] = column
    return matched


def _named(field: Field, found: Sniff, matched: Mapping[str, Column], by: str) -> Column | None:
    names = [field.name] if by == "name" else _SYNONYMS.get(field.name, "").split()
    free = {str(column).casefold(): column for column in found.columns if column not in matched.values()}
    return next(
        (free[name] for name in names if name in free and _fits(field, _values(found, free[name]))), None
    )


def _by_content(
    field: Field, found: Sniff, matched: Mapping[str, Column], task: str, in_order: bool = False
) -> Column:
    column = _best(field, found, matched, in_order)
    if column is None:
        taken = ", ".join(f"{name}={column}" for name, column in matched.items())
        known = f" (found: {taken})" if taken else ""
        remedy = _parse_problem(found, matched) or f"Name it: --column {field.name}=COLUMN."
        raise BadData(
            f"{found.name}: no column seems to be the field {field.name!r} of task {task}: {field.summary} "
            f"{_available(found)}{known} {remedy}"
        )
    return column


def _parse_problem(found: Sniff, matched: Mapping[str, Column]) -> str:
    """Return why a column whose name suggests tags or entities cannot be parsed."""
    for field in (_TAGS, _ENTITIES):
        for name in [field.name, *_SYNONYMS[field.name].split()]:
            column = next((one for one in found.columns if str(one).casefold() == name), None)
            if column is None or column in matched.values():
                continue
            for value in _values(found, column):
                try:
                    convert(field, value, LabelRules())
                except Unusable as error:
                    return f"Column {column!r} cannot be read: {error}."
    return ""


def _best(field: Field, found: Sniff, matched: Mapping[str, Column], in_order: bool = False) -> Column | None:
    """Return the unmatched column whose content fits the field best.

    `in_order` returns the first one that fits: content does not distinguish a text from its translation.
    """
    scores = {}
    for column in found.columns:
        values = _values(found, column)
        if column not in matched.values() and _fits(field, values):
            score = _score(field, column, values)
            if score is not None:
                scores[column] = score
    if in_order:
        return next(iter(scores), None)
    return max(scores, key=lambda column: scores[column], default=None)


def _score(field: Field, column: Column, values: Sequence[Any]) -> float | None:
    """Return how well a column fits a field; None if it does not."""
    if field.kind is FieldKind.TEXT:
        return sum(len(str(value)) for value in values) / len(values) if is_text(values) else None
    if field.kind is FieldKind.LABEL:
        return -len(set(map(str, values))) if _is_label(column, values) else None
    if field.kind is FieldKind.TAGS:
        words = [word for value in values for word in _converted(field, value)]
        tags = sum(word == "O" or word[:2] in ("B-", "I-") for word in words)
        return 1.0 if words and tags >= 0.5 * len(words) else None
    if field.kind is FieldKind.NUMBER:
        return 1.0
    lists = any(not isinstance(value, str) or _literal(value) is not None for value in values)
    items = [_converted(field, value) for value in values]
    words = [word for some in items for word in some]
    if not lists or (field.kind is FieldKind.LABELS and not _recur(words, len(values))):
        return None
    filled = sum(map(bool, items))
    return filled / len(values) if filled else None


def _converted(field: Field, value: Any) -> Sequence[Any]:
    try:
        return convert(field, value, LabelRules()) or ()
    except Unusable:
        return ()


def _fits(field: Field, values: Sequence[Any]) -> bool:
    """Return whether most of a column's values can be converted to the field."""
    good = 0
    for value in values:
        try:
            convert(field, value, LabelRules())
        except Unusable:
            continue
        good += 1
    return good > 0.5 * len(values)


def _values(found: Sniff, column: Column) -> list[Any]:
    return _filled(list(found.values(column)))[:SAMPLE]


def _filled(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if not is_missing(value) and value != ""]


def _available(found: Sniff) -> str:
    return f"The columns are: {', '.join(map(str, found.columns))}."
