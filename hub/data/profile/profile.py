"""Profiles data: counts, lengths, labels, duplicates, languages and anomalies."""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from hub.api import Field, FieldKind
from hub.api.kinds.reader import RawRow, TableRow
from hub.data.examples import AnyTask, Item
from hub.data.fields import LABELLED, Filtered, Unusable, convert
from hub.data.label_quality import labels_of
from hub.data.profile.anomalies import TextSample, anomaly_detector, languages, very_long
from hub.data.profile.column_counts import MAX_PLACES, ColumnCounts, ColumnProfile, Places, place_of
from hub.data.profile.columns import is_text, label_column, label_separator, match_columns
from hub.data.profile.repeated_rows import Copies
from hub.data.profile.sniff import Column, Sniff
from hub.progress import Progress, silent
from hub.recipe.label_names import look_alikes
from hub.recipe.recipe import LabelRules

__all__ = ["Profile", "profile"]

_TEXTS = (FieldKind.TEXT, FieldKind.TOKENS)
_DEFAULT_FIELDS = (
    Field("text", FieldKind.TEXT, "The text."),
    Field("label", FieldKind.LABEL, "Its label.", False),
)


@dataclass(frozen=True, slots=True)
class Profile:
    """Statistics of a data set, without quotes from its texts.

    `anomalies` maps each anomaly to the places of its rows, `characters` each column to the lengths of its
    texts. `compared` and `near_compared` count the distinct rows searched for duplicates and near duplicates.
    """

    name: str
    rows: int
    unread: int
    columns: tuple[ColumnProfile, ...]
    characters: Mapping[str, Sequence[int]]
    labels: Mapping[str, int]
    languages: Mapping[str, int]
    anomalies: Mapping[str, Places]
    compared: int
    near_compared: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, with the first places of each anomaly."""
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
            "anomalies": {
                what: {"rows": places.count, "places": list(places.first)}
                for what, places in self.anomalies.items()
            },
            "compared": self.compared,
            "near_compared": self.near_compared,
        }


@dataclass(frozen=True, slots=True)
class _Shape:
    fields: tuple[Field, ...]


def profile(
    found: Sniff,
    task: AnyTask | None = None,
    name: str = "",
    progress: Progress = silent,
    columns: Mapping[str, str] = MappingProxyType({}),
) -> Profile:
    """Profile all rows; columns are matched to the task's fields, or guessed without a task.

    `columns` maps fields to columns; without a task, the fields are `text` and `label`.

    Raises:
        BadData: no column fits a field that the task needs, or a given field or column does not exist.
    """
    seen = _Seen(found, _columns(found, task, name, columns))
    for row in found.stream(progress):
        seen.add(row)
    return seen.profile(found.name, progress)


class _Seen:
    """Accumulates counts, lengths, hashes and candidates for near duplicates from a stream of rows."""

    def __init__(self, found: Sniff, fields: Sequence[tuple[Field, Column]]) -> None:
        self._fields = fields
        self._separator = found.settings.get("separator") or label_separator(found, fields)
        self._columns = {column: ColumnCounts() for column in found.columns}
        self._shape = cast(AnyTask, _Shape(tuple(field for field, _ in fields)))
        self._anomalies: defaultdict[str, Places] = defaultdict(Places)
        self._labels: Counter[str] = Counter()
        self._label_places: defaultdict[str, Places] = defaultdict(Places)
        self._copies = Copies(self._shape)
        self._detect = anomaly_detector()
        self._longest: dict[Column, list[tuple[int, int, str]]] = {
            column: [] for field, column in fields if field.kind in _TEXTS
        }
        self._sample = TextSample()
        self._rows = self._unread = 0

    def add(self, row: TableRow) -> None:
        """Count one row."""
        place = place_of(row.source, row.line)
        if not isinstance(row, RawRow):
            self._unread += 1
            self._anomalies[f"cannot be read: {row.reason}"].add(place)
            return
        self._rows += 1
        for column, counts in self._columns.items():
            counts.add(row.values.get(column))
        item, anomalies = _item(row, self._fields, self._separator)
        for what in anomalies:
            self._anomalies[what].add(place)
        for field, column in self._fields:
            if field.kind in _TEXTS:
                self._add_text(column, _text(item, field), place)
        for label in labels_of(item, self._shape):
            self._labels[label] += 1
            self._label_places[label].add(place)
        if any(json.loads(item.request).values()):
            labelled = _labelled(item, self._shape)
            for what, where in self._copies.add(item, labelled):
                self._anomalies[what].add(where)

    def profile(self, name: str, progress: Progress) -> Profile:
        """Return the figures of all rows."""
        for what, place in self._copies.near(progress):
            self._anomalies[what].add(place)
        for column, longest in self._longest.items():
            limit = very_long(self._columns[column].lengths or [0])
            for length, _, place in sorted(longest, key=lambda one: -one[1]):
                if length > limit:
                    self._anomalies["very long"].add(place)
        self._add_look_alikes()
        used = {column: _use(field, column) for field, column in self._fields}
        return Profile(
            name=name,
            rows=self._rows,
            unread=self._unread,
            columns=tuple(counts.profile(one, used.get(one, "")) for one, counts in self._columns.items()),
            characters={str(column): self._columns[column].lengths for column in self._longest},
            labels=dict(self._labels.most_common()),
            languages=dict(languages(self._sample.texts).most_common()),
            anomalies=dict(sorted(self._anomalies.items(), key=lambda pair: -pair[1].count)),
            compared=self._copies.compared,
            near_compared=self._copies.near_compared,
        )

    def _add_text(self, column: Column, text: str, place: str) -> None:
        for what in self._detect(text):
            self._anomalies[what].add(place)
        if text:
            self._columns[column].lengths.append(len(text))
            self._sample.add(text)
            longest = self._longest[column]
            push = heapq.heappush if len(longest) < MAX_PLACES else heapq.heappushpop
            push(longest, (len(text), -self._rows, place))

    def _add_look_alikes(self) -> None:
        """Add rows whose label differs from a commoner one only in case, width or the form of a number."""
        for group in look_alikes(self._labels):
            commonest, *others = sorted(group, key=lambda name: (-self._labels[name], name))
            for other in others:
                what = f"label {other!r} looks like {commonest!r} (labels.rename)"
                self._anomalies[what] = self._label_places[other]


def _columns(
    found: Sniff, task: AnyTask | None, name: str, given: Mapping[str, str]
) -> list[tuple[Field, Column]]:
    if task is not None or given:
        fields = task.fields if task is not None else _DEFAULT_FIELDS
        matched = match_columns(fields, found, given, name or "(none)")
        return [(field, matched[field.name]) for field in fields if field.name in matched]
    labelled = label_column(found)
    texts = [
        (Field(str(column), FieldKind.TEXT, ""), column)
        for column in found.columns
        if (labelled is None or column != labelled[1]) and is_text(list(found.values(column)))
    ]
    return [*texts, labelled] if labelled else texts


def _item(
    row: RawRow, columns: Sequence[tuple[Field, Column]], separator: str | None
) -> tuple[Item, list[str]]:
    """Return a row's example and its anomalies; a missing or invalid value is None in the example."""
    example: dict[str, Any] = {}
    anomalies = []
    for field, column in columns:
        value = row.values.get(column)
        try:
            example[field.name] = convert(field, value, LabelRules(), separator)
        except (Unusable, Filtered) as error:
            example[field.name] = None
            if field.kind not in _TEXTS or str(error) != f"{field.name} is empty":
                anomalies.append(str(error))
        else:
            if example[field.name] is None and field.kind in LABELLED:
                anomalies.append("no label")
    request = {field.name: example[field.name] for field, _ in columns if field.kind in _TEXTS}
    return Item(example, json.dumps(request), row.source, row.line), anomalies


def _text(item: Item, field: Field) -> str:
    value = item.example[field.name]
    return value if isinstance(value, str) else " ".join(value or ())


def _labelled(item: Item, shape: AnyTask) -> bool:
    return any(item.example[field.name] is not None for field in shape.fields if field.kind in LABELLED)


def _use(field: Field, column: Column) -> str:
    return field.kind.value if field.name == str(column) else field.name
