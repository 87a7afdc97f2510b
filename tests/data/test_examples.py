"""Rows become examples; each that does not is accounted for with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hub.api.kinds.reader import InvalidRow
from hub.data.examples import Loaded, load_examples
from hub.errors import BadData, BadPlugin, BadRecipe
from hub.recipe.recipe import Recipe

RecipeMaker = Callable[..., Recipe]


@pytest.fixture
def load(make_recipe: RecipeMaker, labelling, tmp_path: Path):
    def run(text: str, **files: str | bytes) -> Loaded:
        return load_examples(make_recipe(text, **files), "source", labelling, tmp_path / "cache")

    return run


def test_columns_are_found_by_the_names_of_the_fields(load) -> None:
    loaded = load("task: t\ndata: a.csv\n", a_csv='id,label,text,tags\n1,x,hello,\n2,y,bye,"p,q"\n')
    assert [item.example for item in loaded.items] == [
        {"text": "hello", "label": "x", "tags": None},
        {"text": "bye", "label": "y", "tags": ("p", "q")},
    ]
    assert [item.line for item in loaded.items] == [2, 3]
    assert loaded.items[0].request == '{"text":"hello"}'


def test_columns_are_mapped_by_name_or_position(load) -> None:
    text = "task: t\ndata: {source: a.csv, columns: {text: review, label: 2}}\n"
    loaded = load(text, a_csv="id,review,stars\n1,hello,5\n")
    assert loaded.items[0].example == {"text": "hello", "label": "5", "tags": None}


def test_positions_serve_files_without_a_header(load) -> None:
    text = "task: t\ndata: {source: a.tsv, header: false, columns: {text: 1, label: 0}}\n"
    assert load(text, a_tsv="5\thello\n").items[0].example["label"] == "5"


def test_each_bad_row_is_told_with_its_line_and_no_text_of_it(load) -> None:
    content = b"text,label\ngood,x\n,x\ncaf\xe9,x\nsecret,\none\n\xe2\x80\x8b,x\n"
    loaded = load("task: t\ndata: a.csv\n", a_csv=content)
    assert [item.example["text"] for item in loaded.items] == ["good"]
    assert [(row.source, row.line, row.reason) for row in loaded.invalid] == [
        ("a.csv", 3, "text is empty"),
        ("a.csv", 4, "text is not UTF-8 text"),
        ("a.csv", 5, "label is empty"),
        ("a.csv", 6, "has 1 cells where the header has 2"),
        ("a.csv", 7, "`text` is empty: send text with at least one visible character."),
    ]


def test_json_rows_without_a_column_are_bad_one_by_one(load) -> None:
    loaded = load(
        "task: t\ndata: a.jsonl\n", a_jsonl='{"text": "a"}\n{"text": "a", "label": 1}\n{"text": 3}\n'
    )
    assert len(loaded.items) == 1
    assert loaded.invalid == [
        InvalidRow(1, "has no column 'label'", "a.jsonl"),
        InvalidRow(3, "text is a number, not text", "a.jsonl"),
    ]


@pytest.mark.parametrize("cell", [b"Z\xfcrich", rb"Z\ud83d"])
def test_a_cell_of_a_slice_that_is_no_text_can_be_written(load, cell: bytes) -> None:
    text = "task: t\ndata: {source: [a.jsonl]}\nevaluate: {slices: [place]}\n"
    if cell.isascii():
        rows = b'{"text": "one", "label": "x", "place": "%b"}\n' % cell
    else:
        text, rows = text.replace("jsonl", "csv"), b"text,label,place\none,x,%b\n" % cell
    [item] = load(text, **{"a.jsonl": rows, "a.csv": rows}).items
    assert dict(item.extra)["place"].encode().startswith(rb"Z\ud")


def test_rows_are_chosen_by_a_column_and_by_bins(load) -> None:
    text = """
task: t
data:
  source: a.csv
  where: {part: [one, 2]}
  labels: {bins: [{label: high, min: 5}]}
"""
    loaded = load(text, a_csv="part,text,label\none,a,7\n2,b,1\nthree,c,9\n2,d,5\none,e,many\n")
    assert [item.example["text"] for item in loaded.items] == ["a", "d"]
    assert len(loaded.filtered) == 2
    assert loaded.invalid == [InvalidRow(6, "label is not a number", "a.csv")]


def test_a_wrong_delimiter_is_guessed(load) -> None:
    with pytest.raises(BadData, match=r"single column .*: text;label\. Set data\.delimiter to ';'"):
        load("task: t\ndata: a.csv\n", a_csv="text;label\na;b\n")


def test_what_a_task_gets_wrong_is_told_as_its_plugins_fault(load, labelling) -> None:
    labelling.request = lambda example: example["nothing"]
    with pytest.raises(BadPlugin, match=r"Task 't' failed in request\(\) on a.csv:2: KeyError: 'nothing'"):
        load("task: t\ndata: a.csv\n", a_csv="text,label\na,x\n")


def test_sources_carry_constants_and_limits(load) -> None:
    text = """
task: t
data:
  source:
    - {from: a.csv, set: {label: film}, limit: 2}
    - {from: b.csv, set: {label: food}}
  columns: {text: line}
"""
    loaded = load(text, a_csv="line\na\nb\nc\nd\n", b_csv="line\nx\n")
    assert [item.example["label"] for item in loaded.items] == ["film", "film", "food"]
    assert load(text, a_csv="line\na\nb\nc\nd\n", b_csv="line\nx\n").items == loaded.items


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "task: t\ndata: {source: a.csv, columns: {text: id}}\n",
            "recipe.yaml:3: data.columns: a.csv has no column 'label': name the column for it "
            "(Its label), such as {label: NAME}. Available: id, review.",
        ),
        (
            "task: t\ndata:\n  source: a.csv\n  columns:\n    text: reviw\n",
            "recipe.yaml:6: data.columns.text: a.csv has no column 'reviw'. Available: id, review.",
        ),
        (
            "task: t\ndata: {source: a.csv, columns: {text: 7}}\n",
            "recipe.yaml:3: data.columns.text: a.csv has no column 7. Available: id, review.",
        ),
        (
            "task: t\ndata: {source: a.csv, columns: {txt: id}}\n",
            "recipe.yaml:3: data.columns.txt: task t has no such field, did you mean text? "
            "It has: text, label, tags.",
        ),
        (
            "task: t\ndata:\n  source:\n    - {from: a.csv, set: {lable: x}}\n",
            "recipe.yaml:5: data.source.0.set.lable: task t has no such field, did you mean label? "
            "It has: text, label, tags.",
        ),
        (
            "task: t\ndata: {source: a.csv, columns: {text: id, label: id}, where: {lang: en}}\n",
            "recipe.yaml:3: data.where.lang: a.csv has no column 'lang'. Available: id, review.",
        ),
    ],
)
def test_columns_and_fields_that_do_not_exist_are_told(
    load, tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(BadRecipe) as raised:
        load(text, a_csv="id,review\n1,hello\n")
    assert str(raised.value) == f"{tmp_path}/{expected}"
