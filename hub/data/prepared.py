"""The output of `hub data prepare`: the rows of each split, every change to a row, and a report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hub.api.kinds.reader import InvalidRow
from hub.data.dataset import Dataset
from hub.data.examples import Item
from hub.data.notes import Note, write_rows
from hub.recipe.recipe import Recipe

__all__ = ["CHANGES_FILE", "REPORT_FILE", "SPLITS", "report_of", "write_prepared"]

SPLITS = ("train", "validation", "held_out")
REPORT_FILE, CHANGES_FILE = "report.json", "changes.jsonl"

Json = dict[str, Any]


def write_prepared(
    dataset: Dataset, invalid: Sequence[InvalidRow], recipe: Recipe, folder: Path, *, tokenized: bool
) -> Json:
    """Write a JSONL file for each split, the changes and the report to `folder`; return the report.

    Training rows are cleaned; held-out and validation rows are as a client would send them. `tokenized`
    says in the report whether the rows were tokenized, which can make further rows invalid.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        write_rows(map(_row, getattr(dataset, split)), folder / f"{split}.jsonl")
    write_rows(_changes(dataset, invalid), folder / CHANGES_FILE)
    report = {**report_of(dataset, invalid, recipe), "tokenized": tokenized}
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (folder / REPORT_FILE).write_text(f"{text}\n", encoding="utf-8")
    return report


def report_of(dataset: Dataset, invalid: Sequence[InvalidRow], recipe: Recipe) -> Json:
    """Return the counts of rows by split, the data report, and the recipe's section `data`."""
    return {
        "recipe": recipe.name,
        "task": recipe.task,
        "sha256": dataset.sha256,
        "seed": recipe.train.seed,
        "rows": {split: len(getattr(dataset, split)) for split in SPLITS},
        "labels": list(dataset.labels),
        "data_report": {**dataset.data_report.to_json(), "invalid": len(invalid)},
        "data": recipe.data.model_dump(mode="json", by_alias=True),
    }


def _row(item: Item) -> Json:
    return {key: value for key, value in item.example.items() if value is not None}


def _changes(dataset: Dataset, invalid: Sequence[InvalidRow]) -> Iterator[Json]:
    """Yield every note; notes on changed rows have the texts before and after."""
    texts = {
        (item.source, item.line): _both(item)
        for split in SPLITS
        for item in getattr(dataset, split)
        if item.changed
    }
    unusable = (Note(row.source, row.line, "invalid", row.reason) for row in invalid)
    for note in (*dataset.notes, *unusable):
        change: Json = {"source": note.source, "line": note.line, "what": note.what}
        if note.detail:
            change["detail"] = note.detail
        if note.what == "changed":
            change |= texts.get((note.source, note.line), {})
        yield change


def _both(item: Item) -> Json:
    """Return the fields that cleaning changed, before and after; held-out rows are used uncleaned."""
    before, after = (item.sent, item.example) if item.cleaned is None else (item.example, item.cleaned)
    before = before or {}
    differ = [name for name, value in after.items() if value != before.get(name)]
    return {
        "before": {name: before.get(name) for name in differ},
        "after": {name: after[name] for name in differ},
    }
