"""Counts, lengths, labels, duplicates, languages and odd rows of some data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from hub.api import Field, FieldKind
from hub.training.columns import is_text, label_column, match_columns, separator_of
from hub.training.duplicates import NearDuplicates
from hub.training.examples import AnyTask, Item
from hub.training.fields import LABELLED, LeftOut, Unusable, convert
from hub.training.hygiene import conflicting, label_counts, labels_of
from hub.training.inspect.languages import languages
from hub.training.inspect.oddities import oddities, very_long
from hub.training.label_names import look_alikes
from hub.training.peek import Column, Peek
from hub.training.progress import Progress, silent
from hub.training.recipe import LabelRules
from hub.training.rows import RawRow
from hub.training.split import same_example

__all__ = ["ColumnLook", "Look", "look"]

NEAR = 0.85  # the default of data.near_threshold
MOST_PLACES = 1000  # of one oddity
_QUANTILES = {"min": 0.0, "25 %": 0.25, "50 %": 0.5, "75 %": 0.75, "95 %": 0.95, "max": 1.0}
_TEXTS = (FieldKind.TEXT, FieldKind.TOKENS)
_GUESSED = (Field("text", FieldKind.TEXT, "The text."), Field("label", FieldKind.LABEL, "Its label.", False))


@dataclass(frozen=True, slots=True)
class ColumnLook:
    """One column; `lengths` are quantiles in characters, of a column of texts alone."""

    name: str
    use: str
    filled: int
    distinct: int
    lengths: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Look:
    """What is to be known of some data; none of it quotes a text.

    `odd` has the places of the rows for each thing that is odd about them. `characters` are the lengths of
    all texts of each column.
    """

    name: str
    rows: int
    unread: int
    columns: tuple[ColumnLook, ...]
    characters: Mapping[str, Sequence[int]]
    labels: Mapping[str, int]
    languages: Mapping[str, int]
    odd: Mapping[str, Sequence[str]]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, with at most MOST_PLACES places of each oddity."""
        columns = [
            {"name": one.name, "use": one.use, "filled": one.filled, "distinct": one.distinct}
            | ({"characters": dict(one.lengths)} if one.lengths else {})
            for one in self.columns
        ]
        return {
            "name": self.name,
            "rows": self.rows,
            "unread": self.unread,
            "columns": columns,
            "labels": dict(self.labels),
            "languages": dict(self.languages),
            "odd": {
                what: {"rows": len(places), "places": list(places[:MOST_PLACES])}
                for what, places in self.odd.items()
            },
        }


@dataclass(frozen=True, slots=True)
class _Shape:
    """The fields that are looked at, in the place of a task's."""

    fields: tuple[Field, ...]


def look(
    found: Peek,
    task: AnyTask | None = None,
    name: str = "",
    progress: Progress = silent,
    columns: Mapping[str, str] = MappingProxyType({}),
) -> Look:
    """Look at rows; the task `name` says which columns matter, else their names and values do.

    `columns` name the columns of fields; without a task, those of `text` and `label`.

    Raises:
        BadData: the task needs a field that no column holds, or there is no such field or column.
    """
    matched = _columns(found, task, name, columns)
    separator = _separator(found, matched)
    items: list[Item] = []
    odd: dict[str, list[str]] = {}
    for bad in found.unread:
        odd.setdefault(f"cannot be read: {bad.reason}", []).append(_place(bad.source, bad.line))
    for row in found.rows:
        item, missing = _item(row, matched, separator)
        items.append(item)
        for what in missing:
            odd.setdefault(what, []).append(_place(item.source, item.line))
    texts = {column: _texts(items, field) for field, column in matched if field.kind in _TEXTS}
    _find_oddities(items, texts, odd)
    shape = cast(AnyTask, _Shape(tuple(field for field, _ in matched)))
    _find_copies(items, shape, odd, progress)
    _find_look_alikes(items, shape, odd)
    characters = {str(column): [len(text) for text in values if text] for column, values in texts.items()}
    return Look(
        name=found.name,
        rows=len(found.rows),
        unread=len(found.unread),
        columns=tuple(_column(found, column, matched, characters) for column in found.columns),
        characters=characters,
        labels=dict(label_counts(items, shape).most_common()),
        languages=dict(languages([text for values in texts.values() for text in values]).most_common()),
        odd=dict(sorted(odd.items(), key=lambda pair: -len(pair[1]))),
    )


def _columns(
    found: Peek, task: AnyTask | None, name: str, given: Mapping[str, str]
) -> list[tuple[Field, Column]]:
    if task is not None or given:
        fields = task.fields if task is not None else _GUESSED
        matched = match_columns(fields, found, given, name or "(none)")
        return [(field, matched[field.name]) for field in fields if field.name in matched]
    labelled = label_column(found)
    texts = [
        (Field(str(column), FieldKind.TEXT, ""), column)
        for column in found.columns
        if (labelled is None or column != labelled[1]) and is_text(list(found.values(column)))
    ]
    return [*texts, labelled] if labelled else texts


def _separator(found: Peek, columns: Sequence[tuple[Field, Column]]) -> str | None:
    """Return the separator that is given, or that the cells of a column of several labels show."""
    if given := found.settings.get("separator"):
        return str(given)
    column = next((column for field, column in columns if field.kind is FieldKind.LABELS), None)
    return None if column is None else separator_of(list(found.values(column)))


def _item(
    row: RawRow, columns: Sequence[tuple[Field, Column]], separator: str | None
) -> tuple[Item, list[str]]:
    """Return a row's example, None where a value is missing or not what the field needs, and what that is."""
    example: dict[str, Any] = {}
    wrong = []
    for field, column in columns:
        value = row.values.get(column)
        try:
            example[field.name] = convert(field, value, LabelRules(), separator)
        except (Unusable, LeftOut) as error:
            example[field.name] = None
            if field.kind not in _TEXTS or str(error) != f"{field.name} is empty":
                wrong.append(str(error))
        else:
            if example[field.name] is None and field.kind in LABELLED:
                wrong.append("no label")
    asked = {field.name: example[field.name] for field, _ in columns if field.kind in _TEXTS}
    return Item(example, json.dumps(asked), row.source, row.line), wrong


def _texts(items: Sequence[Item], field: Field) -> list[str]:
    values = (item.example[field.name] for item in items)
    return [value if isinstance(value, str) else " ".join(value or ()) for value in values]


def _find_oddities(
    items: Sequence[Item], texts: Mapping[Column, Sequence[str]], odd: dict[str, list[str]]
) -> None:
    find = oddities()
    for values in texts.values():
        longest = very_long([len(text) for text in values if text] or [0])
        for item, text in zip(items, values, strict=True):
            found = find(text)
            if len(text) > longest:
                found.append("very long")
            for what in found:
                odd.setdefault(what, []).append(_place(item.source, item.line))


def _find_copies(
    items: Sequence[Item], shape: AnyTask, odd: dict[str, list[str]], progress: Progress
) -> None:
    """Find rows that are the same as, or nearly the same as, an earlier one, and those that contradict it."""
    usable = [item for item in items if any(json.loads(item.request).values())]
    first: dict[str, Item] = {}
    copies = [item for item in usable if first.setdefault(same_example(item), item) is not item]
    unique = list(first.values())
    near = NearDuplicates(unique, NEAR, progress).within(unique, shape) if unique else {}
    conflicts, _ = conflicting([item for item in unique if _labelled(item, shape)], shape, "keep")
    for what, rows in (
        ("the same as an earlier row", copies),
        ("nearly the same as an earlier row (near_duplicates)", [unique[index] for index in near]),
        ("another row asks the same and has another label (labels.conflicts)", conflicts),
    ):
        if rows:
            odd[what] = [_place(item.source, item.line) for item in rows]


def _find_look_alikes(items: Sequence[Item], shape: AnyTask, odd: dict[str, list[str]]) -> None:
    """Find rows whose label differs from a commoner one only in case, width or the form of a number."""
    counts = label_counts(items, shape)
    for group in look_alikes(counts):
        commonest, *others = sorted(group, key=lambda name: (-counts[name], name))
        for other in others:
            what = f"label {other!r} looks like {commonest!r} (labels.rename)"
            odd[what] = [_place(item.source, item.line) for item in items if other in labels_of(item, shape)]


def _labelled(item: Item, shape: AnyTask) -> bool:
    return any(item.example[field.name] is not None for field in shape.fields if field.kind in LABELLED)


def _column(
    found: Peek, column: Column, columns: Sequence[tuple[Field, Column]], characters: Mapping[str, list[int]]
) -> ColumnLook:
    values = [value for value in found.values(column) if value is not None and value != ""]
    field = next((field for field, known in columns if known == column), None)
    lengths = sorted(characters.get(str(column), ()))
    quantiles = {
        name: lengths[round(share * (len(lengths) - 1))] for name, share in _QUANTILES.items() if lengths
    }
    use = "" if field is None else field.kind.value if field.name == str(column) else field.name
    return ColumnLook(str(column), use, len(values), len(set(map(repr, values))), quantiles)


def _place(source: str, line: int) -> str:
    return f"{source}:{line}" if source else str(line)
