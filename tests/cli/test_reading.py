"""Files like the training data can be evaluated, predicted and inspected; other files need options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.bases.cache import Bases
from hub.cli.main import app
from hub.config import find_home
from hub.errors import BadRequest, HubError

RECIPE = """
name: demo
task: sentiment
base: tiny
data:
  source: a.csv
  header: false
  delimiter: ";"
  encoding: cp1252
  columns: {text: 1, label: 0}
train: {max_steps: 4, patience: 0, learning_rate: 0.02, warmup: 0}
evaluate: {int8: false}
"""
ROWS = [
    (label, f"the caf\u00e9, {n} in all, was {word}")
    for n in range(20)
    for word, label in (("good", "positive"), ("bad", "negative"))
]


def hub(*arguments: object) -> Any:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return json.loads(result.stdout)


def refused(*arguments: object) -> HubError:
    error = CliRunner().invoke(app, list(map(str, arguments))).exception
    assert isinstance(error, HubError), error
    return error


@pytest.fixture
def trained(tmp_path: Path, tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a version trained on `a.csv`, which has no header and is not UTF-8."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUB_SERVE__ENGINE", "torch")
    Bases(find_home()).pull(str(tiny_base_folder), "tiny")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    rows = "".join(f"{label};{text}\n" for label, text in ROWS)
    (tmp_path / "a.csv").write_text(rows, encoding="cp1252")
    hub("train", ".", "--deploy")
    return tmp_path


def test_the_training_file_is_read_as_it_was(trained: Path) -> None:
    assert hub("evaluate", "demo", "--data", "a.csv")["rows"] == len(ROWS)
    asked = hub("predict", "demo", "--file", "a.csv", "-o", "out.jsonl")
    assert (asked["answered"], asked["failed"]) == (len(ROWS), 0)
    first = json.loads((trained / "out.jsonl").read_text().splitlines()[0])
    assert first["1"] == ROWS[0][1]
    seen = hub("data", "inspect", "a.csv", "--like", "demo")
    assert seen["rows"] == len(ROWS)
    assert seen["labels"] == {"positive": 20, "negative": 20}


def test_a_file_of_another_form_is_read_as_it_looks(trained: Path) -> None:
    rows = "".join(f'"{text}",{label}\n' for label, text in ROWS)
    (trained / "b.csv").write_text(f"text,label\n{rows}")
    own = hub("evaluate", "demo", "--data", "a.csv")
    assert hub("evaluate", "demo", "--data", "b.csv")["metrics"] == own["metrics"]
    hub("predict", "demo", "--file", "a.csv", "-o", "own.jsonl")
    hub("predict", "demo", "--file", "b.csv", "-o", "out.jsonl")
    answers = [
        [json.loads(line)[name] for line in (trained / file).read_text().splitlines()]
        for file, name in (("own.jsonl", "score"), ("out.jsonl", "score"))
    ]
    assert answers[0] == answers[1]
    assert hub("data", "inspect", "b.csv", "--like", "demo")["rows"] == len(ROWS)


OPTIONS = ("--delimiter", "|", "--no-header", "--column", "text=1")


def test_options_say_how_to_read_a_file(trained: Path) -> None:
    (trained / "c.csv").write_text("".join(f"{n}|{text}|{label}\n" for n, (label, text) in enumerate(ROWS)))
    label = ("--column", "label=2")
    assert hub("evaluate", "demo", "--data", "c.csv", *OPTIONS, *label)["rows"] == len(ROWS)
    assert hub("predict", "demo", "--file", "c.csv", "-o", "out.csv", *OPTIONS)["answered"] == len(ROWS)
    for chosen in ((), ("--task", "sentiment")):
        seen = hub("data", "inspect", "c.csv", *OPTIONS, *label, *chosen)
        assert (seen["rows"], set(seen["labels"])) == (len(ROWS), {"positive", "negative"})
    made = hub("recipe", "new", "sentiment", "c.csv", *OPTIONS, *label, "-o", "made", "--base", "tiny")
    assert made["columns"] == {"text": 1, "label": 2}


def test_a_tab_can_be_named_and_a_word_is_no_delimiter(trained: Path) -> None:
    (trained / "d.csv").write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for label, text in ROWS))
    assert hub("evaluate", "demo", "--data", "d.csv", "--delimiter", "\\t")["rows"] == len(ROWS)
    error = refused("evaluate", "demo", "--data", "d.csv", "--delimiter", "tab")
    assert isinstance(error, BadRequest)
    assert "--delimiter tab" in str(error)
