"""Suggests a commented recipe for a data set."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from hub.api import FieldKind, HeadKind, InputKind
from hub.bases.cache import Bases
from hub.data.dataset import Dataset, InvalidRows
from hub.data.examples import Item
from hub.data.label_quality import describe_rows, label_counts
from hub.data.notes import first_of
from hub.data.profile.columns import label_separator, match_columns
from hub.data.profile.read_options import NOT_GIVEN, Reading
from hub.data.profile.sniff import Column, Sniff, sniff
from hub.data.read.sources import fetches, scheme_of
from hub.data.read.tables import is_url
from hub.errors import BadData, Conflict, InvalidName, NotFound
from hub.files import expanded
from hub.names import check_name
from hub.progress import Progress, silent
from hub.recipe.by_rows import TrainingRows
from hub.recipe.label_names import look_alikes
from hub.recipe.recipe import RECIPE_FILE, Data, Recipe
from hub.registry.loaded import LoadedTask

__all__ = ["CheckRows", "Choices", "New", "as_yaml", "new_recipe"]

DEFAULT_MAX_LENGTH, DEFAULT_TYPE = 512, "bert"  # of a base that is not on this machine; tokens
MAX_SHOWN = 12  # labels in a comment
DECISION, ACCEPTED = "answer", "accept"
MIN_IMBALANCE = 5.0  # ratio of the rows of the most common and the rarest label
_PLAIN = re.compile(r"[A-Za-z][\w./-]*(?: [\w./-]+)*")
_YAML_WORDS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null"])


@dataclass(frozen=True, slots=True)
class New:
    """A new recipe with its data; `text` is the content of the file."""

    recipe: Recipe
    dataset: Dataset
    labels: Counter[str]
    text: str


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices for a new recipe: the base, how to read the data, options of the task."""

    base: str
    reading: Reading = NOT_GIVEN
    options: Mapping[str, Any] = field(default_factory=dict)


class CheckRows(Protocol):
    """Returns the rows that a training run of a recipe would use: `hub.training.plan.checked_rows`."""

    def __call__(self, recipe: Recipe, *, invalid: InvalidRows) -> tuple[Dataset, bool]:
        """Also returns whether the rows were tokenized."""


def new_recipe(
    loaded: LoadedTask,
    source: str,
    folder: Path,
    choices: Choices,
    *,
    check: CheckRows,
    bases: Bases,
    cache: Path,
    progress: Progress = silent,
) -> New:
    """Write `recipe.yaml` in `folder` for a data source relative to the working folder.

    Raises:
        Conflict: the recipe already exists.
        BadData: a column is missing, or the rows cannot be trained on.
    """
    target = folder / RECIPE_FILE
    if target.exists():
        raise Conflict(f"{target} exists. Name another folder with -o, or delete it.")
    found = sniff(source, Path.cwd(), cache, progress, given=choices.reading.settings)
    decided, settings = _decided(found)
    fields = loaded.task.fields
    matched = match_columns(fields, decided, choices.reading.columns, loaded.spec.name)
    mark = label_separator(decided, ((one, matched[one.name]) for one in fields if one.name in matched))
    detected = {"separator": mark} if mark not in (None, ",") else {}
    data = {"source": source, "columns": matched, **detected, **found.settings, **settings}
    recipe = Recipe(
        name=_name(folder, loaded.spec.name),
        task=loaded.spec.name,
        base=choices.base,
        data=Data.model_validate(data),
        options={**loaded.task.suggest_options(matched), **choices.options},
    )
    invalid = InvalidRows(recipe)
    dataset, _ = check(recipe, invalid=invalid)
    _check_labels(loaded, matched, dataset)
    items = [*dataset.train, *dataset.validation, *dataset.held_out]
    labels = label_counts(items, loaded.task)
    most_tokens, family = _of_base(choices.base, bases)
    tokens = _tokens(items, loaded, most_tokens)
    rows = describe_rows(loaded, dataset.train, dataset.labels, family)
    text = _text(recipe, _from_folder(source, folder), dataset, labels, tokens, loaded, rows)
    folder.mkdir(parents=True, exist_ok=True)
    with target.open("x", encoding="utf-8") as file:
        file.write(text)
    return New(recipe, dataset, labels, text)


def _decided(found: Sniff) -> tuple[Sniff, dict[str, Any]]:
    """Exclude rows that an annotator did not accept, according to Prodigy's column `answer`."""
    decisions = {value for value in found.values(DECISION) if value is not None}
    if not decisions or not decisions <= {ACCEPTED, "reject", "ignore"}:
        return found, {}
    rows = tuple(row for row in found.rows if row.values.get(DECISION) == ACCEPTED)
    columns = tuple(column for column in found.columns if column != DECISION)
    return replace(found, rows=rows, columns=columns), {"where": {DECISION: ACCEPTED}}


def _check_labels(loaded: LoadedTask, matched: Mapping[str, Column], dataset: Dataset) -> None:
    """Raise BadData if all rows of a single-label task have the same label."""
    single = any(one.kind is FieldKind.LABEL and one.name in matched for one in loaded.task.fields)
    if single and loaded.spec.head is HeadKind.SEQUENCE and len(dataset.labels) == 1:
        raise BadData(
            f"Every row has the label {dataset.labels[0]!r}, and training needs two. If the labels are in "
            "another column, name it: --column label=COLUMN."
        )


def _from_folder(source: str, folder: Path) -> str:
    if (scheme := scheme_of(source)) and (is_url(source) or fetches(scheme)):
        return source
    path = expanded(source)
    return str(path) if path.is_absolute() else Path(os.path.relpath(path, folder)).as_posix()


def _name(folder: Path, task: str) -> str:
    plain = re.sub(r"[^a-z0-9._-]+|\.\.+", "-", folder.resolve().name.lower()).strip("-._")[:63]
    return check_name(plain or task, "adapter")


def _of_base(name: str, bases: Bases) -> tuple[int, str]:
    """Return the most tokens and the type of a base, or guesses if it is not on this machine."""
    try:
        base = bases.get(name)
    except (NotFound, InvalidName):
        return DEFAULT_MAX_LENGTH, DEFAULT_TYPE
    return base.max_length, base.model_type


def _tokens(items: Sequence[Item], loaded: LoadedTask, limit: int) -> int | None:
    """Estimate the token limit that 99 % of the rows fit in; None: use the task's default."""
    if loaded.spec.head is not HeadKind.SEQUENCE or loaded.spec.input is InputKind.IMAGE:
        return None
    counts = sorted(_estimate(item.request) for item in items)
    longest = counts[min(len(counts) - 1, round(0.99 * len(counts)))]
    return min(limit, max(32, 16 * math.ceil(longest / 16)))


def _estimate(request: str) -> int:
    """Estimate the number of tokens of a request, for subword vocabularies."""
    text = " ".join(value for value in json.loads(request).values() if isinstance(value, str))
    other = sum(not char.isascii() for char in text)
    return 2 + math.ceil((len(text) - other) / 3.5 + 0.7 * other)


def _text(
    recipe: Recipe,
    source: str,
    dataset: Dataset,
    labels: Counter[str],
    tokens: int | None,
    loaded: LoadedTask,
    rows: TrainingRows,
) -> str:
    limit = f"max_length: {tokens}" if tokens else f"# max_length: {loaded.task.max_length}"
    reason = "estimate: 99 % of the rows fit" if tokens else "tokens; the task's default"
    lengths = [] if loaded.spec.input is InputKind.IMAGE else [f"{limit}  # {reason}"]
    lines = [
        "# Made by `hub recipe new`. Edit it, then run `hub train` with this folder.",
        "# docs/recipes.md explains every key; editors can check them with `hub recipe schema`.",
        f"name: {as_yaml(recipe.name)}",
        f"task: {as_yaml(recipe.task)}",
        f"base: {as_yaml(recipe.base)}  # pulled on first use; `hub base list` lists the pulled ones",
        "summary: ''  # one sentence for readers",
        *lengths,
        *_section("options", recipe.options),
        *_data(recipe.data, source, dataset, labels),
        "method:",
        "  type: auto  # few-shot, ia3 or lora, by rows, labels and base; others: bitfit, head, full",
        *_train(recipe, rows, labels),
    ]
    return "\n".join(lines) + "\n"


def _train(recipe: Recipe, rows: TrainingRows, labels: Counter[str]) -> list[str]:
    train = recipe.changed({"method.type": "auto"}).settled(rows).train
    passes = f"{train.max_steps} steps of few-shot" if train.max_steps else f"{train.epochs:g} epochs"
    about = f"# For {rows.count:,} training rows: {passes} in batches of {train.batch_size}."
    balance = _balance(labels)
    return [f"{about} `train.epochs` changes that.", *(["train:", *balance] if balance else [])]


def _data(data: Data, source: str, dataset: Dataset, labels: Counter[str]) -> list[str]:
    data_report = dataset.data_report
    settings = data.model_dump(mode="json", exclude_defaults=True, exclude={"source", "columns"})
    lines = [
        "data:",
        f"  # {data_report.read:,} rows were read, {data_report.invalid:,} of them are invalid.",
        *(f"  # {line}." for line in data_report.lines()),
        f"  source: {as_yaml(source)}",
        *(f"  {key}: {as_yaml(value)}" for key, value in settings.items()),
        "  columns:  # field of the task: column of the data",
        *(f"    {name}: {as_yaml(column)}" for name, column in data.columns.items()),
        "  eval_fraction: 0.1  # share of the rows to hold out for evaluation; or a file: `eval: test.csv`",
    ]
    if data_report.duplicates:
        lines.insert(2, f"  # {data_report.duplicates:,} rows are duplicates and used once.")
    if data_report.conflicts:
        lines.append("  # labels: {conflicts: majority}  # keep the most common of contradicting labels")
    if data_report.pii:
        lines.append("  # pii: mask  # replace personal data by <EMAIL> and so on")
    if labels:
        counts = [f"{as_yaml(label)} {count:,}" for label, count in labels.most_common()]
        lines.append(f"  # Labels: {first_of(counts, MAX_SHOWN)}.")
    for first, *others in look_alikes(labels):
        renamed = ", ".join(f"{as_yaml(other)}: {as_yaml(first)}" for other in others)
        lines.append(f"  # labels: {{rename: {{{renamed}}}}}  # if these are the same label")
    return lines


def _balance(labels: Counter[str]) -> list[str]:
    if not labels or max(labels.values()) < MIN_IMBALANCE * min(labels.values()):
        return []
    return ["  balance: weights  # some labels are much rarer than others: gives their rows more weight"]


def _section(name: str, values: Mapping[str, Any]) -> list[str]:
    return [f"{name}:", *(f"  {key}: {as_yaml(value)}" for key, value in values.items())] if values else []


def as_yaml(value: Any) -> str:
    """Return a scalar as YAML on one line."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _YAML_WORDS:
        return value
    written = json.dumps(value, ensure_ascii=False)
    # JSON escapes characters beyond U+FFFF as surrogate pairs, which YAML does not combine.
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in written)
