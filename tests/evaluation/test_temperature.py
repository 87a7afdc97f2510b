# ruff: noqa: TID253 - trains tiny models
"""A temperature fitted on validation rows is in the stored weights, and changes no answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoTokenizer

from hub.api import AdapterInfo, HeadKind, Output, TaskSpec
from hub.bases.cache import Bases
from hub.evaluation import temperature as module
from hub.evaluation.evaluator import Evaluator
from hub.evaluation.predict import forward_rows
from hub.evaluation.temperature import MIN_VALIDATION_ROWS, Temperature, calibrate
from hub.recipe.recipe import Recipe
from hub.registry.host import Registry
from hub.registry.loaded import LoadedTask
from hub.store.store import Store
from hub.training.fit.model import add_adapter
from hub.training.train import TrainResult, train
from tests.support.tiny import ENCODERS, head_model, tiny_encoder

SPEC = TaskSpec("t", "A task.", HeadKind.SEQUENCE, "m:A", "m:B", "m:C")
WORDS = ("good", "bad", "film", "book", "paris", "city", "food", "phone", "plot", "actor")
TEXTS = [f"{one} {two}" for one in WORDS for two in WORDS]

RECIPE = """
task: sentiment
base: tiny
data: {source: a.csv, eval_fraction: 0.2, near_duplicates: keep}
train: {epochs: 3, batch_size: 8, learning_rate: 0.01, validation_fraction: 0.3}
"""


@pytest.fixture
def adapted(make_recipe: Callable[..., Recipe], tmp_path: Path) -> Callable[[str], tuple[PeftModel, Any]]:
    """Return a function that makes a tiny model of a family, as sure of its answers as an overfit one."""

    def make(family: str) -> tuple[PeftModel, Any]:
        torch.manual_seed(3)
        base = tiny_encoder(tmp_path / family, family)
        model = add_adapter(head_model(base, HeadKind.SEQUENCE, 2), make_recipe(RECIPE), HeadKind.SEQUENCE)
        for name, parameter in model.named_parameters():
            if ".modules_to_save." in name and parameter.ndim == 2:
                parameter.data.mul_(200 if family != "modernbert" else 50)
        return model.eval(), AutoTokenizer.from_pretrained(base.path)

    return make


def validation_of(
    labelling: Any, model: Any, tokenizer: Any, wrong: float, rows: int = len(TEXTS)
) -> Evaluator:
    """Return rows that the model answers rightly but for a share."""
    info = AdapterInfo("demo", 0, ("a", "b"), max_length=16)
    loaded = LoadedTask(SPEC, labelling, object, object)
    encoded = [labelling.encode(labelling.request({"text": text}), tokenizer, info)[0] for text in TEXTS]
    outputs = forward_rows(model, tokenizer, HeadKind.SEQUENCE, encoded)
    flip = np.random.default_rng(0).random(len(TEXTS)) < wrong
    labels = ["ab"[int(out.values.argmax()) ^ int(turn)] for out, turn in zip(outputs, flip, strict=True)]
    examples = [{"text": text, "label": label} for text, label in zip(TEXTS, labels, strict=True)]
    return Evaluator(loaded, tokenizer, info, examples[:rows])


def logits(model: Any, evaluator: Evaluator) -> np.ndarray:
    return np.stack([output.values for output in evaluator.run(model).outputs])


@pytest.mark.parametrize("family", sorted(ENCODERS))
def test_the_logits_of_every_family_are_divided_and_no_answer_changes(
    labelling, adapted, family: str
) -> None:
    model, tokenizer = adapted(family)
    validation = validation_of(labelling, model, tokenizer, wrong=0.3)
    before = logits(model, validation)
    found = calibrate(model, validation, wanted=True)
    assert found.reason == ""
    assert found.value > 1.2
    assert found.rows == len(TEXTS)
    after = logits(model, validation)
    np.testing.assert_allclose(after, before / found.value, rtol=1e-3, atol=1e-4)
    assert (after.argmax(1) == before.argmax(1)).all()


@pytest.mark.parametrize(
    ("wanted", "rows", "reason"),
    [
        (False, len(TEXTS), "disabled in the recipe (evaluate.calibrate)"),
        (True, MIN_VALIDATION_ROWS - 1, "49 validation rows are too few; 50 are needed"),
    ],
)
def test_where_nothing_is_fitted_it_is_said_why(
    labelling, adapted, wanted: bool, rows: int, reason: str
) -> None:
    model, tokenizer = adapted("bert")
    validation = validation_of(labelling, model, tokenizer, wrong=0.3, rows=rows)
    before = logits(model, validation)
    assert calibrate(model, validation, wanted) == Temperature(reason=reason)
    assert (logits(model, validation) == before).all()
    assert calibrate(model, None, wanted=True).reason == "0 validation rows are too few; 50 are needed"


def test_a_task_that_decides_by_a_fixed_probability_is_left_alone(labelling, adapted) -> None:
    model, tokenizer = adapted("bert")
    validation = validation_of(labelling, model, tokenizer, wrong=0.3)
    plain = labelling.decode

    def cautious(request: Any, outputs: list[Output], adapter: AdapterInfo) -> Any:
        answer = plain(request, outputs, adapter)
        values = outputs[0].values
        assert values is not None
        return answer.model_copy(update={"label": "unsure"}) if np.ptp(values) < 3 else answer

    labelling.decode = cautious
    before = logits(model, validation)
    found = calibrate(model, validation, wanted=True)
    assert (found.value, found.reason) == (
        1.0, "answers would change: the task decides by fixed probabilities",
    )  # fmt: skip
    assert (logits(model, validation) == before).all()


def test_a_head_that_ends_otherwise_is_left_alone(labelling, adapted) -> None:
    model, tokenizer = adapted("bert")
    head = model.get_base_model().classifier.modules_to_save["default"]
    head.register_forward_hook(lambda module, inputs, output: torch.sign(output) * output.abs() ** 0.5)
    validation = validation_of(labelling, model, tokenizer, wrong=0.4)
    before, weights = logits(model, validation), head.weight.clone()
    found = calibrate(model, validation, wanted=True)
    assert found.reason == "the head does not end in a linear layer"
    assert (head.weight == weights).all()
    assert (logits(model, validation) == before).all()


# Half of what is called fine is positive, so that nobody can be sure of it.
ROWS = "text,label\n" + "".join(
    f"{number} {thing} of {place} is {word},{label}\n"
    for number, thing in enumerate(WORDS)
    for place in ("paris", "london", "france", "city", "market", "river", "bank")
    for word, label in (
        ("good", "positive"),
        ("bad", "negative"),
        ("fine", "positive" if number % 2 else "negative"),
    )
)


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Recipe], TrainResult]:
    bases = Bases(tmp_path / "bases")
    bases.pull(str(tiny_encoder(tmp_path / "encoder").path), "tiny")

    def trained(recipe: Recipe) -> TrainResult:
        store = Store(tmp_path / "home")
        work = tmp_path / "home" / "runs" / recipe.name
        return train(recipe, registry=Registry.load(), store=store, bases=bases, work=work)

    return trained


def test_the_stored_head_has_the_temperature_in_it(
    make_recipe: Callable[..., Recipe], run: Callable[[Recipe], TrainResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fit_temperature", lambda *args, **settings: 2.0)
    plain = run(make_recipe(RECIPE, "evaluate.calibrate=false", "method.stored=fp32", a_csv=ROWS))
    cooled = run(make_recipe(RECIPE, "method.stored=fp32", a_csv=ROWS))
    before, after = (load_file(r.version.path / "adapter_model.safetensors") for r in (plain, cooled))
    for name, tensor in before.items():
        divided = tensor / 2 if "classifier" in name else tensor
        assert torch.allclose(after[name], divided), name
    assert cooled.version.manifest.metrics == plain.version.manifest.metrics
    known = cooled.version.manifest.calibration
    assert known is not None
    assert (known.temperature, known.reason) == (2.0, "")
    assert known.rows >= MIN_VALIDATION_ROWS
    without = plain.version.manifest.calibration
    assert without is not None
    assert without.ece_after == pytest.approx(known.ece_before, abs=1e-6)
    assert without.reason == "disabled in the recipe (evaluate.calibrate)"


def test_the_tags_of_tokens_are_calibrated_too(
    make_recipe: Callable[..., Recipe], run: Callable[[Recipe], TrainResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []

    def two(logits: Any, targets: Any, **settings: Any) -> float:
        seen.append((logits.shape[1], targets.ndim))
        return 2.0

    monkeypatch.setattr(module, "fit_temperature", two)
    rows = "".join(
        json.dumps({"tokens": [str(n), "the", word, "of", place], "tags": ["O", "O", "O", "O", f"B-{kind}"]})
        + "\n"
        for n, word in enumerate(WORDS * 3)
        for place, kind in (("paris", "CITY"), ("london", "CITY"), ("france", "LAND"), ("river", "LAND"))
    )
    text = RECIPE.replace("sentiment", "extraction").replace("a.csv", "a.jsonl").replace("0.3}", "0.6}")
    result = run(make_recipe(text, "evaluate.int8=false", a_jsonl=rows))
    known = result.version.manifest.calibration
    assert known is not None
    assert (known.temperature, known.reason) == (2.0, "")
    assert seen == [(5, 1)]  # O, and B- and I- of two types
    assert result.evaluation.labels == {}
    assert {"f1", "f1:CITY", "f1:LAND"} <= set(result.evaluation.intervals)
    assert sum(one.rows for one in result.evaluation.calibration.after) == 5 * result.evaluation.rows


def test_the_held_out_rows_play_no_part_in_the_temperature(
    make_recipe: Callable[..., Recipe], run: Callable[[Recipe], TrainResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    genuine = module.fit_temperature

    def watched(logits: Any, targets: Any, **settings: Any) -> float:
        seen.append(len(targets))
        return genuine(logits, targets, **settings)

    monkeypatch.setattr(module, "fit_temperature", watched)
    result = run(make_recipe(RECIPE, a_csv=ROWS))
    assert seen == [len(result.plan.dataset.validation)]
    assert result.outcome.temperature.rows == seen[0]
