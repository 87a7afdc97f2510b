# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Evaluates a model in memory on held-out examples, with the task's own encode and decode."""

from __future__ import annotations

import copy
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hub.api import AdapterInfo, Example, HeadKind, MetricKind, Output, Row, Tokenizer
from hub.data.examples import Item
from hub.errors import BadPlugin, HubError
from hub.evaluation.goal import Goal
from hub.evaluation.intervals import Figures
from hub.evaluation.logits import Labelled, labelled
from hub.evaluation.metrics import more_metrics
from hub.evaluation.predict import BeforeBatch, forward_rows
from hub.evaluation.score import Numbers
from hub.progress import Progress, silent
from hub.registry.active import active
from hub.registry.kinds import METRICS
from hub.registry.loaded import LoadedTask, plugin_call

__all__ = ["EvaluationSample", "Evaluator", "Scored", "majority_metrics", "mean_metrics"]


@dataclass(frozen=True, slots=True)
class Scored:
    """The task's metrics, its judged answer to each example (`Task.judged`), and the model outputs."""

    metrics: Mapping[str, float]
    predictions: Sequence[Any]
    outputs: Sequence[Output]


@dataclass(frozen=True, slots=True)
class EvaluationSample:
    """A sample of the examples that a model was evaluated on, with its outputs for their rows."""

    evaluator: Evaluator
    outputs: Sequence[Output]


class Evaluator:
    """Encodes examples once, to score any number of models on them.

    `references` are the examples with their expected answers, `requests` their requests, and `items` has the
    source and line of each example, if known.
    """

    def __init__(
        self,
        loaded: LoadedTask,
        tokenizer: Tokenizer,
        info: AdapterInfo,
        examples: Sequence[Example],
        items: Sequence[Item] = (),
        more: Sequence[str] = (),
    ) -> None:
        self.loaded = loaded
        self.tokenizer = tokenizer
        self.info = info
        self.items = items
        self.more = more
        self.references = examples
        self.requests = [loaded.task.request(example) for example in examples]
        self._rows = [loaded.task.encode(request, tokenizer, info) for request in self.requests]

    @classmethod
    def of(
        cls,
        loaded: LoadedTask,
        tokenizer: Tokenizer,
        info: AdapterInfo,
        items: Sequence[Item],
        more: Sequence[str] = (),
    ) -> Evaluator:
        """Return the evaluator of the examples of `items`; `more` names metrics beside those of the task."""
        return cls(loaded, tokenizer, info, [item.example for item in items], items, more)

    @property
    def head(self) -> HeadKind:
        return self.loaded.spec.head

    @property
    def metric(self) -> str:
        """The task's main metric."""
        return str(self.loaded.task.metric)

    @property
    def goal(self) -> Goal:
        """Whether a higher or a lower metric is better."""
        return self.loaded.task.metric_goal

    @property
    def signatures(self) -> dict[str, str]:
        """How the task's metrics are computed, by name."""
        with plugin_call(self.loaded.spec.name, "signatures()"):
            return {str(name): str(value) for name, value in self.loaded.task.signatures().items()}

    @property
    def examples(self) -> int:
        """The number of examples."""
        return len(self.references)

    @property
    def rows(self) -> list[Row]:
        """All rows of all examples, in order."""
        return [row for rows in self._rows for row in rows]

    @property
    def lengths(self) -> list[int]:
        """The number of tokens of each example, over all of its rows."""
        return [sum(len(row.input_ids) for row in rows) for rows in self._rows]

    def run(
        self, model: torch.nn.Module, progress: Progress = silent, before_batch: BeforeBatch | None = None
    ) -> Scored:
        """Evaluate the model; its training mode is restored."""
        outputs = forward_rows(
            model, self.tokenizer, self.loaded.spec.head, self.rows, progress, before_batch
        )
        return self.score(outputs)

    def score(self, outputs: Sequence[Output]) -> Scored:
        """Decode the outputs of `rows` and let the task score the answers.

        Other metrics than the one it names are left out where they are undefined, such as NaN.

        Raises:
            BadPlugin: the task's metrics lack the one it names, or it is not a finite number.
        """
        task, predictions = self.loaded.task, self.decode(outputs)
        with plugin_call(self.loaded.spec.name, "metrics()"):
            predictions = list(task.judged(predictions, self.references))
            metrics = self._metrics(predictions, self.references)
        if not math.isfinite(metrics.get(task.metric, math.nan)):
            raise BadPlugin(
                f"Task {self.loaded.spec.name!r} names the metric {task.metric!r} and returns {metrics}."
            )
        return Scored(_defined(metrics), predictions, outputs)

    def decode(self, outputs: Sequence[Output]) -> list[Any]:
        """Return the task's answer to each example, given the outputs of `rows`."""
        remaining = iter(outputs)
        with plugin_call(self.loaded.spec.name, "decode()"):
            return [
                self.loaded.task.decode(request, [next(remaining) for _ in rows], self.info)
                for request, rows in zip(self.requests, self._rows, strict=True)
            ]

    def figures(self, predictions: Sequence[Any]) -> Figures:
        """Return a function that computes the task's metrics of the examples at some indices.

        It returns {} if the metrics are undefined: a metric may need both labels, and few rows may have one.
        """

        def metrics(indices: Any) -> Mapping[str, float]:
            chosen = [[values[index] for index in indices] for values in (predictions, self.references)]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # libraries warn about samples that lack a label
                try:
                    found = self._metrics(*chosen)
                except Exception:
                    return {}
            return _defined(found)

        return metrics

    def _metrics(self, predictions: Sequence[Any], references: Sequence[Example]) -> dict[str, float]:
        own = {
            name: float(value) for name, value in self.loaded.task.metrics(predictions, references).items()
        }
        return own | more_metrics(self.more, predictions, references, own) if self.more else own

    @property
    def metric_kinds(self) -> dict[str, MetricKind]:
        """The formulas that metrics follow, by name, where the task or the metric names one."""
        specs = active().extensions
        kinds = {name: specs.get(METRICS, name).kind for name in self.more}
        return {name: kind for name, kind in kinds.items() if kind} | dict(self.loaded.task.metric_kinds)

    def numbers(self, predictions: Sequence[Any]) -> Numbers | None:
        """Return the predicted and true numbers of answers; None for tasks that learn labels or texts."""
        if not self.loaded.numeric:
            return None
        field = self.loaded.task.number_field
        predicted = [getattr(answer, field, math.nan) for answer in predictions]
        true = [self.loaded.number(example) for example in self.references]
        return Numbers(np.asarray(true), np.asarray(predicted, dtype=float))

    def labelled(self, outputs: Sequence[Output]) -> Labelled | None:
        """Pair the outputs of `rows` with their training targets; None for heads without labels.

        Rows for which the task makes no features, such as those with an unknown label, are skipped.
        """
        if not self.loaded.labelled:
            return None
        targets: list[Any] = []
        for example, rows in zip(self.references, self._rows, strict=True):
            try:
                with plugin_call(self.loaded.spec.name, "features()"):
                    features = self.loaded.task.features(example, self.tokenizer, self.info)
            except HubError:
                features = []
            known = {tuple(feature["input_ids"]): feature["labels"] for feature in features}
            targets += [known.get(tuple(row.input_ids)) for row in rows]
        return labelled(outputs, targets)

    def sample(self, outputs: Sequence[Output], limit: int) -> EvaluationSample:
        """Return at most `limit` examples, evenly spaced, with their part of `outputs`."""
        step = math.ceil(len(self.references) / limit)
        chosen = copy.copy(self)
        for name in ("references", "requests", "_rows", "items"):
            setattr(chosen, name, getattr(self, name)[::step])
        remaining = iter(outputs)
        by_example = [[next(remaining) for _ in rows] for rows in self._rows]
        return EvaluationSample(chosen, [output for own in by_example[::step] for output in own])


def _defined(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def mean_metrics(evaluator: Evaluator, center: float) -> Mapping[str, float]:
    """Return the metrics of always predicting `center`, without those that are undefined for it."""
    return _metrics_of(evaluator, np.array([center], np.float32))


def majority_metrics(
    evaluator: Evaluator, head: HeadKind, targets: Sequence[Any], labels: int
) -> Mapping[str, float]:
    """Return the metrics of always predicting the most common training answer; {} if there is none.

    Those that are undefined for it are left out. `targets` are the `labels` of the training features: an int,
    or C floats for multi-label.
    """
    if head is not HeadKind.SEQUENCE or not targets:
        return {}
    if isinstance(targets[0], int):
        values = np.zeros(labels, np.float32)
        values[Counter(targets).most_common(1)[0][0]] = 20.0
    else:
        values = np.where(np.mean(np.asarray(targets), axis=0) >= 0.5, 20.0, -20.0).astype(np.float32)
    return _metrics_of(evaluator, values)


def _metrics_of(evaluator: Evaluator, values: npt.NDArray[np.float32]) -> Mapping[str, float]:
    """Return the defined metrics of a model that has these outputs for every row."""
    answers = evaluator.decode([Output(row, values) for row in evaluator.rows])
    with plugin_call(evaluator.loaded.spec.name, "judged()"):
        predictions = list(evaluator.loaded.task.judged(answers, evaluator.references))
    return evaluator.figures(predictions)(np.arange(evaluator.examples))
