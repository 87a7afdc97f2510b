"""`hub train` in this process, on a tiny base."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hub.bases.cache import Bases
from hub.cli.main import app
from hub.config import find_home
from hub.errors import BadData, BadRecipe, Conflict, HubError, InvalidName, NotFound
from hub.store.change import Deploy
from hub.store.store import Store
from tests.support.preloaded import preloaded

RECIPE = """
name: demo
task: sentiment
base: tiny
data: {source: a.csv, eval_fraction: 0.25}
train: {batch_size: 8, learning_rate: 0.02, max_steps: 30, warmup: 0, patience: 0}
"""
POOR = ("--set", "train.max_steps=1", "--set", "train.learning_rate=1e-9")
ROWS = "text,label\n" + "".join(
    f"the {thing} of {place} is {word},{label}\n"
    for thing in ("film", "book", "phone", "food", "plot")
    for place in ("paris", "london", "france", "city")
    for word, label in (("good", "positive"), ("bad", "negative"))
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny import tiny_encoder

    return tiny_encoder(tmp_path_factory.mktemp("base") / "encoder").path


@pytest.fixture
def recipe(tmp_path: Path, tiny: Path) -> Path:
    """A folder with a recipe and its rows; its base is in the state folder."""
    Bases(find_home()).pull(str(tiny), "tiny")
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "a.csv").write_text(ROWS + ",positive\n")
    return folder


def hub_train(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def refused(kind: type[HubError], *arguments: object) -> str:
    error = hub_train(*arguments).exception
    assert isinstance(error, kind), error
    return str(error)


def live() -> dict[str, str]:
    return {found.name: str(found.stable.ref) for found in Store(find_home()).deployments()}


def test_a_recipe_becomes_a_version_and_the_figures_are_shown(recipe: Path) -> None:
    shown = hub_train(recipe)
    assert shown.exit_code == 0, shown.output
    assert "Stored demo@1" in shown.stdout
    assert "30 for training, 10 held out, 1 invalid" in shown.stdout
    assert "a.csv:42: text is empty" in shown.stdout
    assert "hub deploy demo@1 --as demo" in shown.stdout
    assert [str(version.ref) for version in Store(find_home()).versions()] == ["demo@1"]
    assert live() == {}


def test_the_data_report_is_printed(recipe: Path) -> None:
    (recipe / "a.csv").write_text(ROWS.replace("text,label\n", "text,label\nit is  a@b.co,positive\n"))
    shown = hub_train(recipe, "--set", "train.max_steps=2", "--set", "evaluate.folds=2").stdout
    assert "Cleaned: whitespace 1." in shown
    assert "Personal data: EMAIL 1." in shown
    assert "Over 2 folds: accuracy" in shown


def test_ablation_prints_one_line(recipe: Path) -> None:
    arguments = ("--ablation", "--set", "augment.copies=1", "--set", "train.max_steps=2")
    shown = hub_train(recipe, *arguments)
    assert shown.exit_code == 0, shown.output
    flat = " ".join(shown.stdout.split())
    number = r"[+-]?[0-9.]+"
    assert re.search(
        rf"Augmentation: accuracy {number} with copies, {number} without; "
        rf"difference {number} \({number} to {number}\), p [=<] {number}\.",
        flat,
    ), flat
    assert "Augmented copies: " in flat
    result = json.loads(hub_train(recipe, *arguments, "--json").stdout)["ablation"]
    assert (result["rows"], result["steps"], result["steps_without"]) == (10, 2, 2)


def test_ablation_of_a_recipe_without_copies_is_refused(recipe: Path) -> None:
    assert "set copies to 1 or more" in refused(BadRecipe, recipe, "--ablation")


def test_json_is_one_document(recipe: Path) -> None:
    result = json.loads(hub_train(recipe / "recipe.yaml", "--json").stdout)
    assert result["version"] == "demo@1"
    assert result["metrics"]["accuracy"] > result["baseline"]["accuracy"]
    assert result["rows"] == {
        "train": 30,
        "validation": 0,
        "held_out": 10,
        "filtered": 0,
        "duplicates": 0,
        "leaked": 0,
        "invalid": 1,
    }
    assert result["data_report"]["read"] == 41
    assert Path(result["invalid_file"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "deployment"),
    [(["--deploy"], "demo"), (["--deploy", "movies"], "movies"), (["--deploy=movies"], "movies")],
)
def test_a_version_goes_live_under_the_name_given_or_its_own(
    recipe: Path, arguments: list[str], deployment: str
) -> None:
    shown = hub_train(recipe, *arguments, *POOR)
    assert shown.exit_code == 0, shown.output
    assert live() == {deployment: "demo@1"}


def test_deploy_before_the_recipe_takes_no_name(recipe: Path) -> None:
    assert hub_train("--set", "train.max_steps=1", "--deploy", recipe).exit_code == 0
    assert live() == {"demo": "demo@1"}


def test_a_worse_version_is_stored_and_not_deployed(recipe: Path) -> None:
    assert hub_train(recipe, "--deploy").exit_code == 0
    shown = hub_train(recipe, "--deploy", *POOR)
    assert shown.exit_code == 1
    assert "Not deployed: accuracy" in shown.stdout
    assert "No better than" in shown.stdout
    assert live() == {"demo": "demo@1"}
    allowed = hub_train(recipe, "--deploy", *POOR, "--set", "deploy.max_drop=1", "--json")
    assert json.loads(allowed.stdout)["deploy"]["passed"]
    assert live() == {"demo": "demo@2"}


def test_another_task_is_refused_before_training(recipe: Path) -> None:
    hub_train(recipe, "--deploy", *POOR)
    result = refused(Conflict, recipe, "--deploy", "--set", "task=classification")
    assert result.startswith("Deployment 'demo' serves the task 'sentiment'")
    assert len(Store(find_home()).versions()) == 1


def test_the_version_that_is_live_is_not_deployed_again(recipe: Path) -> None:
    hub_train(recipe, "--deploy", *POOR)
    generation = Store(find_home()).generation()
    assert "demo@1 is live as demo already" in hub_train(recipe, "--deploy", *POOR).stdout
    assert Store(find_home()).generation() == generation


class OldServer:
    """A server that started before the plugin was installed, or with another version of it."""

    url = "http://127.0.0.1:1"

    def __init__(self, plugins: list[dict[str, Any]]) -> None:
        self._plugins = plugins

    def deploy(self, name: str, change: Deploy) -> None:
        raise NotFound(f"{change.version} cannot be served here.")

    def status(self) -> dict[str, Any]:
        return {"plugins": self._plugins}


OLD = {"name": "sentiment", "distribution": "grafthub-sentiment", "version": "0.1", "state": "ok"}


@pytest.mark.parametrize(
    ("plugins", "said"),
    [
        ([OLD | {"tasks": ["sentiment"]}], "has grafthub-sentiment 0.1, and this environment has"),
        ([], "has no task 'sentiment', and this environment has"),
        (
            [OLD | {"distribution": "fork", "tasks": ["sentiment"]}],
            "has the task 'sentiment' from another plugin than grafthub-sentiment",
        ),
    ],
)
def test_a_server_that_cannot_take_the_version_leaves_it_stored_and_is_to_be_restarted(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, plugins: list[dict[str, Any]], said: str
) -> None:
    monkeypatch.setattr(
        "hub.client.connect.connect", lambda settings, server: nullcontext(OldServer(plugins))
    )
    shown = hub_train(recipe, "--deploy", *POOR)
    assert shown.exit_code == 1
    output = " ".join(shown.stdout.split())
    assert "Not deployed: demo@1 cannot be served here." in output
    assert f"The server at http://127.0.0.1:1 {said}" in output
    assert output.endswith("Stored as demo@1. To put it live: hub deploy demo@1 --as demo")
    result = json.loads(hub_train(recipe, "--deploy", *POOR, "--json").stdout)
    assert result["version"] == "demo@1"
    assert result["deploy"]["failed"] == "demo@1 cannot be served here."


def test_mistakes_are_found_before_anything_is_loaded(recipe: Path, tmp_path: Path) -> None:
    assert "train.epoch: unknown key" in refused(BadRecipe, recipe, "--set", "train.epoch=1")
    assert "there is no recipe here" in refused(BadRecipe, tmp_path)
    assert "not a valid deployment name" in refused(InvalidName, recipe, "--deploy", "No Name")
    (recipe / "a.csv").write_text("text,label\n")
    assert "No usable rows" in refused(BadData, recipe)
    assert Store(find_home()).versions() == []


def test_an_interrupted_run_can_be_resumed(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hub.cli.screen import output

    class Interrupting(output.Bars):
        def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
            super().__call__(stage, done, total, note)
            if (stage, done) == ("train", 20):
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(output, "Bars", Interrupting)
        stopped = hub_train(recipe)
    assert stopped.exit_code == 130
    assert "--resume" in stopped.stderr
    result = json.loads(hub_train(recipe, "--resume", "--json").stdout)
    assert result["resumed_from"] == 16
    assert result["steps"] == 30


def test_a_run_that_was_killed_goes_on_to_the_same_weights(recipe: Path) -> None:
    """SIGKILL right after a checkpoint, in a process of its own; nothing gets to clean up."""
    slow = ["--set", "train.epochs=40", "--set", "train.patience=0"]
    with open(os.devnull, "w") as nothing:
        process = preloaded().start(
            "hub", "train", str(recipe), *slow, env=os.environ, stdout=nothing, stderr=nothing
        )
    checkpoints = find_home() / "runs" / "demo" / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("checkpoint-*/trainer_state.json")) and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before its first checkpoint"
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert Store(find_home()).versions() == []
    resumed = json.loads(hub_train(recipe, *slow, "--resume", "--json").stdout)
    assert resumed["resumed_from"] > 0
    whole = json.loads(hub_train(recipe, *slow, "--json").stdout)
    assert (resumed["sha256"], whole["new"]) == (whole["sha256"], False)
