"""Training methods and metrics of a third party: the examples of docs/plugins/methods.md and metrics.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hub.errors import BadPlugin, BadRecipe
from hub.recipe.by_rows import TrainingRows
from hub.recipe.recipe import Recipe
from hub.training.train import TrainResult
from tests.support.plugins import Install, plugin_of, write_page

RECIPE = """
task: sentiment
base: tiny
data: {source: a.csv, eval_fraction: 0.2}
train: {epochs: 1, batch_size: 8}
evaluate: {int8: false}
"""
ROWS = "text,label\n" + "".join(
    f"the {thing} is {word},{label}\n"
    for thing in ("film", "book", "phone", "food", "plot", "actor")
    for word, label in (
        ("good", "positive"),
        ("great", "positive"),
        ("bad", "negative"),
        ("awful", "negative"),
    )
)
Run = Callable[..., TrainResult]
RecipeMaker = Callable[..., Recipe]


def test_a_method_of_a_plugin_is_trained_stored_and_served_merged(
    install: Install, tmp_path: Path, make_recipe: RecipeMaker, run: Run
) -> None:
    install(write_page("methods", tmp_path))
    recipe = make_recipe(RECIPE, "method.type=loha", "method.options.r=2", a_csv=ROWS)
    result = run(recipe)
    manifest = result.version.manifest
    assert manifest.serving.merged
    assert manifest.recipe["method"]["type"] == "loha"
    assert recipe.settled(TrainingRows(100, "bert")).train.learning_rate == 5e-3


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("method.type=loar", r"there is no training method 'loar'; use auto, bitfit, few-shot, full"),
        ("method.options.r=2", r"options are those of plugins' methods, and lora has none"),
    ],
)
def test_an_unknown_method_and_options_of_a_built_in_one_are_refused(
    make_recipe: RecipeMaker, override: str, reason: str
) -> None:
    with pytest.raises(BadRecipe, match=reason):
        make_recipe(RECIPE, override, a_csv=ROWS)


def test_options_are_checked_by_the_methods_model(
    install: Install, tmp_path: Path, make_recipe: RecipeMaker, run: Run
) -> None:
    install(write_page("methods", tmp_path))
    with pytest.raises(BadRecipe, match=r"method\.options\.r: Input should be less than or equal to 64"):
        run(make_recipe(RECIPE, "method.type=loha", "method.options.r=99", a_csv=ROWS))


@pytest.mark.parametrize(
    ("returned", "reason"), [("model", "returned .*, not a PeftModel"), ("1 / 0", r"failed in adapt\(\)")]
)
def test_a_method_that_fails_is_named(
    install: Install, tmp_path: Path, make_recipe: RecipeMaker, run: Run, returned: str, reason: str
) -> None:
    code = f"""
@hookimpl
def hub_methods():
    yield MethodSpec("bad", "Trains.", "made:Bad")

class Bad(TrainingMethod):
    def adapt(self, model, request):
        return {returned}
"""
    install(plugin_of(tmp_path, code))
    with pytest.raises(BadPlugin, match=f"Training method 'bad' {reason}"):
        run(make_recipe(RECIPE, "method.type=bad", a_csv=ROWS))


def test_metrics_of_plugins_stand_beside_those_of_the_task(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_recipe: RecipeMaker, run: Run
) -> None:
    monkeypatch.setenv("HUB_PLUGINS__COST__COSTS", '{"positive": 3}')
    install(write_page("metrics", tmp_path))
    result = run(make_recipe(RECIPE, "evaluate.metrics=[mean_cost, balanced_accuracy]", a_csv=ROWS))
    metrics = result.version.manifest.metrics
    assert {"mean_cost", "balanced_accuracy", "accuracy"} <= metrics.keys()
    assert 0 <= metrics["mean_cost"] <= 3
    assert 0 <= metrics["balanced_accuracy"] <= 1


def test_an_unknown_metric_is_told_before_the_run(make_recipe: RecipeMaker, run: Run) -> None:
    with pytest.raises(
        BadRecipe, match=r"evaluate\.metrics: No metric named 'nope'. Available: balanced_acc"
    ):
        run(make_recipe(RECIPE, "evaluate.metrics=[nope]", a_csv=ROWS))
