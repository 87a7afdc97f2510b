"""Labels that contradict one another or are too rare are found, and handled as the recipe says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hub.api import Field, FieldKind
from hub.data.dataset import Dataset, InvalidRows, prepare
from hub.data.examples import Item
from hub.data.label_quality import find_conflicts, rare_labels, replace_labels, target_key
from hub.recipe.recipe import Recipe
from tests.support.training import Labelling

RecipeMaker = Callable[..., Recipe]
TASK = Labelling()


def items_of(*rows: str) -> list[Item]:
    made = [row.split("=") for row in rows]
    return [
        Item({"text": text, "label": label, "tags": None}, text, "a", line)
        for line, (text, label) in enumerate(made, 1)
    ]


@pytest.mark.parametrize(
    ("rule", "out"),
    [
        ("keep", set()),
        ("drop", {0, 1, 2, 4, 5}),
        ("majority", {2, 4, 5}),
    ],
)
def test_conflicts(rule: str, out: set[int]) -> None:
    items = items_of("one=a", "one=a", "one=b", "two=a", "tie=a", "tie=b", "three=b", "three=b")
    found, filtered = find_conflicts(items, TASK, rule)
    assert [item.line for item in found] == [1, 2, 3, 5, 6]
    assert filtered == out


def test_the_order_of_a_set_of_labels_is_no_conflict() -> None:
    class Several:
        fields = (Field("text", FieldKind.TEXT, ""), Field("tags", FieldKind.LABELS, ""))

    items = [Item({"text": "t", "tags": tags}, "t", "a", 1) for tags in (("a", "b"), ("b", "a"), ("a",))]
    assert (
        target_key(items[0], Several()) == target_key(items[1], Several()) != target_key(items[2], Several())
    )


def test_rare_labels_are_those_of_too_few_rows() -> None:
    items = items_of(*[f"{n}=a" for n in range(5)], *[f"{n}=b" for n in range(2)], "x=c")
    assert rare_labels(items, TASK, 3, None) == {"b", "c"}
    assert rare_labels(items, TASK, 2, "other") == {"c"}
    assert rare_labels(items, TASK, 1, None) == frozenset()


def test_leaving_rows_out_may_make_further_labels_rare() -> None:
    class Several:
        fields = (Field("text", FieldKind.TEXT, ""), Field("tags", FieldKind.LABELS, ""))

    tags = [("rare", "a"), ("a", "b"), ("b",), ("b",)]
    items = [Item({"text": str(n), "tags": each}, str(n), "a", n) for n, each in enumerate(tags)]
    assert rare_labels(items, Several(), 2, None) == {"rare", "a"}
    assert rare_labels(items, Several(), 2, "other") == {"rare"}


def test_every_kind_of_label_is_renamed() -> None:
    class All:
        fields = (
            Field("label", FieldKind.LABEL, ""),
            Field("labels", FieldKind.LABELS, ""),
            Field("tags", FieldKind.TAGS, ""),
            Field("entities", FieldKind.ENTITIES, "", required=False),
            Field("none", FieldKind.ENTITIES, "", required=False),
        )

    example = {
        "label": "x",
        "labels": ("x", "other", "y"),
        "tags": ("B-x", "E-x", "x", "O", "B-y"),
        "entities": ({"start": 0, "end": 1, "label": "x"},),
        "none": None,
    }
    [item] = replace_labels([Item(example, "", "a", 1, sent=example)], All(), frozenset("x"), "other")
    assert item.example == item.sent
    assert item.example == {
        "label": "other",
        "labels": ("other", "y"),
        "tags": ("B-other", "E-other", "other", "O", "B-y"),
        "entities": ({"start": 0, "end": 1, "label": "other"},),
        "none": None,
    }


@pytest.fixture
def prepared(make_recipe: RecipeMaker, tmp_path: Path) -> Callable[..., Dataset]:
    def run(text: str, **files: str) -> Dataset:
        recipe = make_recipe(text, **files)
        return prepare(recipe, TASK, tmp_path / "cache", InvalidRows(recipe))

    return run


ROWS = "text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(20)) + "lone,c\n"
HELD = "text,label\nnew one,a\nnew two,c\nnew three,d\n"


def test_rows_with_a_rare_label_are_left_out_on_both_sides(prepared) -> None:
    dataset = prepared(
        "task: t\ndata: {source: a.csv, eval: b.csv, max_invalid: 0.5, labels: {min_rows: 2}}\n",
        a_csv=ROWS,
        b_csv=HELD,
    )
    data_report = dataset.data_report
    assert dataset.labels == ("a", "b")
    assert [item.example["text"] for item in dataset.held_out] == ["new one"]
    assert (data_report.rare, data_report.rare_labels, data_report.filtered) == (1, ("c",), {"rare label": 2})
    assert data_report.invalid == 1  # `d` was never among the training rows
    assert [(note.source, note.line) for note in dataset.notes if note.what == "filtered"] == [
        ("a.csv", 22),
        ("b.csv", 3),
    ]


def test_rare_labels_become_another(prepared) -> None:
    dataset = prepared(
        "task: t\ndata: {source: a.csv, eval: b.csv, labels: {min_rows: 2, other: rest}}\n",
        a_csv=ROWS,
        b_csv=HELD,
    )
    assert dataset.labels == ("a", "b", "rest")
    assert [item.example["label"] for item in dataset.held_out] == ["a", "rest", "rest"]
    assert dataset.data_report.filtered == {}


def test_conflicts_are_counted_and_listed_by_line(prepared) -> None:
    rows = ROWS + "text 0,b\n"
    kept = prepared("task: t\ndata: {source: a.csv, eval: b.csv}\n", a_csv=rows, b_csv="text,label\nnew,a\n")
    assert kept.data_report.conflicts == 2
    assert [note.line for note in kept.notes if note.what == "conflict"] == [2, 23]
    assert kept.data_report.filtered == {}
    dropped = prepared(
        "task: t\ndata: {source: a.csv, eval: b.csv, labels: {conflicts: majority}}\n",
        a_csv=rows,
        b_csv="text,label\nnew,a\n",
    )
    assert dropped.data_report.filtered == {"conflicting labels": 2}
    assert len(dropped.train) == len(kept.train) - 2
