# ruff: noqa: TID253 - reads stored adapters with plain PEFT
"""Runs from recipe to stored version, on tiny random bases and with the installed task plugins."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from grafthub_sentiment.task import SentimentTask
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoTokenizer

from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.engine.peft.format import parse
from hub.engine.quiet import peft_quiet
from hub.errors import BadAdapter, BadData, BadRecipe, Conflict
from hub.evaluation.evaluator import Evaluator
from hub.recipe.recipe import Recipe
from hub.registry.host import Registry
from hub.store.content.weights import read_adapter
from hub.store.store import Store
from hub.training.fit.model import load_base
from hub.training.train import TrainResult
from tests.support.tiny import tiny_decoder, tiny_encoder, tiny_encoder_decoder

RecipeMaker = Callable[..., Recipe]
Trainer = Callable[..., TrainResult]

SENTIMENT = """
task: sentiment
base: tiny
data: {source: a.csv, eval_fraction: 0.2}
train: {epochs: 4, batch_size: 8, learning_rate: 0.01, patience: 0}
"""
REVIEWS = "text,label\n" + "".join(
    f"the {thing} is {word} {extra},{label}\n"
    for thing in ("film", "book", "phone", "food", "plot", "actor")
    for extra in ("", "and very long", "in paris", "and i like this", "i hate the news of this market")
    for word, label in (
        ("good", "positive"),
        ("great", "positive"),
        ("bad", "negative"),
        ("awful", "negative"),
    )
)
FEW = "".join(REVIEWS.splitlines(keepends=True)[:61])


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    folder = tmp_path_factory.mktemp("bases")
    made = Bases(folder)
    made.pull(str(tiny_encoder(folder / "encoder").path), "tiny")
    made.pull(str(tiny_decoder(folder / "decoder").path), "tiny-decoder")
    return made


def reloaded(result: TrainResult, bases: Bases) -> Any:
    """Load what is stored with plain PEFT."""
    base = bases.get(result.plan.base.name)
    model = load_base(base, result.plan.head, len(result.plan.serving.labels))
    with peft_quiet():
        return PeftModel.from_pretrained(model, result.version.path).eval()


def test_a_file_becomes_a_version_whose_metrics_are_those_of_the_stored_weights(
    make_recipe: RecipeMaker, run: Trainer, registry: Registry, bases: Bases
) -> None:
    result = run(make_recipe(SENTIMENT, a_csv=REVIEWS))
    version, manifest = result.version, result.version.manifest
    assert str(version.ref) == "demo@1"
    assert manifest.serving.labels == ("negative", "positive")
    assert manifest.metrics["accuracy"] > result.outcome.baseline["accuracy"] + 0.3
    assert {"grafthub", "torch", "transformers", "peft"} <= set(manifest.libraries)
    assert manifest.recipe is not None
    assert manifest.recipe["train"]["learning_rate"] == 0.01
    assert manifest.data is not None
    assert (manifest.data.train_rows, manifest.data.eval_rows) == (96, 24)
    tensors = load_file(version.path / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    held_out = [item.example for item in result.plan.dataset.held_out]
    tokenizer = AutoTokenizer.from_pretrained(result.plan.base.path)
    evaluator = Evaluator(registry.task("sentiment"), tokenizer, version.info, held_out)
    scored = evaluator.run(reloaded(result, bases))
    assert scored.metrics == manifest.metrics
    assert len(scored.predictions) == 24


def test_changed_copies_are_trained_on_and_counted(make_recipe: RecipeMaker, run: Trainer) -> None:
    text = SENTIMENT + "augment: {copies: 2}\n"
    result = run(make_recipe(text, "train.epochs=1", a_csv=REVIEWS))
    data = result.version.manifest.data
    assert data is not None
    counts = data.data_report["augmented"]
    assert set(counts) == {"delete", "dropped", "swap"}
    assert sum(counts.values()) == 2 * data.train_rows == 192
    steps = -(-(data.train_rows + counts["delete"] + counts["swap"]) // 8)
    assert result.outcome.fitted.steps == steps


def test_nothing_of_a_finished_run_is_left_but_the_account_of_its_rows(
    make_recipe: RecipeMaker, run: Trainer, tmp_path: Path
) -> None:
    result = run(make_recipe(SENTIMENT, "train.max_steps=2", a_csv=REVIEWS + ",positive\n"))
    left = {path.name for path in (tmp_path / "home" / "runs" / "demo").iterdir()}
    assert left == {".lock", "plan.json", "invalid.jsonl", "rows.jsonl"}
    assert [(row.line, row.reason) for row in result.invalid] == [(122, "text is empty")]
    assert json.loads(result.invalid_file.read_text())["line"] == 122


def test_a_version_is_returned_also_if_its_checkpoints_cannot_be_removed(
    make_recipe: RecipeMaker, run: Trainer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    remove = shutil.rmtree

    def fails(path: Any, ignore_errors: bool = False, **named: Any) -> None:
        if not ignore_errors and Path(path).name == "checkpoints":
            raise OSError("Device or resource busy")
        remove(path, ignore_errors, **named)

    monkeypatch.setattr(shutil, "rmtree", fails)
    result = run(make_recipe(SENTIMENT, "train.max_steps=2", a_csv=FEW))
    assert str(result.version.ref) == "demo@1"
    assert "could not be cleaned: Device or resource busy" in caplog.text


def test_the_same_recipe_and_rows_make_the_same_version(make_recipe: RecipeMaker, run: Trainer) -> None:
    recipe = make_recipe(SENTIMENT, "train.max_steps=3", a_csv=FEW)
    first, second = run(recipe), run(recipe)
    assert first.version.ref == second.version.ref
    assert (first.new, second.new) == (True, False)
    other = make_recipe(SENTIMENT, "train.max_steps=3", "train.seed=1", a_csv=FEW)
    assert str(run(other).version.ref) == "demo@2"


class _Interrupt:
    """Progress that behaves like Ctrl-C at a step of the training loop."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "train" and done == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("overrides", "step", "resumed_from"),
    [
        # Random numbers, a base that the start changes, an optimizer with factored moments, half a step.
        (
            (
                "train.dropout=0.1",
                "method.dropout=0.1",
                "method.init=pissa",
                "train.optimizer=adafactor",
                "train.accumulate=2",
                "train.epochs=3",
            ),
            7,
            6,
        ),
        # An optimizer with two kinds of weights; a checkpoint in mid-epoch; what early stopping counts.
        (
            (
                "train.optimizer=schedule-free",
                "train.checkpoint_steps=4",
                "train.patience=3",
                "train.validation_fraction=0.2",
                "train.epochs=2",
            ),
            9,
            8,
        ),
        # A schedule that goes by the metric.
        (
            (
                "train.schedule=plateau",
                "train.patience=3",
                "train.validation_fraction=0.2",
                "train.epochs=2",
            ),
            8,
            5,
        ),
    ],
)
def test_a_resumed_run_ends_with_the_weights_of_one_that_was_not_interrupted(
    make_recipe: RecipeMaker,
    run: Trainer,
    tmp_path: Path,
    overrides: tuple[str, ...],
    step: int,
    resumed_from: int,
) -> None:
    recipe = make_recipe(SENTIMENT, *overrides, a_csv=FEW)
    whole = run(recipe, "whole")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, progress=_Interrupt(step))
    assert Store(tmp_path / "home").versions() == []
    result = run(recipe, resume=True)
    assert result.outcome.fitted.resumed_from == resumed_from
    assert result.outcome.fitted.steps == whole.outcome.fitted.steps
    assert result.version.sha256 == whole.version.sha256


def test_a_run_is_not_resumed_with_another_recipe(make_recipe: RecipeMaker, run: Trainer) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(make_recipe(SENTIMENT, a_csv=FEW), progress=_Interrupt(7))
    with pytest.raises(Conflict, match="its recipe, data or base was different"):
        run(make_recipe(SENTIMENT, "train.epochs=2", a_csv=FEW), resume=True)
    again = run(make_recipe(SENTIMENT, "train.epochs=2", a_csv=FEW))
    assert again.outcome.fitted.resumed_from is None


def test_a_run_is_not_resumed_with_rows_that_then_calibrated(make_recipe: RecipeMaker, run: Trainer) -> None:
    rows = "text,label\n" + "".join(f"a {['good', 'bad'][n % 2]} film {n},{n % 2}\n" for n in range(1250))
    recipe = SENTIMENT.replace("epochs: 4, batch_size: 8", "epochs: 2, batch_size: 64")
    recipe = recipe.replace(", patience: 0", "")
    with pytest.raises(KeyboardInterrupt):
        run(make_recipe(recipe, a_csv=rows), progress=_Interrupt(17))
    with pytest.raises(Conflict, match="its recipe, data or base was different"):
        run(make_recipe(recipe, "evaluate.calibrate=false", a_csv=rows), resume=True)


def test_training_stops_early_and_keeps_the_best_checkpoint(make_recipe: RecipeMaker, run: Trainer) -> None:
    settings = (
        "train={batch_size: 8, learning_rate: 0.01, warmup: 0, schedule: constant, epochs: 40, "
        "patience: 2, checkpoint_steps: 6, validation_fraction: 0.2}",
    )
    result = run(make_recipe(SENTIMENT, *settings, a_csv=REVIEWS))
    fitted = result.outcome.fitted
    assert fitted.stopped_early
    assert fitted.best_step is not None
    assert fitted.steps == fitted.best_step + 2 * 6
    until_best = run(make_recipe(SENTIMENT, *settings, f"train.max_steps={fitted.best_step}", a_csv=REVIEWS))
    assert until_best.version.sha256 == result.version.sha256


def test_a_few_validation_rows_calibrate_and_choose_no_checkpoint(
    make_recipe: RecipeMaker, run: Trainer
) -> None:
    rows = "text,label\n" + "".join(f"a {['good', 'bad'][n % 2]} film {n},{n % 2}\n" for n in range(1250))
    train = "train={epochs: 2, batch_size: 64, learning_rate: 0.01}"
    result = run(make_recipe(SENTIMENT, train, a_csv=rows))
    assert (len(result.plan.dataset.train), len(result.plan.dataset.validation)) == (950, 50)
    fitted = result.outcome.fitted
    assert (fitted.epochs, fitted.best_step, fitted.stopped_early) == (2, None, False)
    assert result.outcome.temperature
    assert "too few" not in result.outcome.temperature.reason


def test_the_checkpoint_with_the_lowest_error_is_kept_where_the_task_says_so(
    make_recipe: RecipeMaker, run: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def metrics(self: Any, predictions: Any, references: Any) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        return {
            "error": 1 - sum(answer.scores[example["label"]] for answer, example in pairs) / len(references)
        }

    monkeypatch.setattr(SentimentTask, "metrics", metrics)
    monkeypatch.setattr(SentimentTask, "metric", "error")
    monkeypatch.setattr(SentimentTask, "metric_goal", "min")
    settings = "train={batch_size: 8, learning_rate: 0.01, epochs: 4, checkpoint_steps: 6, patience: 9}"
    result = run(make_recipe(SENTIMENT, settings, "train.validation_fraction=0.2", a_csv=REVIEWS))
    errors = {
        int(entry["step"]): entry["eval_error"]
        for entry in result.outcome.fitted.history
        if "eval_error" in entry
    }
    assert len(set(errors.values())) > 2
    assert result.outcome.fitted.best_step == min(errors, key=errors.__getitem__)
    assert result.evaluation.goal == result.version.manifest.metric_goal == "min"


def test_a_refusal_by_the_store_stores_nothing(
    make_recipe: RecipeMaker, run: Trainer, tmp_path: Path
) -> None:
    def refuse(files: object, serving: object) -> None:
        raise BadAdapter("not this one")

    with pytest.raises(BadAdapter, match="not this one"):
        run(make_recipe(SENTIMENT, "train.max_steps=1", a_csv=REVIEWS), check=refuse)
    assert Store(tmp_path / "home").versions() == []
    assert [path for path in (tmp_path / "home" / "adapters").glob("*") if path.is_dir()] == []


def test_bad_data_leaves_an_account_of_its_rows(
    make_recipe: RecipeMaker, run: Trainer, tmp_path: Path
) -> None:
    with pytest.raises(BadData, match="120 of 240 rows are invalid"):
        run(make_recipe(SENTIMENT, a_csv=REVIEWS + ",positive\n" * 120))
    data_report = tmp_path / "home" / "runs" / "demo" / "invalid.jsonl"
    assert len(data_report.read_text().splitlines()) == 120


def test_two_runs_do_not_share_a_work_folder(make_recipe: RecipeMaker, run: Trainer, tmp_path: Path) -> None:
    work = tmp_path / "home" / "runs" / "demo"
    work.mkdir(parents=True)
    with FileLock(work / ".lock"), pytest.raises(Conflict, match="Another run uses"):
        run(make_recipe(SENTIMENT, a_csv=REVIEWS))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("base=nano", "--set base: No base named 'nano'"),
        (
            "base=tiny-decoder",
            "--set base: task sentiment needs a base of kind encoder, such as minilm; tiny-",
        ),
        ("max_length=65", "--set max_length: base tiny reads at most 64 tokens"),
        ("options.polarty=1", "--set options.polarty: unknown key, did you mean polarity? Allowed: "),
        ("options.temperature='inf'", "--set options.temperature: must be a finite number."),
        (
            "method.target=[qeury]",
            "--set method.target: no linear layer is named qeury. Available: dense, key, query",
        ),
    ],
)
def test_what_does_not_fit_task_or_base_is_told(
    make_recipe: RecipeMaker, run: Trainer, override: str, expected: str
) -> None:
    with pytest.raises(BadRecipe) as raised:
        run(make_recipe(SENTIMENT, override, a_csv=REVIEWS))
    assert str(raised.value).startswith(expected)


def test_weights_may_be_stored_in_fp32_and_some_layers_alone_trained(
    make_recipe: RecipeMaker, run: Trainer
) -> None:
    settings = (
        "method.stored=fp32",
        "method.target=[query, value]",
        "method.rslora=true",
        "train.max_steps=2",
    )
    result = run(make_recipe(SENTIMENT, *settings, a_csv=REVIEWS))
    tensors = load_file(result.version.path / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    lora = [name for name in tensors if "lora_" in name]
    assert len(lora) == 2 * 2 * 2
    assert all(".query." in name or ".value." in name for name in lora)


@pytest.mark.parametrize(
    ("settings", "rank"),
    [
        (("method.init=pissa",), 16),
        # Its first updates are large: at the usual rate, training diverges on some processors.
        (("method.init=olora", "method.rslora=true", "train.learning_rate=0.005"), 16),
        (("method.init=orthogonal",), 8),
        (("method.init=gaussian", "method.dora=true"), 8),
        (("method.init=pissa", "method.dora=true"), 16),
    ],
)
def test_updates_may_start_otherwise_and_are_stored_as_plain_lora(
    make_recipe: RecipeMaker, run: Trainer, settings: tuple[str, ...], rank: int
) -> None:
    result = run(make_recipe(SENTIMENT, "train.epochs=3", *settings, a_csv=REVIEWS))
    files = read_adapter(result.version.path)
    weights = parse(files.config, files.tensors, kind=result.plan.head, num_labels=2, sha256="")
    assert weights.rank == rank
    assert ("method.dora=true" in settings) == any(
        update.magnitude is not None for update in weights.layers.values()
    )
    assert result.outcome.metrics["accuracy"] > 0.9


def test_an_initialisation_that_does_not_go_with_the_rank_is_told(
    make_recipe: RecipeMaker, run: Trainer
) -> None:
    with pytest.raises(BadRecipe, match=r"--set method\.init: .*even"):
        run(make_recipe(SENTIMENT, "method.init=orthogonal", "method.rank=3", a_csv=REVIEWS))


def test_a_recipe_may_ask_for_a_merged_copy(make_recipe: RecipeMaker, run: Trainer) -> None:
    slotted = run(make_recipe(SENTIMENT, "train.max_steps=2", a_csv=REVIEWS))
    merged = run(make_recipe(SENTIMENT, "train.max_steps=2", "serve=merged", a_csv=REVIEWS))
    assert (slotted.version.manifest.serving.merged, merged.version.manifest.serving.merged) == (False, True)
    with pytest.raises(BadRecipe, match="--set serve: must be 'slot' or 'merged', not 'alone'"):
        make_recipe(SENTIMENT, "serve=alone", a_csv=REVIEWS)


def test_a_run_that_failed_after_training_is_resumed_without_training_again(
    make_recipe: RecipeMaker, run: Trainer
) -> None:
    def refuse(files: object, serving: object) -> None:
        raise BadAdapter("not now")

    settings = ("train.patience=1", "train.validation_fraction=0.2", "train.epochs=2")
    recipe = make_recipe(SENTIMENT, *settings, a_csv=FEW)
    whole = run(recipe, "whole")
    with pytest.raises(BadAdapter, match="not now"):
        run(recipe, check=refuse)
    stages: list[str] = []
    again = run(recipe, resume=True, progress=lambda stage, *rest: stages.append(stage))
    assert "train" not in stages
    assert again.version.sha256 == whole.version.sha256


def test_a_run_in_bf16_is_measured_in_the_precision_it_is_served_in(
    make_recipe: RecipeMaker, run: Trainer
) -> None:
    result = run(make_recipe(SENTIMENT, "train.dtype=bf16", "train.epochs=3", a_csv=REVIEWS))
    assert result.outcome.dtype == "bf16"
    assert result.outcome.metrics["accuracy"] > 0.9


def test_a_checkpoint_that_was_not_written_to_its_end_is_passed_over(
    make_recipe: RecipeMaker, run: Trainer, tmp_path: Path
) -> None:
    recipe = make_recipe(SENTIMENT, "train.epochs=3", a_csv=FEW)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, progress=_Interrupt(14))
    (tmp_path / "home" / "runs" / "demo" / "checkpoints" / "checkpoint-12" / "trainer_state.json").unlink()
    assert run(recipe, resume=True).outcome.fitted.resumed_from == 6


def test_several_labels_of_one_text_are_learned(make_recipe: RecipeMaker, run: Trainer) -> None:
    rows = "text,labels\n" + "".join(
        f'the {thing} is {word}{" and good" * n},"{thing},{word}"\n'
        for thing in ("film", "book", "food")
        for word in ("fine", "bad")
        for n in range(8)
    )
    text = SENTIMENT.replace("sentiment", "classification") + "options: {multi_label: true}\n"
    result = run(make_recipe(text, a_csv=rows))
    assert result.version.manifest.serving.labels == ("bad", "book", "film", "fine", "food")
    assert result.outcome.metrics["f1_micro"] > 0.5


def test_answers_in_a_text_are_learned(make_recipe: RecipeMaker, run: Trainer) -> None:
    def question(city: str, year: int) -> dict[str, Any]:
        context = f"the team won in {city} and the game was lost in london in {year}"
        answer = {"text": city, "answer_start": context.index(city)}
        return {
            "context": context,
            "qas": [{"id": "1", "question": "where was it won?", "answers": [answer]}],
        }

    paragraphs = [question(city, year) for city in ("paris", "france", "river") for year in range(20)]
    squad = json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]})
    text = SENTIMENT.replace("sentiment", "qa").replace("a.csv", "a.json")
    result = run(make_recipe(text, "train.epochs=6", "max_length=64", a_json=squad))
    assert result.version.manifest.serving.head == "span"
    assert result.outcome.metrics["f1"] > 0.8


TRANSLATION = """
task: translation
base: tiny-decoder
data: {source: a.tsv, eval_fraction: 0.2}
options: {source_language: en, target_language: fr, max_new_tokens: 4}
train: {max_steps: 1, batch_size: 4}
"""


def test_rows_of_a_language_pair_that_the_adapter_lacks_are_invalid(
    make_recipe: RecipeMaker, run: Trainer
) -> None:
    rows = "source\ttarget\ttarget_language\n" + "".join(f"a{n}\tb\tfr\n" for n in range(40))
    result = run(make_recipe(TRANSLATION, a_tsv=rows + "x\ty\tde\nz\ty\tit\n"))
    assert {row.reason for row in result.invalid} == {
        "This adapter translates en to fr, not from any language to de.",
        "This adapter translates en to fr, not from any language to it.",
    }


def test_an_encoder_decoder_is_refused_by_a_task_that_has_no_rows_for_it(
    make_recipe: RecipeMaker, run: Trainer, bases: Bases, tmp_path: Path
) -> None:
    bases.pull(str(tiny_encoder_decoder(tmp_path / "t5", "t5").path), "tiny-t5")
    text = "task: generation\nbase: tiny-t5\ndata: {source: a.tsv}\n"
    with pytest.raises(BadRecipe, match="task generation needs a base of kind decoder, such as"):
        run(make_recipe(text, a_tsv="prompt\tcompletion\na\tb\n"))


def test_translation_is_learned_by_a_decoder(make_recipe: RecipeMaker, run: Trainer) -> None:
    rows = "source\ttarget\n" + "".join(f"a{n}\tb\n" for n in range(24))
    text = """
task: translation
base: tiny-decoder
data: {source: a.tsv, eval_fraction: 0.2}
options: {source_language: en, target_language: fr, max_new_tokens: 4}
preset: fast
train: {batch_size: 4, learning_rate: 0.01}
"""
    result = run(make_recipe(text, a_tsv=rows))
    assert result.version.manifest.serving.head == "generate"
    assert (result.outcome.fitted.epochs, result.outcome.fitted.best_step) == (1, None)
    assert set(result.outcome.metrics) == {"bleu", "chrf", "rouge_1", "rouge_2", "rouge_l"}
    assert result.outcome.baseline == {}


def test_weights_that_do_not_survive_storing_are_not_stored(
    make_recipe: RecipeMaker, run: Trainer, bases: Bases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The reloaded model runs on another base than the trained one: the parity check has to see it."""
    other = tiny_encoder(tmp_path / "other")
    weights = load_file(other.path / "model.safetensors")
    from safetensors.torch import save_file

    save_file(
        {name: tensor * 1.01 for name, tensor in weights.items()},
        other.path / "model.safetensors",
        {"format": "pt"},
    )
    from hub.training import run as run_module

    genuine = run_module.load_adapted

    def elsewhere(folder: Path, base: Base, *rest: Any) -> PeftModel:
        return genuine(folder, replace(base, path=other.path), *rest)

    monkeypatch.setattr(run_module, "load_adapted", elsewhere)
    with pytest.raises(BadAdapter, match="scores of the stored weights differ"):
        run(make_recipe(SENTIMENT, "train.max_steps=1", a_csv=REVIEWS))
    assert Store(tmp_path / "home").versions() == []
