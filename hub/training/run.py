# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Runs a plan: tokenize, train, write the adapter, and evaluate the written weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import set_seed

from hub.api import Features, HeadKind, Row, Tokenizer
from hub.data.augment.augment import Dropped, augment
from hub.data.augment.back_translation import TRANSLATIONS
from hub.data.dataset import InvalidRows
from hub.data.examples import Item
from hub.data.features import encodable, make_features
from hub.engine.peft.model import load_adapted
from hub.engine.tokenizer import load_tokenizer
from hub.engine.torch.loading import pick_device
from hub.errors import BadAdapter, BadData
from hub.evaluation.evaluator import EvaluationSample, Evaluator, Scored, majority_metrics, mean_metrics
from hub.evaluation.predict import forward_rows
from hub.evaluation.temperature import Temperature, calibrate
from hub.progress import Progress, named
from hub.recipe.sections.augment import Augment
from hub.training.agreement import disagreeing
from hub.training.arguments import pick_dtype
from hub.training.fit.callbacks import TrackerCallback
from hub.training.fit.model import add_adapter, initial_update, load_base, round_weights, save_adapter
from hub.training.fit.number import NumberHead
from hub.training.fit.trainer import Fitted, fit
from hub.training.objective import head_of, loss_of
from hub.training.plan import Plan
from hub.training.trackers.fan_out import Trackers
from hub.training.work_folder import ADAPTER, CHECKPOINTS, begin

__all__ = [
    "Fitting",
    "Outcome",
    "evaluator_of",
    "new_model",
    "run",
    "training_rows",
    "without_copies",
]

FIRST = "first"
MAX_DIFFERENCE = 1e-4  # of a score between the model in memory and the stored one; of numbers, in spreads
EPSILON = 1e-6  # some steps of float32, for numbers far from 0
PROBES = 8  # rows compared for it
SAMPLE = 400  # held-out rows with outputs for the gauges


Fitting = Callable[[Plan, PeftModel, Sequence[Features], Path, Progress, bool], Fitted]
"""Trains the model of a plan in place, on these features, with checkpoints in a folder; may resume."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a run; its PEFT folder is `work/adapter`.

    `scored` has the answers of the stored adapter to the rows of `held_out`, and `sample` a part of them.
    `temperature` is None for heads without labels. `augmented` counts copies of training rows by change,
    `dropped` unused ones by change and reason.
    """

    metrics: Mapping[str, float]
    baseline: Mapping[str, float]
    fitted: Fitted
    dtype: str
    sample: EvaluationSample
    held_out: Evaluator
    scored: Scored
    temperature: Temperature | None
    augmented: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def run(  # noqa: PLR0913, PLR0917 - a run needs all of the hub
    plan: Plan,
    invalid: InvalidRows,
    work: Path,
    progress: Progress,
    resume: bool,
    memory: Path | None = None,
    trackers: Trackers | None = None,
    trial: Path | None = None,
    fitting: Fitting | None = None,
) -> Outcome:
    """Train a plan; rows that are invalid for the task are added to `invalid`.

    Translations are cached in the file `memory`, by default in `work`. `trackers` receive the logs. The run
    continues from the checkpoints of `hub tune` in `trial`, if their plan is equal. `fitting` trains
    elsewhere.

    Raises:
        BadData: too few rows are left.
        BadRecipe: training diverged, or `method.target` matches no layer.
        Conflict: `resume`, and the checkpoints in `work` belong to another plan.
        BadAdapter: the stored weights do not give the scores of the trained model.
    """
    tokenizer = load_tokenizer(plan.base)
    before = len(invalid.rows)
    features, augmented, dropped = training_rows(
        plan, tokenizer, invalid, work, progress, resume=resume, memory=memory
    )
    validation, held_out = _evaluators(plan, tokenizer, invalid, before, len(features))
    resume = begin(plan, work, resume, trial)
    model = new_model(plan, features)
    initial = initial_update(model) if plan.recipe.method.changes_base else None
    fitted = _fitted(
        plan,
        model,
        features,
        tokenizer,
        validation,
        work,
        progress,
        resume=resume,
        trackers=trackers,
        fitting=fitting,
    )
    temperature = _calibrated(plan, model, validation, progress)
    stored = _stored(plan, model, initial, tokenizer, held_out.rows[:PROBES], work / ADAPTER)
    scored = held_out.run(stored, progress)
    return Outcome(
        metrics=scored.metrics,
        baseline=_baseline(plan, held_out, features, progress),
        fitted=fitted,
        dtype=pick_dtype(plan.recipe.train.dtype),
        sample=held_out.sample(scored.outputs, SAMPLE),
        held_out=held_out,
        scored=scored,
        temperature=temperature,
        augmented=augmented,
        dropped=dropped,
    )


def _fitted(  # noqa: PLR0913 - everything that a model is trained with
    plan: Plan,
    model: PeftModel,
    features: Sequence[Features],
    tokenizer: Tokenizer,
    validation: Evaluator | None,
    work: Path,
    progress: Progress,
    *,
    resume: bool,
    trackers: Trackers | None,
    fitting: Fitting | None,
) -> Fitted:
    """Train the model and, where the method fits it afterwards, its head."""
    numbers = NumberHead.of(model, plan.serving.numbers)
    head = head_of(plan, features, tokenizer)
    if fitting:
        fitted = fitting(plan, model, features, work / CHECKPOINTS, progress, resume)
    else:
        fitted = fit(
            model,
            features,
            plan.recipe.train,
            folder=work / CHECKPOINTS,
            pad=tokenizer.pad_token_id or 0,
            loss=loss_of(plan, features),
            validation=validation if plan.dataset.chooses else None,
            progress=progress,
            resume=resume,
            callbacks=[TrackerCallback(trackers)] if trackers else (),
            head=head,
        )
    if head:
        round_weights(model, _stored_as(plan))  # the head is fitted to the weights that are served
        head.fit(model, progress=progress)
    if numbers:
        numbers.fold()
    if trackers:
        trackers.logged(fitted.history)
    return fitted


def _calibrated(
    plan: Plan, model: PeftModel, validation: Evaluator | None, progress: Progress
) -> Temperature | None:
    wanted = plan.recipe.evaluate.calibrate
    return calibrate(model, validation, wanted, progress) if plan.loaded.labelled else None


def _baseline(
    plan: Plan, held_out: Evaluator, features: Sequence[Features], progress: Progress
) -> Mapping[str, float]:
    """Return the metrics of the most common answer or, for vectors, of the bare base; {} for none."""
    if plan.head is HeadKind.EMBEDDING:
        bare = load_base(plan.base, plan.head, 0).to(pick_device("auto"))
        return held_out.run(bare, named(progress, "bare base")).metrics
    if plan.serving.numbers:
        return mean_metrics(held_out, plan.serving.numbers.center)
    targets = [row.get("labels") for row in features]
    return majority_metrics(held_out, plan.head, targets, len(plan.serving.labels))


def _evaluators(
    plan: Plan, tokenizer: Tokenizer, invalid: InvalidRows, before: int, features: int
) -> tuple[Evaluator | None, Evaluator]:
    """Return the evaluators of validation and held-out rows; raise BadData if there are too few rows.

    `before` rows were invalid before the run, and there are `features` training rows.
    """
    validation = evaluator_of(plan, tokenizer, plan.dataset.validation, invalid)
    held_out = evaluator_of(plan, tokenizer, plan.dataset.held_out, invalid)
    _check_slices(plan)
    invalid.check(plan.dataset.size - (len(invalid.rows) - before))
    if validation is None and plan.recipe.train.schedule == "plateau":
        raise plan.recipe.error("train.schedule", "plateau needs validation rows, and there are too few")
    if not features or held_out is None:
        which = "held-out" if features else "training"
        raise BadData(f"No {which} row is valid: {invalid.rows[-1].reason}")
    return validation, held_out


def training_rows(
    plan: Plan,
    tokenizer: Tokenizer,
    invalid: InvalidRows,
    work: Path,
    progress: Progress,
    *,
    resume: bool = False,
    memory: Path | None = None,
) -> tuple[list[Features], dict[str, int], Dropped]:
    """Return the features of training rows and their copies, and counts of kept and dropped copies."""
    dataset = plan.dataset
    features, more = make_features(plan.loaded, tokenizer, plan.info, dataset.train, progress)
    invalid.add(more)
    unusable = {(row.source, row.line) for row in more}
    copies = augment(
        plan.recipe,
        plan.loaded.task,
        [item for item in dataset.train if (item.source, item.line) not in unusable],
        (*dataset.validation, *dataset.held_out),
        memory=memory or work / TRANSLATIONS,
        progress=progress,
    )
    if copies.items and plan.recipe.augment.check == "model":
        first = work / FIRST
        first.mkdir(parents=True, exist_ok=True)
        shown = named(progress, "first model")
        run(without_copies(plan), InvalidRows(plan.recipe), first, shown, resume)
        copies = copies.without(disagreeing(plan, first / ADAPTER, tokenizer, copies.items, shown), "model")
    copied, unusable_copies = make_features(plan.loaded, tokenizer, plan.info, copies.items, progress)
    counts = copies.counts | ({"unusable": len(unusable_copies)} if unusable_copies else {})
    return features + copied, counts, copies.dropped


def without_copies(plan: Plan) -> Plan:
    """Return the plan without augmentation."""
    return replace(plan, recipe=plan.recipe.model_copy(update={"augment": Augment()}))


def evaluator_of(
    plan: Plan, tokenizer: Tokenizer, items: Sequence[Item], invalid: InvalidRows
) -> Evaluator | None:
    """Return the evaluator of these rows; None if the task can encode none of them."""
    good, more = encodable(plan.loaded, tokenizer, plan.info, items)
    invalid.add(more)
    names = plan.recipe.evaluate.metrics
    return Evaluator.of(plan.loaded, tokenizer, plan.info, good, names) if good else None


def _check_slices(plan: Plan) -> None:
    fields = [field.name for field in plan.loaded.task.fields]
    for column in plan.recipe.evaluate.slices:
        if column not in fields and not any(
            dict(item.extra).get(str(column)) for item in plan.dataset.held_out
        ):
            raise plan.recipe.error(
                "evaluate.slices",
                f"no held-out row has a column {column!r}, and task {plan.recipe.task} no such field. "
                f"Its fields: {', '.join(fields)}",
            )


def new_model(plan: Plan, features: Sequence[Features]) -> PeftModel:
    """Return the base with a new head and adapter, initialized by the seed."""
    set_seed(plan.recipe.train.seed)
    model = load_base(plan.base, plan.serving.head, len(plan.serving.labels), plan.recipe.train.dropout)
    if plan.serving.numbers:
        model.config.problem_type = "regression"
    elif plan.head is HeadKind.SEQUENCE:
        multi_label = isinstance(features[0]["labels"], list)
        model.config.problem_type = f"{'multi' if multi_label else 'single'}_label_classification"
    return add_adapter(model, plan.recipe, plan.serving.head)


def _stored_as(plan: Plan) -> torch.dtype:
    method = plan.recipe.method
    return torch.float16 if method.stored == "fp16" and not method.changes_base else torch.float32


def _stored(
    plan: Plan,
    model: PeftModel,
    initial: Mapping[str, Any] | None,
    tokenizer: Tokenizer,
    probes: Sequence[Row],
    folder: Path,
) -> PeftModel:
    """Write the adapter, load it again on a fresh base, and check that both give the same scores.

    With `initial` it is converted to plain LoRA, and not rounded, as the initial update was not rounded.
    """
    dtype, numbers = _stored_as(plan), plan.serving.numbers
    # In fp16, a number such as the year 1985 has steps of 1.
    round_weights(model, dtype, whole_head=numbers is not None)
    save_adapter(model, folder, dtype, initial, whole_head=numbers is not None)
    stored = load_adapted(folder, plan.base, plan.serving.head, len(plan.serving.labels), model.device)
    difference = _largest_difference(model, stored, tokenizer, probes)
    allowed = MAX_DIFFERENCE * numbers.spread + EPSILON * abs(numbers.center) if numbers else MAX_DIFFERENCE
    if not difference <= allowed:
        raise BadAdapter(
            f"The scores of the stored weights differ from those of the trained model by {difference:.2g} "
            f"(at most {allowed:g} is allowed), so nothing was stored. Try method.stored: fp32."
        )
    return stored


def _largest_difference(model: Any, other: Any, tokenizer: Tokenizer, rows: Sequence[Row]) -> float:
    """Compare raw scores row by row; for generation, those of the next token at every position."""
    largest = 0.0
    for row in rows:
        first, second = (
            forward_rows(each, tokenizer, HeadKind.TOKEN, [row])[0].values for each in (model, other)
        )
        assert first is not None and second is not None
        largest = max(largest, float(abs(first - second).max()))
    return largest
