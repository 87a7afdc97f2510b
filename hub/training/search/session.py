# ruff: noqa: TID253 - imported when a search starts, and by nothing else
"""The shared state of all trials on one data set: rows, tokens, validation, cached activations."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hub.bases.cache import Bases
from hub.data.dataset import InvalidRows, chooses
from hub.data.label_quality import describe_rows
from hub.engine.tokenizer import load_tokenizer
from hub.errors import BadData
from hub.evaluation.goal import Goal, gain
from hub.progress import Progress, silent
from hub.recipe.recipe import Recipe
from hub.registry.host import Registry
from hub.training.fit.activation_cache import Stock
from hub.training.fit.checkpoints import move
from hub.training.fit.number import NumberHead
from hub.training.fit.trainer import Fitted, fit
from hub.training.objective import head_of, loss_of
from hub.training.plan import Plan, make_plan
from hub.training.run import evaluator_of, new_model, training_rows
from hub.training.work_folder import note_plan

__all__ = ["KEPT", "Session"]

KEPT = "best"  # folder with the checkpoints of the best trial and their plan, for `hub train`

NO_PATIENCE = 1_000_000  # evaluations
MIN_ROWS = 20  # half of them may become validation rows
_TRIAL = "trial"

OnEvaluation = Callable[[int, float], None]
"""Called with the number of each evaluation, from 1, and the metric; may raise to end the trial."""


class Session:
    """One data set, prepared and tokenized once, for any number of trials.

    A trial trains like `hub train` and is evaluated on the validation rows only; nothing is stored.
    """

    def __init__(self, plan: Plan, invalid: InvalidRows, folder: Path, progress: Progress = silent) -> None:
        self.plan = plan
        self._folder = folder
        self._tokenizer = load_tokenizer(plan.base)
        self._features, _, _ = training_rows(plan, self._tokenizer, invalid, folder, progress)
        validation = evaluator_of(plan, self._tokenizer, plan.dataset.validation, invalid)
        invalid.check(plan.dataset.size)
        if validation is None or not self._features:
            rows = len(plan.dataset.train) + len(plan.dataset.validation)
            raise BadData(
                "Too few validation rows: trials are compared on `train.validation_fraction` of the training "
                f"rows, at least ten. Add rows to the {rows}, or increase it"
                f"{f' to {math.ceil(1000 / rows) / 100}' if rows >= MIN_ROWS else ''}."
            )
        self._validation = validation
        self._stock = Stock(folder)

    @classmethod
    def open(
        cls,
        recipe: Recipe,
        *,
        registry: Registry,
        bases: Bases,
        cache: Path,
        folder: Path,
        progress: Progress = silent,
    ) -> Session:
        """Load the data of a recipe; validation rows are split off regardless of its epochs and patience.

        Raises:
            BadRecipe, BadData, NotFound, SourceUnavailable: as `make_plan`; too few validation rows.
        """
        invalid = InvalidRows(recipe)
        divided = recipe.model_copy(
            update={"train": recipe.train.model_copy(update={"patience": 1, "epochs": 2.0})}
        )
        divided._origin = recipe._origin
        try:
            plan = make_plan(
                divided, registry=registry, bases=bases, cache=cache, invalid=invalid, progress=progress
            )
            return cls(plan, invalid, folder, progress)
        finally:
            invalid.write(folder / "invalid.jsonl")

    @property
    def sha256(self) -> str:
        """The hash of the plan that trials vary."""
        return self.plan.sha256

    @property
    def metric(self) -> str:
        """The metric by which trials are compared."""
        return self._validation.metric

    @property
    def goal(self) -> Goal:
        """Whether a higher or a lower metric is better."""
        return self._validation.goal

    def train(
        self,
        recipe: Recipe,
        on_evaluation: OnEvaluation,
        progress: Progress = silent,
        best: float | None = None,
    ) -> Fitted:
        """Train a recipe that differs from the session's only in `method` and `train`.

        The checkpoints are moved to the folder `KEPT` if the metric is better than `best`.

        Raises:
            BadRecipe: training diverged, or the recipe does not fit the base.
        """
        work = self._folder / _TRIAL
        shutil.rmtree(work, ignore_errors=True)
        base = self.plan.base
        dataset = self.plan.dataset
        rows = describe_rows(self.plan.loaded, dataset.train, dataset.labels, base.model_type)
        settled = recipe.on_base(base.kind).settled(rows)
        plan = replace(self.plan, recipe=settled)
        patience = settled.train.stops_after or NO_PATIENCE
        try:
            model = new_model(plan, self._features)
            NumberHead.of(model, plan.serving.numbers)
            fitted = fit(
                model,
                self._features,
                settled.train.model_copy(update={"patience": patience}),
                folder=work,
                pad=self._tokenizer.pad_token_id or 0,
                loss=loss_of(plan, self._features),
                validation=self._validation,
                progress=progress,
                resume=False,
                callbacks=[_EvaluationCallback(on_evaluation, self.metric)],
                stock=self._stock,
                head=head_of(plan, self._features, self._tokenizer),
            )
            found = fitted.best_metric
            if found is not None and (best is None or gain(found, best, self.goal) > 0):
                self._keep(plan, work)
            return fitted
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _keep(self, plan: Plan, work: Path) -> None:
        """Keep the checkpoints of the best trial, if a training run of its recipe has the same rows."""
        kept = self._folder / KEPT
        shutil.rmtree(kept, ignore_errors=True)
        dataset = plan.dataset
        if chooses(plan.recipe, len(dataset.train) + len(dataset.validation)):
            note_plan(plan, work)
            for state in work.glob("*/optimizer.pt"):
                state.unlink()  # large, and not needed after training
            move(work, kept)


class _EvaluationCallback(TrainerCallback):  # type: ignore[misc]
    def __init__(self, on_evaluation: OnEvaluation, metric: str) -> None:
        self._on_evaluation, self._metric, self._count = on_evaluation, f"eval_{metric}", 0

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs: Any,
    ) -> None:
        self._count += 1
        self._on_evaluation(self._count, metrics[self._metric])
