"""`hub evaluate` and the gate of `hub train --deploy` in this process, on a tiny base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hub.bases.cache import Bases
from hub.cli.main import app
from hub.config import find_home
from hub.errors import BadConfig, BadData, BadRecipe, BadRequest, HubError, NotFound
from hub.store.store import Store
from tests.support.plugins import Install, install, plugin_of
from tests.support.trained import Trained, train_once

__all__ = ["install"]

RECIPE = """
name: demo
task: sentiment
base: tiny
data:
  source: a.csv
  eval_fraction: 0.3
  columns: {text: review, label: stars}
  labels: {rename: {"1": negative, "5": positive}}
train: {batch_size: 8, learning_rate: 0.02, max_steps: 30, warmup: 0, patience: 0}
evaluate: {int8: false, slices: [shop], folds: 2}
"""
ONE_RUN = ("--set", "evaluate.folds=null")
POOR = (*ONE_RUN, "--set", "train.max_steps=1", "--set", "train.learning_rate=1e-9")
THINGS = ("film", "book", "phone", "food", "plot", "actor", "song", "game", "car", "hotel")
PLACES = ("paris", "london", "france", "city", "market")
CELLS = [
    (f"the {thing} of {place} is {word}", stars, place)
    for thing in THINGS
    for place in PLACES
    for word, stars in (("good", 5), ("bad", 1))
]


ENGINE = """
from dataclasses import replace

@hookimpl
def hub_engines():
    yield EngineSpec("mirrored", "Scores that have the other sign.", "made:Mirrored")

class Mirrored(EngineBuilder):
    def build(self, request):
        from hub.engine.build import build_engine
        engine = build_engine(request.base, kind="torch", slots=request.slots, device="cpu")
        run = engine.run
        engine.run = lambda rows: [replace(output, values=-output.values) for output in run(rows)]
        return engine
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path) -> Trained:
    rows = "review,stars,shop\n" + "".join(f"{t},{s},{p}\n" for t, s, p in CELLS)
    return train_once(tmp_path_factory.mktemp("trained"), tiny_base_folder, RECIPE, rows)


@pytest.fixture
def recipe(tmp_path: Path, trained: Trained) -> Path:
    """A folder with a recipe and its rows; demo@1, trained from them, is live."""
    return trained.copy(tmp_path)


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """The rows as answers have them: the task's own columns and labels."""
    path = tmp_path / "named.jsonl"
    rows = [
        {"text": text, "label": "positive" if stars == 5 else "negative", "shop": shop}
        for text, stars, shop in CELLS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def hub(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def told(*arguments: object) -> dict[str, Any]:
    result = hub(*arguments, "--json")
    assert result.exit_code == 0, result.output + repr(result.exception)
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def refused(kind: type[HubError], *arguments: object) -> str:
    error = hub(*arguments).exception
    assert isinstance(error, kind), error
    return str(error)


def test_a_version_is_measured_on_a_file_like_its_own_or_with_the_names_of_the_task(
    trained: Trained, recipe: Path, named: Path, tmp_path: Path
) -> None:
    assert {one["column"] for one in trained.answer["evaluation"]["slices"]} <= {"length", "label", "shop"}
    own = told("evaluate", "demo", "--data", recipe / "a.csv")
    assert own["rows"] == 100
    assert own["metrics"]["accuracy"] > 0.9
    assert told("evaluate", "demo@1", "--data", named)["metrics"] == own["metrics"]
    renamed = tmp_path / "renamed.csv"
    renamed.write_text((recipe / "a.csv").read_text().replace("review,stars", "words,class"))
    again = told("evaluate", "demo", "--data", renamed, "--column", "text=words", "--column", "label=class")
    assert again["metrics"] == own["metrics"]


def test_what_is_shown_and_written(recipe: Path, named: Path, tmp_path: Path) -> None:
    with named.open("a") as file:
        file.write('{"text": "", "label": "positive"}\n{"text": "the food is good", "label": "odd"}\n')
    shown = hub("evaluate", "demo", "--data", named, "--slice", "shop", "-o", tmp_path / "out").stdout
    assert "demo@1 on 101 rows" in shown
    for word in ("95 %", "PRECISION", "Matthews", "paris", "tokens", "Calibration error", "Over 2 folds"):
        assert word in shown, word
    assert "1 invalid row:" in shown
    assert "named.jsonl:101: text is empty" in shown
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert "odd" in [mistake["texts"]["expected"]["label"] for mistake in written["mistakes"]]
    facts = hub("adapters", "show", "demo").stdout
    for word in ("cross-validation", "error 0.", "no temperature: 0 validation rows are too few"):
        assert word in facts, word
    silent = told("evaluate", "demo", "--data", named)
    assert silent["mistakes"][0]["texts"] is None
    assert silent["metrics"] == written["metrics"]


def test_two_versions_are_compared_on_the_same_rows(recipe: Path, named: Path) -> None:
    told("train", recipe, *POOR)
    found = told("evaluate", "demo@1", "--data", named, "--against", "demo@2")
    assert found["against"] == "demo@2"
    assert found["comparison"]["rows"] == 100
    assert found["comparison"]["paired"]["low"] > 0
    assert found["comparison"]["p_better"] < 0.01
    shown = hub("evaluate", "demo@2", "--data", named, "--against", "demo@1").stdout
    assert "demo@2 is worse by more than chance explains (p < 0.001, McNemar p < 0.001)" in shown


def test_a_version_is_measured_on_an_engine_of_ones_choice(
    trained: Trained, recipe: Path, named: Path, install: Install, tmp_path: Path
) -> None:
    install(plugin_of(tmp_path, ENGINE))
    own = told("evaluate", "demo@1", "--data", named)
    assert told("evaluate", "demo@1", "--data", named, "--engine", "torch")["metrics"] == own["metrics"]
    mirrored = told("evaluate", "demo@1", "--data", named, "--engine", "mirrored")["metrics"]
    assert mirrored["accuracy"] == pytest.approx(1 - own["metrics"]["accuracy"])
    message = refused(BadConfig, "evaluate", "demo@1", "--data", named, "--engine", "gpu2")
    assert "--engine: No engine named 'gpu2'. Available: auto" in message


def test_inputs_that_cannot_be_measured_are_refused(recipe: Path, named: Path, tmp_path: Path) -> None:
    assert "Available: demo@1" in refused(NotFound, "evaluate", "demo@7", "--data", named)
    assert "write FIELD=COLUMN" in refused(BadRequest, "evaluate", "demo", "--data", named, "--column", "x")
    assert "--slice nothing: no row has this column" in refused(
        BadRequest, "evaluate", "demo", "--data", named, "--slice", "nothing"
    )
    assert "has no column 'words'" in refused(
        BadRecipe, "evaluate", "demo", "--data", recipe / "a.csv", "--column", "text=words"
    )
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"text": ""}\n')
    assert "no row can be used: text is empty" in refused(BadData, "evaluate", "demo", "--data", empty)


def test_the_gate_runs_the_live_version_on_the_same_rows(recipe: Path) -> None:
    shown = hub("train", recipe, "--deploy", *POOR)
    assert shown.exit_code == 1
    assert "of demo@1 on the same 30 held-out rows, a drop; fewer than 200 rows are too few" in " ".join(
        shown.stdout.split()
    )
    gate = json.loads((find_home() / "runs" / "demo" / "gate.json").read_text())
    assert (gate["version"], gate["live"], gate["passed"]) == ("demo@2", "demo@1", False)
    assert gate["comparison"]["second"] > gate["comparison"]["first"]
    unpaired = told(
        "train", recipe, "--deploy", *ONE_RUN, "--set", "deploy.paired=false", "--set", "train.seed=3"
    )
    assert "comparison" not in unpaired["deploy"]
    assert "of demo@1" in unpaired["deploy"]["reason"]
    moves = Store(find_home()).history("demo")
    assert moves[-1].reason == f"hub train: {unpaired['deploy']['reason']}"


def test_a_gate_whose_file_cannot_be_written_names_the_stored_version(recipe: Path) -> None:
    file = find_home() / "runs" / "demo" / "gate.json"
    file.unlink()
    file.mkdir()
    shown = hub("train", recipe, "--deploy", *ONE_RUN)
    said = " ".join(shown.stdout.split())
    assert shown.exit_code == 1
    assert "Not deployed: Is a directory" in said
    assert f"To put it live: hub deploy {Store(find_home()).get('demo').ref} --as demo" in said


def test_a_live_version_with_other_labels_is_judged_by_its_stored_metrics(recipe: Path) -> None:
    other = (*ONE_RUN, "--set", 'data.labels.rename={"1": negative, "5": neutral}')
    moved = told("train", recipe, "--deploy", "--set", "deploy.max_drop=1", *other)["deploy"]
    assert moved["passed"]
    assert moved["reason"].endswith("demo@1 was not run on the same rows: it has other labels")


def test_a_live_version_with_a_missing_base_is_judged_by_its_stored_metrics(
    recipe: Path, tmp_path: Path
) -> None:
    from tests.support.tiny import tiny_encoder

    Bases(find_home()).pull(str(tiny_encoder(tmp_path / "roberta", "roberta").path), "other")
    shutil.rmtree(find_home() / "bases" / "tiny")
    moved = told("train", recipe, "--deploy", *ONE_RUN, "--set", "deploy.max_drop=1", "--set", "base=other")[
        "deploy"
    ]
    assert moved["passed"]
    assert "was not run on the same rows: No base on this machine has the fingerprint" in moved["reason"]


def test_a_slice_that_no_row_has_is_refused_before_training(recipe: Path) -> None:
    message = refused(BadRecipe, "train", recipe, "--set", "evaluate.slices=[shopp]")
    assert "evaluate.slices: no held-out row has a column 'shopp'" in message
    assert [str(version.ref) for version in Store(find_home()).versions()] == ["demo@1"]
