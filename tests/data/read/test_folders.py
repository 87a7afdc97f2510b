"""A folder is a source: data files in the order of their names, or a text file for each row."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.data.examples import Loaded, load_examples
from hub.errors import BadData
from hub.recipe.recipe import Recipe
from tests.support.training import Labelling

RecipeMaker = Callable[..., Recipe]


@pytest.fixture
def load(make_recipe: RecipeMaker, tmp_path: Path) -> Callable[..., Loaded]:
    def run(files: dict[str, str | bytes], source: str = "rows", folder: str = "rows") -> Loaded:
        (tmp_path / folder).mkdir()
        for name, content in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        recipe = make_recipe(f"task: t\ndata: {{source: [{source}]}}\n")
        return load_examples(recipe, "source", Labelling(), tmp_path / "cache")

    return run


def rows(loaded: Loaded) -> list[tuple[str, int, str, str]]:
    return [(item.source, item.line, item.example["text"], item.example["label"]) for item in loaded.items]


def test_data_files_are_read_in_the_order_of_their_names(load) -> None:
    files = {
        "b.csv": "text,label\nb,x\n",
        "a.jsonl": '{"text": "a", "label": "y"}\n',
        "c.tsv.gz": gzip.compress(b"text\tlabel\nc\tz\n"),
        "README.md": "not data",
        ".hidden.csv": "no",
    }
    assert rows(load(files)) == [("a.jsonl", 1, "a", "y"), ("b.csv", 2, "b", "x"), ("c.tsv", 2, "c", "z")]


def test_text_files_get_the_label_of_their_folder(load) -> None:
    loaded = load(
        {"pos/2.txt": "good\n\nfilm", "pos/1.txt": "\ufeffgreat", "neg/1.txt": "bad", "neg/note.md": "no"}
    )
    assert rows(loaded) == [
        ("neg/1.txt", 1, "bad", "neg"),
        ("pos/1.txt", 1, "great", "pos"),
        ("pos/2.txt", 1, "good\n\nfilm", "pos"),
    ]
    assert loaded.read == 3


def test_text_files_without_folders_may_get_one_label(load) -> None:
    loaded = load({"1.txt": "one", "2.txt": "two"}, "{from: rows, set: {label: film}}")
    assert rows(loaded) == [("1.txt", 1, "one", "film"), ("2.txt", 1, "two", "film")]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_of_another_encoding_can_be_written_and_stays_different(load) -> None:
    names = [os.fsdecode(name) for name in (b"caf\xe9.txt", b"caf\xe8.txt")]
    loaded = load({f"a/{names[0]}": "good", f"a/{names[1]}": b"\xff"})
    found = [loaded.items[0].source, loaded.invalid[0].source]
    assert [source.encode() for source in found] == [rb"a/caf\udce9.txt", rb"a/caf\udce8.txt"]
    assert rows(load({os.fsdecode(b"\xe9.csv"): "text,label\nb,x\n"}, "more", "more")) == [
        (r"\udce9.csv", 2, "b", "x")
    ]


def test_files_of_one_name_are_told_apart_by_their_paths(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    for name in ("old/a.csv", "old/b.csv", "new/A.csv", "pos/1.txt", "test/pos/1.txt", "train/pos/1.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text,label\none,x\n" if path.suffix == ".csv" else "one")

    def sources(source: str, eval: str = "[]") -> list[str]:
        recipe = make_recipe(f"task: t\ndata: {{source: [{source}], eval: {eval}}}\n")
        return [item.source for item in load_examples(recipe, "source", Labelling(), tmp_path / "c").items]

    assert sources("old, new/A.csv, old/b.csv") == ["old/a.csv", "b.csv", "new/A.csv", "b.csv"]
    assert sources("old/b.csv, new/A.csv", "[old/a.csv]") == ["b.csv", "new/A.csv"]
    assert sources("train, test") == ["train/pos/1.txt", "test/pos/1.txt"]
    assert sources("train", "[test]") == ["train/pos/1.txt"]
    assert sources("train") == ["pos/1.txt"]


def test_a_bad_text_file_is_told_with_its_name_and_line(load) -> None:
    loaded = load({"a/1.txt": b"one\ntw\xff", "a/2.txt": "", "a/3.txt": b"x" * 800_001, "a/4.txt": "fine"})
    assert [(row.source, row.line, row.reason) for row in loaded.invalid] == [
        ("a/1.txt", 2, "is not UTF-8 text"),
        ("a/2.txt", 1, "text is empty"),
        ("a/3.txt", 1, "has more than 800,000 bytes"),
    ]
    assert len(loaded.items) == 1


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.md": ""}, r"rows: has no data file: no name ends in \.csv"),
        ({"a.csv": "", "b/1.txt": ""}, "has data files and .txt files in subfolders"),
        ({"a.txt": "", "b/1.txt": ""}, "has .txt files and .txt files in subfolders"),
    ],
)
def test_a_folder_that_cannot_be_read_is_told(load, files: dict[str, str], expected: str) -> None:
    with pytest.raises(BadData, match=expected):
        load(files)


def test_texts_of_another_encoding_are_read_as_the_recipe_says(make_recipe, tmp_path: Path) -> None:
    for n, label in enumerate(("good", "bad")):
        (tmp_path / "texts" / label).mkdir(parents=True)
        (tmp_path / "texts" / label / "1.txt").write_text(f"caf\u00e9 {n}", encoding="cp1252")
    recipe = make_recipe("task: t\ndata: {source: texts, encoding: cp1252}\n")
    loaded = load_examples(recipe, "source", Labelling(), tmp_path / "cache")
    assert {item.example["text"] for item in loaded.items} == {"caf\u00e9 0", "caf\u00e9 1"}
