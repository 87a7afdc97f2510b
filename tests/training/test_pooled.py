# ruff: noqa: TID253 - reads stored adapters with plain PEFT
"""Heads that read the mean over the tokens: when they are trained, and what is stored and served."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

from hub.api import HeadKind, InputKind, Pooling, Row
from hub.bases.base import BaseKind
from hub.engine.build import build_engine
from hub.engine.protocol import EngineRow
from hub.engine.quiet import peft_quiet
from hub.errors import BadRecipe
from hub.serving.residency.reading import read_weights
from hub.training.pooled import head_kind
from tests.support import tiny

RECIPE = """
task: sentiment
base: tiny
data: {source: a.csv, eval: b.csv}
method: {pooling: mean}
train: {learning_rate: 0.01, batch_size: 8, epochs: 6}
evaluate: {int8: false}
report: {trackers: []}
"""
THINGS = ("film", "book", "phone", "food", "plot", "actor")
WORDS = (("good", "positive"), ("great", "positive"), ("bad", "negative"), ("awful", "negative"))
ROWS = [(f"the {thing} is {word}", label) for thing in THINGS for word, label in WORDS]
TRAIN = "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)
HELD_OUT = "text,label\n" + "".join(f"i say {text},{label}\n" for text, label in ROWS)
IDS = [2, 30, 41, 52, 3]


@pytest.mark.parametrize(
    ("given", "trained", "kind"),
    [
        ("auto", None, HeadKind.SEQUENCE),
        ("auto", Pooling.CLS, HeadKind.SEQUENCE),
        ("auto", Pooling.MEAN, HeadKind.SEQUENCE_MEAN),
        ("first", Pooling.MEAN, HeadKind.SEQUENCE),
        ("mean", None, HeadKind.SEQUENCE_MEAN),
    ],
)
def test_the_recipe_decides_and_else_how_the_base_was_trained(
    make_recipe, registry, bases, given, trained, kind
) -> None:
    recipe = make_recipe(RECIPE, f"method.pooling={given}", a_csv=TRAIN, b_csv=HELD_OUT)
    base = replace(bases.get("tiny"), pooling=trained)
    assert head_kind(recipe, registry.spec("sentiment"), base) is kind


@pytest.mark.parametrize(
    ("task", "changes", "problem"),
    [
        ("extraction", {}, "task extraction gives no scores of whole texts"),
        ("image-classification", {"kind": BaseKind.VISION}, "gives no scores of whole texts"),
        (
            "sentiment",
            {"model_type": "modernbert"},
            "modernbert, whose head of tokens is not one linear layer",
        ),
    ],
)
def test_where_means_are_impossible_the_recipe_is_refused_and_auto_is_not(
    make_recipe, registry, bases, task, changes, problem
) -> None:
    base = replace(bases.get("tiny"), pooling=Pooling.MEAN, **changes)
    spec = registry.spec(task)
    recipe = make_recipe(RECIPE, a_csv=TRAIN, b_csv=HELD_OUT)
    with pytest.raises(BadRecipe, match=rf"recipe.yaml:6: method.pooling: .*{problem}"):
        head_kind(recipe, spec, base)
    auto = make_recipe(RECIPE, "method.pooling=auto", a_csv=TRAIN, b_csv=HELD_OUT)
    assert head_kind(auto, spec, base) is spec.head
    assert (spec.input is InputKind.IMAGE) is (task == "image-classification")


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("method.type=few-shot", "train.max_steps=20"),
        ("method.type=full", "train.learning_rate=0.001"),
        ("method.type=bitfit",),
    ],
)
def test_a_version_scores_the_means_that_plain_peft_gives(make_recipe, run, bases, settings) -> None:
    result = run(make_recipe(RECIPE, *settings, a_csv=TRAIN, b_csv=HELD_OUT))
    version, serving = result.version, result.version.manifest.serving
    assert serving.head is HeadKind.SEQUENCE_MEAN
    config = json.loads((Path(version.path) / "adapter_config.json").read_text())
    assert config["task_type"] == "TOKEN_CLS"
    base = bases.get("tiny")
    with peft_quiet():
        plain = PeftModel.from_pretrained(tiny.head_model(base, HeadKind.TOKEN, 2), version.path).eval()
    with torch.inference_mode():
        expected = plain(input_ids=torch.tensor([IDS])).logits[0].mean(0).numpy()
    engine = build_engine(base, kind="torch", slots=2, device="cpu")
    engine.write(1, read_weights(version, base))
    [output] = engine.run([EngineRow(Row(IDS), 1, HeadKind.SEQUENCE)])
    engine.close()
    np.testing.assert_allclose(output.values, expected, atol=1e-4)
