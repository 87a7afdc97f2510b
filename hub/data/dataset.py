"""Prepares a recipe's rows: cleaned, deduplicated, split into training, validation and held-out rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hub.api import BadData
from hub.api.kinds.reader import InvalidRow
from hub.data.examples import AnyTask, Item, draw, load_examples
from hub.data.filters import RowFilters
from hub.data.label_quality import labels_of
from hub.data.notes import DataReport, Note, first_of, write_rows
from hub.data.split import split, without_leaks
from hub.progress import Progress, silent
from hub.recipe.label_names import look_alike
from hub.recipe.recipe import Recipe
from hub.registry.loaded import plugin_call
from hub.store.manifest import too_many_labels

__all__ = ["Dataset", "InvalidRows", "check_label_count", "chooses", "divide", "prepare"]

# Fewer choose a checkpoint by chance, see docs/results.md. A recipe that asks for evaluations gets them from
# the smaller number.
MIN_CHOOSING_ROWS, MIN_ASKED_ROWS = 200, 10
MIN_CALIBRATING_ROWS = 50
MAX_SHOWN = 5  # reasons in a message


class InvalidRows:
    """Collects the invalid rows of all stages of a run."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.rows: list[InvalidRow] = []

    def add(self, rows: Iterable[InvalidRow]) -> None:
        self.rows += rows

    def write(self, path: Path) -> None:
        """Write one JSON object per line: source, line, reason."""
        rows = ({"source": row.source, "line": row.line, "reason": row.reason} for row in self.rows)
        write_rows(rows, path)

    def check(self, usable: int) -> None:
        """Raise BadData if no row is usable, or if the share of invalid rows exceeds `data.max_invalid`."""
        allowed = self._recipe.data.max_invalid
        invalid = len(self.rows)
        if usable and invalid <= allowed * (usable + invalid):
            return
        if not usable:
            reason = self.listed() if invalid else "the sources have no rows, or all are filtered"
            raise BadData(f"No usable rows: {reason}.")
        raise BadData(
            f"{invalid} of {usable + invalid} rows are invalid, and data.max_invalid allows a share of "
            f"{allowed:g}: {self.listed()}."
        )

    def listed(self) -> str:
        """Return the places and reasons of the first invalid rows, for a message."""
        return first_of([f"{row.source}:{row.line}: {row.reason}" for row in self.rows], MAX_SHOWN, "; ")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Examples by split; `sha256` covers all of them in the order read.

    Training examples are cleaned; validation and held-out examples are as a client would send them.
    `data_report` has counts of changed and removed rows, `notes` the details of each. With `chooses`, the
    validation examples choose a checkpoint, otherwise only a temperature.
    """

    train: tuple[Item, ...]
    validation: tuple[Item, ...]
    held_out: tuple[Item, ...]
    labels: tuple[str, ...]
    sha256: str
    data_report: DataReport = field(default_factory=DataReport)
    notes: tuple[Note, ...] = ()
    chooses: bool = True

    @property
    def size(self) -> int:
        """Number of examples in all splits."""
        return len(self.train) + len(self.validation) + len(self.held_out)


def prepare(
    recipe: Recipe,
    task: AnyTask,
    cache: Path,
    invalid: InvalidRows,
    progress: Progress = silent,
    *,
    needs_label: bool = False,
) -> Dataset:
    """Load, clean, deduplicate and split the rows of a recipe; invalid rows are added to `invalid`.

    `needs_label` is passed to `load_examples`.

    Raises:
        BadRecipe, BadData, SourceUnavailable: as `load_examples`; if too few rows remain; if `data.pii` is
            refuse and there is personal data.
    """
    data, seed = recipe.data, recipe.train.seed
    if data.group_by and data.group_by not in (field.name for field in task.fields):
        known = ", ".join(field.name for field in task.fields)
        raise recipe.error("data.group_by", f"task {recipe.task} has no such field. It has: {known}")
    source = load_examples(recipe, "source", task, cache, progress, needs_label=needs_label)
    separate = load_examples(recipe, "eval", task, cache, progress, needs_label=needs_label)
    invalid.add((*source.invalid, *separate.invalid))
    invalid.check(len(source.items))
    filters = RowFilters(recipe, task, progress)
    filters.loaded(source, separate)
    items = draw(filters.without_duplicates(filters.without_conflicts(source.items)), data.limit, seed)
    items, others = filters.without_rare(items, separate.items)
    with plugin_call(recipe.task, "labels()"):
        labels = tuple(task.labels(item.example for item in items))
    check_label_count(recipe, labels)
    if data.eval:
        train, held_out = items, _with_known_labels(others, items, task, invalid)
    else:
        train, held_out = split(
            items, max(1, round(data.eval_fraction * len(items))), seed, task, data.group_by
        )
    clean = filters.without_leaks(held_out, train)
    kept, validation = divide(recipe, train, task, labelled=needs_label)
    if data.eval and not held_out and invalid.rows:
        raise BadData(f"No held-out row can be used: {invalid.listed()}.")
    if not kept or not clean:
        raise BadData(_too_few(len(kept), len(held_out), len(clean)))
    data_report, notes = filters.data_report(invalid.rows)
    return Dataset(
        train=tuple(kept),
        validation=tuple(validation),
        held_out=tuple(item.as_sent() for item in draw(clean, data.eval_limit, seed)),
        labels=labels,
        sha256=_digest((*items, *others)),
        data_report=data_report,
        notes=notes,
        chooses=chooses(recipe, len(train)),
    )


def check_label_count(recipe: Recipe, labels: Collection[str]) -> None:
    """Raise BadRecipe if there are more labels than an adapter may have."""
    if reason := too_many_labels(len(labels)):
        raise recipe.error(
            "data",
            f"{reason}. If these are ids or texts rather than labels, name another column in data.columns; "
            "data.labels.min_rows drops rare labels, and data.labels.rename merges labels",
        )


def divide(
    recipe: Recipe, train: list[Item], task: AnyTask, *, labelled: bool
) -> tuple[list[Item], list[Item]]:
    """Split off validation rows, so that held-out rows stay unseen until the end.

    They choose a checkpoint, or where the task is `labelled` at least a temperature.
    """
    calibrates = labelled and recipe.evaluate.calibrate
    if not chooses(recipe, len(train)) and not (
        calibrates and _evaluated(recipe, len(train)) >= MIN_CALIBRATING_ROWS
    ):
        return train, []
    size, seed = _validation_size(recipe, len(train)), recipe.train.seed
    kept, taken = split(train, size, seed, task, recipe.data.group_by)
    return kept, [item.as_sent() for item in without_leaks(taken, kept)]


def chooses(recipe: Recipe, rows: int) -> bool:
    """Return whether training on `rows` has enough validation rows to choose a checkpoint and stop early."""
    least = MIN_ASKED_ROWS if recipe.train.asks_for_validation else MIN_CHOOSING_ROWS
    return _evaluated(recipe, rows) >= least


def _evaluated(recipe: Recipe, rows: int) -> int:
    """Return the number of validation rows that there would be; 0 if the recipe has no use for them."""
    train = recipe.train
    several = train.epochs is None or train.epochs > 1 or train.checkpoint_steps is not None
    return _validation_size(recipe, rows) if train.patience != 0 and several else 0


def _validation_size(recipe: Recipe, rows: int) -> int:
    return min(recipe.train.validation_rows, round(recipe.train.validation_fraction * rows))


def _with_known_labels(
    held_out: Sequence[Item], train: Sequence[Item], task: AnyTask, invalid: InvalidRows
) -> list[Item]:
    known = {label for item in train for label in labels_of(item, task)}
    good = []
    for item in held_out:
        strange = sorted(labels_of(item, task) - known)
        if strange:
            invalid.add([item.invalid(_unknown(strange[0], known))])
        else:
            good.append(item)
    return good


def _unknown(label: str, known: Collection[str]) -> str:
    alike = look_alike(label, known)
    if alike is None:
        return f"label {label!r} is not among the training rows"
    return (
        f"label {label!r} is not among the training rows, which have {alike!r}: if both are the same "
        "label, rename one in data.labels.rename"
    )


def _digest(items: Iterable[Item]) -> str:
    digest = hashlib.sha256()
    for item in items:
        for example in (item.example, item.sent):
            if example is not None:
                digest.update(json.dumps(example, ensure_ascii=False, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _too_few(train: int, held_out: int, clean: int) -> str:
    if held_out and not clean:
        return "Every held-out row is also a training row. Use other rows for data.eval."
    return f"Too few rows: {train} to train on and {clean} held out. Add rows, or set data.eval."
