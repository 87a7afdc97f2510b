"""Converts the rows of a recipe's sources to examples; collects invalid and filtered rows with reasons."""

from __future__ import annotations

import difflib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from hub.api import BadData, BadRequest, Example, Field, FieldKind, Task
from hub.api.kinds.reader import FilteredRow, InvalidRow, RawRow, Table
from hub.data.fields import Filtered, Unusable, check_relations, convert, labelled_fields
from hub.data.read.encodings import encodable
from hub.data.read.folders import distinct_names, files_of, folder_of, open_place
from hub.data.read.image_cells import UnreadableImage, read_image_cell
from hub.data.texts import Preprocessor
from hub.progress import Progress, silent
from hub.recipe.label_names import normal_label
from hub.recipe.recipe import LabelRules, Part, Recipe
from hub.registry.active import active
from hub.registry.kinds import READERS
from hub.registry.loaded import plugin_call

__all__ = ["Item", "Loaded", "draw", "load_examples"]

AnyTask = Task[Any, Any]
_REPORT_EVERY = 500  # rows
SIDES = ("source", "target")  # columns of a translation file


@dataclass(frozen=True, slots=True)
class Item:
    """An example, its request as JSON, and its source and line.

    If cleaning changed the example, `example` is the cleaned one and `sent` the original; after `as_sent`,
    `example` is the original and `cleaned` the cleaned one. `changed` names the keys of `data.clean` that
    changed it, `pii` counts its personal data by kind. `extra` has the columns of `evaluate.slices` that are
    not task fields.
    """

    example: Example
    request: str
    source: str
    line: int
    sent: Example | None = None
    cleaned: Example | None = None
    changed: tuple[str, ...] = ()
    pii: tuple[tuple[str, int], ...] = ()
    extra: tuple[tuple[str, str], ...] = ()

    @property
    def place(self) -> str:
        return f"{self.source}:{self.line}"

    def invalid(self, reason: object) -> InvalidRow:
        return InvalidRow(self.line, str(reason), self.source)

    def as_sent(self) -> Item:
        """Return the item with its example uncleaned, as a client would send it."""
        if self.sent is None:
            return self
        return replace(self, example=self.sent, sent=None, cleaned=self.example)

    def as_trained(self) -> Item:
        """Return the item with its example cleaned, for training."""
        if self.cleaned is None:
            return self
        return replace(self, example=self.cleaned, sent=self.example, cleaned=None)


@dataclass(slots=True)
class Loaded:
    """The rows of the sources: examples, invalid rows, filtered rows, and the number of rows read."""

    items: list[Item] = field(default_factory=list)
    invalid: list[InvalidRow] = field(default_factory=list)
    filtered: list[FilteredRow] = field(default_factory=list)
    read: int = 0


def load_examples(
    recipe: Recipe,
    which: Literal["source", "eval"],
    task: AnyTask,
    cache: Path,
    progress: Progress = silent,
    *,
    needs_label: bool = False,
) -> Loaded:
    """Read the sources of `data.source` or `data.eval`; packages are cached in `cache`.

    With `needs_label`, a row without a value in at least one labelled field is invalid.

    Raises:
        BadRecipe: a column or field that the recipe names does not exist.
        BadData: a file is missing or does not have its format.
        SourceUnavailable: a download failed.
    """
    _check_fields(recipe, which, task)
    loaded, texts, languages = Loaded(), Preprocessor(recipe, task.fields), _languages(recipe)
    parts: Sequence[Part] = getattr(recipe.data, which)
    every = (*recipe.data.source, *recipe.data.eval)
    places = {part.source: files_of(part.source, recipe.folder) for part in every}
    paths = distinct_names(chain(*places.values()), recipe.folder)
    for number, part in enumerate(parts):
        before = len(loaded.items)
        for place in places[part.source]:
            with open_place(place, recipe.folder, recipe.data, cache, progress, languages) as table:
                folder = folder_of(place, recipe.folder)
                reader = _Reader(recipe, part, table, task, texts, needs_label, folder)
                _read_part(loaded, reader, paths[place], progress)
        loaded.items[before:] = draw(loaded.items[before:], part.limit, recipe.train.seed + number)
    return loaded


def draw(items: Sequence[Item], limit: int | None, seed: int) -> list[Item]:
    """Sample at most `limit` items with `seed`; keep their order."""
    if limit is None or len(items) <= limit:
        return list(items)
    return [items[index] for index in sorted(random.Random(seed).sample(range(len(items)), limit))]


def _languages(recipe: Recipe) -> tuple[str, str] | None:
    """Return the language pair to read from a multilingual file, if columns or options name it."""
    named = [recipe.data.columns.get(name, recipe.options.get(f"{name}_language")) for name in SIDES]
    source, target = (name if isinstance(name, str) and name not in SIDES else None for name in named)
    return (source, target) if source and target else None


def _read_part(loaded: Loaded, reader: _Reader, path: str, progress: Progress) -> None:
    """Add the rows of a file or a folder; `path` names it where its own name is ambiguous."""
    name, count = path or reader.table.name, 0
    for count, row in enumerate(reader.table.rows, 1):
        if count % _REPORT_EVERY == 0:
            progress(f"read {name}", count, 0)
        source = f"{path}/{row.source}" if path and row.source else row.source or name
        try:
            if isinstance(row, RawRow):
                loaded.items.append(reader.item(row, source))
            elif isinstance(row, InvalidRow):
                raise Unusable(row.reason)
            else:
                raise Filtered(row.reason)
        except Unusable as error:
            loaded.invalid.append(InvalidRow(row.line, str(error), source))
        except Filtered as reason:
            loaded.filtered.append(FilteredRow(row.line, str(reason), source))
    loaded.read += count
    progress(f"read {name}", count, count)


class _Reader:
    def __init__(
        self,
        recipe: Recipe,
        part: Part,
        table: Table,
        task: AnyTask,
        texts: Preprocessor,
        needs_label: bool = False,
        folder: Path | None = None,
    ) -> None:
        self.folder = folder
        self.fields = [field.name for field in labelled_fields(task.fields)]
        self.labelled = self.fields if needs_label else []
        self.recipe = recipe
        self.texts = texts
        self.part = part
        self.table = table
        self.task = task
        self.columns = {field.name: self._column_of(field) for field in task.fields}
        self.where = [
            (self._named(column, f"data.where.{column}"), frozenset(values))
            for column, values in recipe.data.where.items()
        ]
        self.extra = [name for name in recipe.evaluate.slices if name not in self.columns]

    def item(self, row: RawRow, source: str) -> Item:
        """Return the row's example.

        Raises:
            Unusable: the row is invalid.
            Filtered: the recipe excludes the row.
        """
        for column, values in self.where:
            if normal_label(_word(row.values.get(column))) not in values:
                raise Filtered(f"another {column}")
        example = {field.name: self._value(field, row) for field in self.task.fields}
        check_relations(self.task.fields, example)
        if self.labelled and all(example[field] is None for field in self.labelled):
            raise Unusable(f"has no label: {' and '.join(self.labelled)} empty or absent")
        processed = self.texts.process(example)
        try:
            with plugin_call(self.recipe.task, f"request() on {source}:{row.line}"):
                request: BaseModel = self.task.request(processed.example)
        except (BadRequest, BadData) as error:
            raise Unusable(str(error)) from None
        return Item(
            processed.example,
            request.model_dump_json(),
            source,
            row.line,
            sent=processed.sent if processed.changed else None,
            changed=processed.changed,
            pii=tuple(sorted(processed.pii.items())),
            extra=tuple((str(column), encodable(_word(self._raw(row, column)))) for column in self.extra),
        )

    def _raw(self, row: RawRow, column: str | int) -> Any:
        """Return a cell by the name or position of its column; None if the row lacks it."""
        known = self.table.columns
        named = known[column] if isinstance(column, int) and known and column < len(known) else column
        return row.values.get(named)

    def _value(self, field: Field, row: RawRow) -> Any:
        if field.name in self.part.set:
            return convert(field, self.part.set[field.name], LabelRules(), self.recipe.data.separator)
        column = self.columns[field.name]
        if column is None:
            return None
        if column not in row.values and field.required:
            raise Unusable(f"has no column {column!r}")
        data, value = self.recipe.data, row.values.get(column)
        rules = data.labels if field.name in self.fields else LabelRules()
        if field.kind is FieldKind.IMAGE:
            try:
                value = read_image_cell(value, self.folder)
            except UnreadableImage as error:
                raise Unusable(f"{field.name} {error}") from None
        return convert(field, value, rules, data.separator)

    def _column_of(self, field: Field) -> str | int | None:
        if field.name in self.part.set:
            return None
        column = self.recipe.data.columns.get(field.name)
        if column is not None:
            return self._named(column, f"data.columns.{field.name}")
        if not field.required and field.name in self.recipe.data.columns.values():
            return None  # the column of this name holds another field
        known = self.table.columns
        if known is None or field.name in known:
            return field.name
        if not field.required:
            return None
        raise self.recipe.error(
            "data.columns",
            f"{self.table.name} has no column {field.name!r}: name the column for it "
            f"({field.summary.rstrip('.')}), such as {{{field.name}: NAME}}. {self._available()}",
        )

    def _named(self, column: str | int, key: str) -> str | int:
        """Return the column that the recipe names; raise BadRecipe if the table is known not to have it."""
        known = self.table.columns
        if known is None:
            return column
        if isinstance(column, int) and 0 <= column < len(known):
            return known[column]
        if column not in known:
            raise self.recipe.error(key, f"{self.table.name} has no column {column!r}. {self._available()}")
        return column

    def _available(self) -> str:
        columns = [str(column) for column in self.table.columns or ()]
        likely = next((mark for mark in ";\t|," if len(columns) == 1 and mark in columns[0]), None)
        hint = f" (is data.delimiter {likely!r}?)" if likely else ""
        return f"Available: {', '.join(columns) or 'none'}{hint}"


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _check_fields(recipe: Recipe, which: str, task: AnyTask) -> None:
    """Raise BadRecipe for fields that the task lacks, an unknown format, and label rules without labels."""
    names = [field.name for field in task.fields]
    named = [(f"data.columns.{name}", name) for name in recipe.data.columns]
    for number, part in enumerate(getattr(recipe.data, which)):
        named += [(f"data.{which}.{number}.set.{name}", name) for name in part.set]
    for key, name in named:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f", did you mean {near[0]}?" if near else "."
            raise recipe.error(key, f"task {recipe.task} has no such field{hint} It has: {', '.join(names)}")
    formats = active().extensions.specs(READERS)
    if recipe.data.format not in ("auto", *formats):
        raise recipe.error(
            "data.format",
            f"there is no reader {recipe.data.format!r}. Available: auto, {', '.join(sorted(formats))}",
        )
    rules = recipe.data.labels
    labelled = bool(labelled_fields(task.fields))
    if (rules.rename or rules.bins or rules.only) and not labelled:
        raise recipe.error("data.labels", f"task {recipe.task} has no labels")
