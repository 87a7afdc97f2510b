"""Rows are cleaned and divided: nothing held out was trained on, and the division can be had again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api import Field, FieldKind
from hub.data.dataset import Dataset, InvalidRows, prepare
from hub.data.examples import Item
from hub.data.notes import write_notes
from hub.data.split import split
from hub.errors import BadData, BadRecipe
from hub.recipe.recipe import Recipe

RecipeMaker = Callable[..., Recipe]


def csv_of(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["text,label", *(f"{text},{label}" for text, label in rows)]) + "\n"


@pytest.fixture
def prepared(make_recipe: RecipeMaker, labelling, tmp_path: Path):
    def run(
        text: str, *overrides: str, needs_label: bool = False, **files: str | bytes
    ) -> tuple[Dataset, InvalidRows]:
        recipe = make_recipe(text, *overrides, **files)
        invalid = InvalidRows(recipe)
        cache = tmp_path / "cache"
        return prepare(recipe, labelling, cache, invalid, needs_label=needs_label), invalid

    return run


def texts(items: tuple[Item, ...]) -> set[str]:
    return {item.example["text"] for item in items}


MANY = csv_of([(f"text {n}", "ab"[n % 4 == 0]) for n in range(400)])


def test_a_share_is_held_out_in_proportion_to_the_labels(prepared) -> None:
    dataset, _ = prepared("task: t\ndata: a.csv\n", "train.patience=2", a_csv=MANY)
    assert Counter(item.example["label"] for item in dataset.held_out) == {"a": 30, "b": 10}
    assert len(dataset.validation) == 18
    assert len(texts(dataset.train) | texts(dataset.validation) | texts(dataset.held_out)) == 400
    assert dataset.labels == ("a", "b")


def test_the_seed_alone_decides_the_division(prepared) -> None:
    first, _ = prepared("task: t\ndata: a.csv\n", a_csv=MANY)
    again, _ = prepared("task: t\ndata: a.csv\n", a_csv=MANY)
    other, _ = prepared("task: t\ndata: a.csv\n", "train.seed=1", a_csv=MANY)
    assert first == again
    assert texts(first.held_out) != texts(other.held_out)
    assert first.sha256 == other.sha256


def test_the_data_hash_follows_the_rows(prepared) -> None:
    first, _ = prepared("task: t\ndata: a.csv\n", a_csv=MANY)
    other, _ = prepared("task: t\ndata: a.csv\n", a_csv=MANY + "one more,a\n")
    assert first.sha256 != other.sha256


def test_validation_is_kept_apart_only_when_it_is_used(prepared) -> None:
    for setting in ("train.patience=0", "train.epochs=1", "train.validation_fraction=0"):
        assert prepared("task: t\ndata: a.csv\n", setting, a_csv=MANY)[0].validation == ()
    assert len(prepared("task: t\ndata: a.csv\n", "train.validation_rows=12", a_csv=MANY)[0].validation) == 12


def test_few_validation_rows_are_split_off_only_for_a_recipe_that_asks_for_them(prepared) -> None:
    def found(rows: int, *settings: str, labels: bool = True) -> tuple[int, bool]:
        many = csv_of([(f"text {n}", "ab"[n % 2]) for n in range(rows)])
        recipe = "task: t\ndata: {source: a.csv, eval_fraction: 0.1}\n"
        dataset, _ = prepared(recipe, *settings, a_csv=many, needs_label=labels)
        return len(dataset.validation), dataset.chooses

    assert found(1120) == (50, False), "they calibrate"
    assert found(1120, labels=False) == found(1120, "evaluate.calibrate=false") == (0, False)
    assert found(1080) == (0, False)
    assert found(4500) == found(4500, labels=False) == (202, True)
    asking = ("train.patience=2", "train.checkpoint_steps=5", "train.schedule=plateau")
    assert [found(1080, one) for one in asking] == [(49, True)] * 3
    assert found(1080, "train.validation_fraction=0.04") == (39, True)
    assert found(180, "train.patience=2") == (0, False)


def test_held_out_rows_that_were_trained_on_are_dropped(prepared) -> None:
    train = csv_of([("one", "a"), ("two", "b"), ("two", "b"), ("three", "b")])
    dataset, _ = prepared(
        "task: t\ndata: {source: a.csv, eval: b.csv}\n",
        a_csv=train,
        b_csv=csv_of([("two", "a"), ("new", "b")]),
    )
    assert texts(dataset.held_out) == {"new"}
    assert (dataset.data_report.duplicates, dataset.data_report.leaked) == (1, 1)


def test_held_out_rows_with_an_unknown_label_are_invalid(prepared) -> None:
    train = csv_of([("one", "a"), ("two", "b")])
    _, invalid = prepared(
        "task: t\ndata: {source: a.csv, eval: b.csv, max_invalid: 0.5}\n",
        a_csv=train,
        b_csv=csv_of([("new", "b"), ("odd", "z")]),
    )
    assert [(row.line, row.reason) for row in invalid.rows] == [
        (3, "label 'z' is not among the training rows")
    ]


def test_groups_are_never_divided(prepared) -> None:
    rows = csv_of([(f"text {n}", f"group{n % 10}") for n in range(200)])
    dataset, _ = prepared("task: t\ndata: {source: a.csv, group_by: label}\n", a_csv=rows)
    groups = [{item.example["label"] for item in part} for part in (dataset.train, dataset.held_out)]
    assert groups[0].isdisjoint(groups[1])
    assert len(dataset.held_out) == 20
    with pytest.raises(BadRecipe, match=r"data.group_by: task t has no such field\. It has: text"):
        prepared("task: t\ndata: {source: a.csv, group_by: author}\n", a_csv=rows)


def test_limits_draw_rows_by_the_seed(prepared) -> None:
    dataset, _ = prepared("task: t\ndata: {source: a.csv, limit: 100, eval_limit: 5}\n", a_csv=MANY)
    assert len(dataset.train) + len(dataset.validation) == 90
    assert len(dataset.held_out) == 5


def test_too_many_bad_rows_stop_the_run(prepared) -> None:
    bad = csv_of([*[(f"text {n}", "a") for n in range(8)], ("", "a"), ("", "b")])
    with pytest.raises(BadData) as raised:
        prepared("task: t\ndata: a.csv\n", a_csv=bad)
    assert str(raised.value) == (
        "2 of 10 rows are invalid, and data.max_invalid allows a share of 0.1: a.csv:10: text is empty; "
        "a.csv:11: text is empty."
    )
    assert len(prepared("task: t\ndata: {source: a.csv, max_invalid: 0.2}\n", a_csv=bad)[1].rows) == 2


def test_no_usable_row_stops_the_run_with_the_first_reasons(prepared) -> None:
    bad = csv_of([("", "a")] * 7)
    with pytest.raises(BadData, match=r"^No usable rows: a.csv:2: text is empty; .* and 2 more\.$"):
        prepared("task: t\ndata: {source: a.csv, max_invalid: 1}\n", a_csv=bad)
    with pytest.raises(BadData, match="have no rows"):
        prepared("task: t\ndata: a.csv\n", a_csv="text,label\n")


def test_too_few_rows_stop_the_run(prepared) -> None:
    with pytest.raises(BadData, match="Too few rows: 1 to train on and 0 held out"):
        prepared("task: t\ndata: a.csv\n", a_csv=csv_of([("one", "a")]))
    with pytest.raises(BadData, match="Every held-out row is also a training row"):
        prepared("task: t\ndata: {source: a.csv, eval: a.csv}\n", a_csv=csv_of([("one", "a")]))


def test_invalid_rows_are_written_one_a_line(prepared, tmp_path: Path) -> None:
    _, invalid = prepared("task: t\ndata: {source: a.csv, max_invalid: 0.5}\n", a_csv=MANY + ",a\n")
    invalid.write(tmp_path / "invalid.jsonl")
    lines = (tmp_path / "invalid.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"source": "a.csv", "line": 402, "reason": "text is empty"}
    ]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=60), st.integers(1, 30), st.integers(0, 5))
def test_a_split_takes_each_row_once_and_leaves_every_label_one(
    labels: list[str], size: int, seed: int
) -> None:
    items = [Item({"text": str(n), "label": label}, str(n), "a", n) for n, label in enumerate(labels)]
    kept, taken = split(items, size, seed, _Labelled())
    assert sorted((*kept, *taken), key=lambda item: item.line) == items
    assert {item.example["label"] for item in kept} == set(labels)
    assert len(taken) == min(size, len(labels) - len(set(labels)))


class _Labelled:
    fields = (Field("text", FieldKind.TEXT, ""), Field("label", FieldKind.LABEL, ""))


def test_grouped_rows_are_divided_with_labels_in_proportion(prepared) -> None:
    rows = "text,label,tags\n" + "".join(
        f"text {n},{'b' if n % 40 >= 30 else 'a'},g{n // 10}\n" for n in range(400)
    )
    dataset, _ = prepared("task: t\ndata: {source: a.csv, group_by: tags, eval_fraction: 0.25}\n", a_csv=rows)
    sides = [{item.example["tags"] for item in part} for part in (dataset.train, dataset.held_out)]
    assert sides[0].isdisjoint(sides[1])
    counts = Counter(item.example["label"] for item in dataset.held_out)
    assert counts["a"] in (70, 80)
    assert counts["b"] in (20, 30)


def test_rows_are_cleaned_where_they_are_trained_on_and_sent_where_they_are_held_out(prepared) -> None:
    rows = "text,label\n" + "".join(f"some  text {n},{'ab'[n % 2]}\n" for n in range(300))
    dataset, _ = prepared("task: t\ndata: a.csv\n", "train.patience=2", a_csv=rows)
    assert all(text.startswith("some text") for text in texts(dataset.train))
    assert all(text.startswith("some  text") for text in texts(dataset.validation) | texts(dataset.held_out))
    assert dataset.data_report.changed == {"whitespace": 300}
    assert dataset.data_report.read == 300


def test_duplicates_and_leaks_are_those_of_the_cleaned_texts(prepared) -> None:
    dataset, _ = prepared(
        "task: t\ndata: {source: a.csv, eval: b.csv}\n",
        a_csv=csv_of([("one  two", "a"), ("one two", "a"), ("three", "b")]),
        b_csv=csv_of([(" three ", "b"), ("new", "b")]),
    )
    assert (dataset.data_report.duplicates, dataset.data_report.leaked) == (1, 1)
    assert [(note.what, note.line, note.detail) for note in dataset.notes if note.what != "changed"] == [
        ("duplicate", 3, "of a.csv:2"),
        ("leaked", 2, ""),
    ]


LONG = "the quick brown fox jumps over the lazy dog and the cat looks on"
NEAR_TRAIN = csv_of([(LONG, "a"), (f"{LONG}!", "a"), (f"{LONG} so", "b"), ("else", "b")])
NEAR_HELD = csv_of([(f"{LONG}?", "b"), ("new", "a")])


@pytest.mark.parametrize(
    ("rule", "train", "held_out", "found"), [("keep", 4, 2, 0), ("report", 4, 2, 1), ("drop", 3, 1, 1)]
)
def test_near_duplicates(prepared, rule: str, train: int, held_out: int, found: int) -> None:
    dataset, _ = prepared(
        f"task: t\ndata: {{source: a.csv, eval: b.csv, near_duplicates: {rule}}}\n",
        a_csv=NEAR_TRAIN,
        b_csv=NEAR_HELD,
    )
    assert (len(dataset.train), len(dataset.held_out)) == (train, held_out)
    assert (dataset.data_report.near_duplicates, dataset.data_report.near_leaked) == (found, found)


PRIVATE = csv_of([("mail a@b.co", "a"), ("call +1 415 555 2671 or +1 415 555 2672", "b"), ("fine", "b")])


def test_personal_data_is_counted_by_kind(prepared) -> None:
    dataset, _ = prepared("task: t\ndata: a.csv\n", a_csv=PRIVATE)
    assert dataset.data_report.pii == {"EMAIL": 1, "PHONE": 2}
    assert [(note.line, note.detail) for note in dataset.notes] == [(2, "EMAIL 1"), (3, "PHONE 2")]


def test_masked_personal_data_is_nowhere_in_the_data_set(prepared) -> None:
    dataset, _ = prepared("task: t\ndata: {source: a.csv, pii: mask}\n", a_csv=PRIVATE)
    assert not any(value in repr(dataset) for value in ("a@b", "415"))
    assert "mail <EMAIL>" in repr(dataset)
    assert dataset.data_report.changed == {"pii": 2}


def test_refused_personal_data_is_told_by_kind_and_line(prepared) -> None:
    with pytest.raises(BadData) as raised:
        prepared("task: t\ndata: {source: a.csv, pii: refuse}\n", a_csv=PRIVATE)
    assert str(raised.value) == (
        "2 rows contain personal data (1 EMAIL, 2 PHONE), and data.pii is refuse: a.csv:2, a.csv:3. Remove "
        "it, or set data.pii to mask."
    )


def test_the_account_is_plain_json_and_says_what_is_not_nothing(prepared, tmp_path: Path) -> None:
    dataset, _ = prepared("task: t\ndata: {source: a.csv, where: {label: b}}\n", a_csv=PRIVATE)
    data_report = dataset.data_report
    assert json.loads(json.dumps(data_report.to_json())) == data_report.to_json()
    assert data_report.lines() == ["Filtered: another label 1", "Personal data: PHONE 2"]
    write_notes(dataset.notes, tmp_path / "rows.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert lines[0] == {"source": "a.csv", "line": 2, "what": "filtered", "detail": "another label"}
    assert lines[1] == {"source": "a.csv", "line": 3, "what": "pii", "detail": "PHONE 2"}


def test_a_held_out_label_that_looks_like_a_training_label_is_named_as_that(prepared) -> None:
    text = "task: t\ndata: {source: a.csv, eval: b.csv}\n"
    rows = [(f"text {n}", ("good", "bad")[n % 2]) for n in range(20)]
    with pytest.raises(BadData) as raised:
        prepared(text, a_csv=csv_of(rows), b_csv=csv_of([("one", "Good"), ("two", "BAD")]))
    alike = "is not among the training rows, which have {}: if both are the same label, rename one"
    for number, (label, known) in enumerate((("Good", "good"), ("BAD", "bad")), 2):
        assert f"b.csv:{number}: label {label!r} {alike.format(repr(known))}" in str(raised.value)
    renamed = text.replace("b.csv}", "b.csv, labels: {rename: {Good: good, BAD: bad}}}")
    dataset, _ = prepared(renamed, a_csv=csv_of(rows), b_csv=csv_of([("one", "Good"), ("two", "BAD")]))
    assert [item.example["label"] for item in dataset.held_out] == ["good", "bad"]


def test_a_column_of_ids_is_not_taken_for_twenty_thousand_labels(
    prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.store.manifest.MAX_LABELS", 19)
    with pytest.raises(BadRecipe, match=r"it has 20 labels, and the limit is 19.*labels\.min_rows drops"):
        prepared("task: t\ndata: a.csv\n", a_csv=csv_of([(f"text {n}", f"id {n % 20}") for n in range(400)]))
    monkeypatch.setattr("hub.store.manifest.MAX_LABELS", 20)
    dataset, _ = prepared(
        "task: t\ndata: a.csv\n", a_csv=csv_of([(f"text {n}", f"id {n % 20}") for n in range(400)])
    )
    assert len(dataset.labels) == 20
