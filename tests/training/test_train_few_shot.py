# ruff: noqa: TID253 - reads stored adapters with plain PEFT
"""Few-shot runs from recipe to stored version, on a tiny random base."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoTokenizer

from hub.bases.cache import Bases
from hub.engine.quiet import peft_quiet
from hub.errors import BadRecipe
from hub.evaluation.evaluator import Evaluator
from hub.recipe.recipe import Recipe
from hub.registry.host import Registry
from hub.store.store import Store
from hub.training.fit.model import load_base
from hub.training.search.session import Session
from hub.training.train import TrainResult

RecipeMaker = Callable[..., Recipe]
Trainer = Callable[..., TrainResult]

RECIPE = """
task: sentiment
base: tiny
data: {source: a.csv, eval: b.csv}
method: {type: few-shot}
train: {learning_rate: 0.01, batch_size: 8, max_steps: 12, checkpoint_steps: 4}
evaluate: {int8: false}
report: {trackers: []}
"""
THINGS = ("film", "book", "phone", "food", "plot", "actor")
WORDS = (("good", "positive"), ("great", "positive"), ("bad", "negative"), ("awful", "negative"))
FEW = "text,label\n" + "".join(
    f"the {thing} is {word},{label}\n" for thing in THINGS[:4] for word, label in WORDS
)
HELD_OUT = "text,label\n" + "".join(
    f"i say the {thing} is {word},{label}\n" for thing in THINGS for word, label in WORDS
)


def test_a_few_rows_become_a_version_that_plain_peft_serves(
    make_recipe: RecipeMaker, run: Trainer, registry: Registry, bases: Bases
) -> None:
    stages: list[str] = []
    others = HELD_OUT.replace("i say ", "")  # without rows of FEW, which are left out as leaks
    recipe = make_recipe(RECIPE, "train.max_steps=30", a_csv=FEW, b_csv=others)
    result = run(recipe, progress=lambda stage, done, total, note="": stages.append(stage))
    manifest = result.version.manifest
    assert manifest.recipe is not None
    assert manifest.recipe["method"]["type"] == "few-shot"
    assert manifest.metrics["accuracy"] > result.outcome.baseline["accuracy"] + 0.3
    assert result.outcome.fitted.history[0]["loss"] > result.outcome.fitted.history[-1]["loss"]
    assert {"train", "fit head"} <= set(stages)
    config = json.loads((result.version.path / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    base = bases.get("tiny")
    with peft_quiet():
        plain = PeftModel.from_pretrained(load_base(base, result.plan.head, 2), result.version.path).eval()
    held_out = [item.example for item in result.plan.dataset.held_out]
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    scored = Evaluator(registry.task("sentiment"), tokenizer, result.version.info, held_out).run(plain)
    assert scored.metrics == manifest.metrics


class _Interrupt:
    """Progress that behaves like Ctrl-C at a step of the training loop."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "train" and done == 10:
            raise KeyboardInterrupt


def test_a_resumed_run_ends_with_the_weights_of_one_that_was_not_interrupted(
    make_recipe: RecipeMaker, run: Trainer, tmp_path: Path
) -> None:
    """With validation rows, whose metric needs a fitted head, and with frozen layers in the cache."""
    overrides = ("train.validation_fraction=0.3", "data.source=b.csv", "data.eval=a.csv", "method.freeze=1")
    text = RECIPE.replace("max_steps: 12", "max_steps: 12, validation_rows: 12, patience: 5")
    many = HELD_OUT + HELD_OUT.replace("i say", "we know").removeprefix("text,label\n")
    recipe = make_recipe(text, *overrides, a_csv=FEW, b_csv=many)
    whole = run(recipe, "whole")
    assert whole.outcome.fitted.best_metric is not None
    with pytest.raises(KeyboardInterrupt):
        run(recipe, progress=_Interrupt())
    assert Store(tmp_path / "home").versions() == []
    resumed = run(recipe, resume=True)
    assert resumed.outcome.fitted.resumed_from == 8
    assert resumed.version.sha256 == whole.version.sha256


def test_a_label_with_one_row_and_rare_labels_train(make_recipe: RecipeMaker, run: Trainer) -> None:
    rows = FEW + "the film is so so,neutral\n"
    settings = ("train.balance=weights", "train.max_steps=4", "method.init=pissa", "method.rank=2")
    result = run(make_recipe(RECIPE, *settings, a_csv=rows, b_csv=HELD_OUT))
    assert result.version.manifest.serving.labels == ("negative", "neutral", "positive")


MULTI_LABEL = "text,labels\n" + "".join(f'the film is {word},"{label},all"\n' for word, label in WORDS)


@pytest.mark.parametrize(
    ("settings", "rows", "problem"),
    [
        (
            ("task=classification", "options.multi_label=true"),
            MULTI_LABEL,
            "few-shot trains tasks with one label",
        ),
        (
            ("task=similarity",),
            "query,good\na film,a movie\nmy phone,a mobile\n",
            "These rows of task similarity",
        ),
        (
            ("task=extraction",),
            "tokens,tags\nin paris,O B-LOC\nof berlin,O B-LOC\n",
            "These rows of task extraction",
        ),
        (("train.label_smoothing=0.1",), FEW, "train.label_smoothing: few-shot trains on pairs"),
        (("train.balance=sample",), FEW, "few-shot cannot draw rows more often: use weights"),
    ],
)
def test_what_few_shot_cannot_train_is_refused_with_the_key(
    make_recipe: RecipeMaker, run: Trainer, settings: tuple[str, ...], rows: str, problem: str
) -> None:
    with pytest.raises(BadRecipe, match=problem) as caught:
        run(make_recipe(RECIPE, *settings, "data.eval=[]", "data.eval_fraction=0.4", a_csv=rows))
    assert caught.value.code == "bad_recipe"


def test_auto_trains_few_rows_with_two_labels_so_and_multi_label_rows_in_another_way(
    make_recipe: RecipeMaker, run: Trainer
) -> None:
    chosen = ("method.type=auto", "train.max_steps=2")
    few = run(make_recipe(RECIPE, *chosen, a_csv=FEW, b_csv=HELD_OUT))
    assert few.plan.recipe.method.type == "few-shot"
    settings = ("task=classification", "options.multi_label=true")
    held_out = MULTI_LABEL.replace("film", "book")
    other = run(make_recipe(RECIPE, *chosen, *settings, a_csv=MULTI_LABEL, b_csv=held_out), "other")
    assert other.plan.recipe.method.type == "ia3"


def test_a_search_trains_few_shot_trials(
    make_recipe: RecipeMaker, registry: Registry, bases: Bases, tmp_path: Path
) -> None:
    settings = ("data.source=b.csv", "data.eval=a.csv", "train.validation_fraction=0.5")
    recipe = make_recipe(RECIPE, *settings, a_csv=FEW, b_csv=HELD_OUT)
    folder = tmp_path / "tune"
    folder.mkdir()
    session = Session.open(recipe, registry=registry, bases=bases, cache=tmp_path, folder=folder)
    seen: list[float] = []
    fitted = session.train(recipe, lambda number, metric: seen.append(metric))
    assert fitted.steps == 12
    assert len(seen) == 3
    assert max(seen) == fitted.best_metric
