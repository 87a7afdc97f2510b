"""`hub data`: rows are profiled, and prepared as for training with a record of every change."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hub.bases.cache import Bases
from hub.cli.main import app
from hub.config import find_home
from hub.errors import BadData, Conflict
from hub.store.store import Store

RECIPE = """
name: demo
task: sentiment
data: {source: a.csv, eval_fraction: 0.25, clean: {html: true}}
"""
ROWS = [
    f"the {thing} of {place} is {word},{label}"
    for thing in ("film", "book", "phone")
    for place in ("paris", "london", "france", "city")
    for word, label in (("good", "positive"), ("bad", "negative"))
]
ODD = ["a <b>grand</b> day out,positive", ROWS[0], ",positive"]  # lines 26, 27 and 28


def hub_data(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "a.csv").write_text("\n".join(["text,label", *ROWS, *ODD]) + "\n")
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_splits_are_written_and_counted(recipe: Path, tmp_path: Path) -> None:
    assert hub_data("prepare", recipe).exit_code == 0
    folder = tmp_path / "demo-prepared"
    report = json.loads((folder / "report.json").read_text())
    splits = {split: read(folder / f"{split}.jsonl") for split in ("train", "validation", "held_out")}
    assert report["rows"] == {split: len(rows) for split, rows in splits.items()}
    assert report["rows"]["held_out"] == 6
    texts = [row["text"] for rows in splits.values() for row in rows]
    assert len(texts) == len(set(texts)) == len(ROWS) + 1
    assert report["data_report"]["invalid"] == report["data_report"]["duplicates"] == 1


def test_every_changed_or_filtered_row_is_listed(recipe: Path, tmp_path: Path) -> None:
    assert hub_data("prepare", recipe, "-o", tmp_path / "out").exit_code == 0
    changes = {(change["line"], change["what"]): change for change in read(tmp_path / "out/changes.jsonl")}
    assert set(changes) == {(26, "changed"), (27, "duplicate"), (28, "invalid")}
    changed = changes[26, "changed"]
    assert changed["detail"] == "html"
    assert changed["before"] == {"text": "a <b>grand</b> day out"}
    assert changed["after"] == {"text": "a grand day out"}
    assert changes[28, "invalid"]["detail"] == "text is empty"


@pytest.mark.parametrize("seed", range(4))
def test_texts_before_and_after_do_not_depend_on_the_split(recipe: Path, tmp_path: Path, seed: int) -> None:
    assert hub_data("prepare", recipe, "-o", tmp_path / "out", "--set", f"train.seed={seed}").exit_code == 0
    [changed] = [one for one in read(tmp_path / "out/changes.jsonl") if one["what"] == "changed"]
    assert "<b>" in changed["before"]["text"]
    assert "<b>" not in changed["after"]["text"]


def test_it_is_the_same_each_time_and_nothing_is_overwritten(recipe: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert hub_data("prepare", recipe, "-o", tmp_path / name).exit_code == 0
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    assert isinstance(hub_data("prepare", recipe, "-o", tmp_path / "one").exception, Conflict)


def test_the_report_is_printed_as_json(recipe: Path, tmp_path: Path) -> None:
    shown = json.loads(hub_data("prepare", recipe, "-o", tmp_path / "out", "--json").stdout)
    assert shown["folder"] == str(tmp_path / "out")
    assert shown["data_report"]["changed"] == {"html": 1}


def test_what_was_prepared_can_be_prepared_again(recipe: Path, tmp_path: Path) -> None:
    assert hub_data("prepare", recipe, "-o", tmp_path / "out").exit_code == 0
    again = tmp_path / "out" / "recipe.yaml"
    again.write_text("name: again\ntask: sentiment\ndata: {source: train.jsonl, eval: held_out.jsonl}\n")
    assert hub_data("prepare", again, "-o", tmp_path / "again").exit_code == 0
    assert read(tmp_path / "again/train.jsonl") == read(tmp_path / "out/train.jsonl")


def test_rows_are_looked_at(recipe: Path, tmp_path: Path) -> None:
    shown = hub_data("inspect", recipe / "a.csv", "--html", tmp_path / "look.html")
    assert shown.exit_code == 0, shown.exception
    assert "27 rows" in shown.stdout
    assert re.search(r"HTML tags \(clean.html\) +1 +26", shown.stdout)
    assert "<svg" in (tmp_path / "look.html").read_text()


def test_a_look_is_printed_as_json(recipe: Path) -> None:
    shown = hub_data("inspect", recipe / "a.csv", "--task", "sentiment", "--json")
    found = json.loads(shown.stdout)
    assert found["labels"] == {"positive": 15, "negative": 12}
    assert found["anomalies"]["the same as an earlier row"] == {"rows": 1, "places": ["27"]}


MIXED = """
name: demo
task: classification
base: tiny
data: {source: a.csv, eval_fraction: 0.25, max_invalid: 0.5}
train: {max_steps: 1, patience: 0}
evaluate: {int8: false}
"""


def test_prepare_and_train_agree_about_every_row(
    recipe: Path, tmp_path: Path, tiny_base_folder: Path
) -> None:
    rows = [*ROWS, "no label here,", '"two, labels",nan', '" ",positive', "\u200b,positive"]
    (recipe / "a.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    (recipe / "recipe.yaml").write_text(MIXED)
    without_base = json.loads(hub_data("prepare", recipe, "-o", tmp_path / "one", "--json").stdout)
    assert not without_base["tokenized"]
    Bases(find_home()).pull(str(tiny_base_folder), "tiny")
    with_base = json.loads(hub_data("prepare", recipe, "-o", tmp_path / "two", "--json").stdout)
    assert with_base["tokenized"]
    trained = CliRunner().invoke(app, ["train", str(recipe)])
    assert trained.exit_code == 0, trained.exception
    data = Store(find_home()).get("demo").manifest.data
    assert data is not None
    for report in (without_base, with_base):
        assert report["data_report"]["invalid"] == data.invalid_rows == 4
        assert report["rows"]["train"] + report["rows"]["validation"] == data.train_rows
        assert report["rows"]["held_out"] == data.eval_rows


@pytest.mark.parametrize("command", [("data", "inspect"), ("recipe", "new", "classification")])
def test_an_empty_source_is_named(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*command, ""])
    assert isinstance(result.exception, BadData)
    assert "is empty" in str(result.exception)
