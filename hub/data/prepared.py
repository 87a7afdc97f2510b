"""What `hub data prepare` writes: the rows as they are trained on and held out, and what became of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hub.data.dataset import Dataset
from hub.data.examples import Item, Rejected
from hub.data.notes import Note
from hub.recipe.recipe import Recipe

__all__ = ["CHANGES_FILE", "REPORT_FILE", "SPLITS", "report_of", "write_prepared"]

SPLITS = ("train", "validation", "held_out")
REPORT_FILE, CHANGES_FILE = "report.json", "changes.jsonl"

Json = dict[str, Any]


def write_prepared(
    dataset: Dataset, rejected: Sequence[Rejected], recipe: Recipe, folder: Path, *, tokenized: bool
) -> Json:
    """Write a JSONL file for each split, the changes and the report in `folder`; returns the report.

    Training rows are cleaned; held-out and validation rows are as a client would send them. `tokenized`
    goes into the report: whether the rows that the task rejects once it tokenizes are known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        _write(folder / f"{split}.jsonl", map(_row, getattr(dataset, split)))
    _write(folder / CHANGES_FILE, _changes(dataset, rejected))
    report = {**report_of(dataset, rejected, recipe), "tokenized": tokenized}
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (folder / REPORT_FILE).write_text(f"{text}\n", encoding="utf-8")
    return report


def report_of(dataset: Dataset, rejected: Sequence[Rejected], recipe: Recipe) -> Json:
    """Return counts by split and by what became of the rows, and the settings that made it so."""
    return {
        "recipe": recipe.name,
        "task": recipe.task,
        "sha256": dataset.sha256,
        "seed": recipe.train.seed,
        "rows": {split: len(getattr(dataset, split)) for split in SPLITS},
        "labels": list(dataset.labels),
        "data_report": {**dataset.data_report.to_json(), "rejected": len(rejected)},
        "data": recipe.data.model_dump(mode="json", by_alias=True),
    }


def _row(item: Item) -> Json:
    return {key: value for key, value in item.example.items() if value is not None}


def _changes(dataset: Dataset, rejected: Sequence[Rejected]) -> Iterator[Json]:
    """Yield every note; those of changed rows have the texts before and after."""
    texts = {
        (item.source, item.line): _both(item)
        for split in SPLITS
        for item in getattr(dataset, split)
        if item.changed
    }
    invalid = (Note(row.source, row.line, "rejected", row.reason) for row in rejected)
    for note in (*dataset.notes, *invalid):
        change: Json = {"source": note.source, "line": note.line, "what": note.what}
        if note.detail:
            change["detail"] = note.detail
        if note.what == "changed":
            change |= texts.get((note.source, note.line), {})
        yield change


def _both(item: Item) -> Json:
    """Return the fields that differ before and after; a held-out row is used as it was before."""
    before, after = (item.sent, item.example) if item.cleaned is None else (item.example, item.cleaned)
    before = before or {}
    differ = [name for name, value in after.items() if value != before.get(name)]
    return {
        "before": {name: before.get(name) for name in differ},
        "after": {name: after[name] for name in differ},
    }


def _write(path: Path, rows: Iterable[Json]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
