# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Held-out examples through the task's own encode and decode, on a model that is in memory."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hub.api import AdapterInfo, Example, HeadKind, Output, Row, Tokenizer
from hub.errors import BadPlugin
from hub.registry.loaded import LoadedTask
from hub.training.guard import plugin_call
from hub.training.progress import Progress, silent

__all__ = ["Evaluator", "Sample", "Scored", "evaluate", "forward_rows", "majority_metrics"]

TOKENS_AT_ONCE = 8192
ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Scored:
    """The task's metrics, its answer to each example, and the outputs that it made them of."""

    metrics: Mapping[str, float]
    predictions: Sequence[Any]
    outputs: Sequence[Output]


@dataclass(frozen=True, slots=True)
class Sample:
    """Some of the examples that a model was measured on, and what it answered to their rows."""

    evaluator: Evaluator
    outputs: Sequence[Output]


class Evaluator:
    """Examples encoded once, to be scored any number of times while a model trains."""

    def __init__(
        self, loaded: LoadedTask, tokenizer: Tokenizer, info: AdapterInfo, examples: Sequence[Example]
    ) -> None:
        self._loaded = loaded
        self._tokenizer = tokenizer
        self._info = info
        self._examples = examples
        self._requests = [loaded.task.request(example) for example in examples]
        self._rows = [loaded.task.encode(request, tokenizer, info) for request in self._requests]

    @property
    def metric(self) -> str:
        """The metric the task is judged by."""
        return str(self._loaded.task.metric)

    @property
    def examples(self) -> int:
        """How many there are."""
        return len(self._examples)

    @property
    def rows(self) -> list[Row]:
        """All rows of all examples, in order."""
        return [row for rows in self._rows for row in rows]

    def run(self, model: torch.nn.Module, progress: Progress = silent) -> Scored:
        """Score the model as it is now; it is left in the mode it was in."""
        outputs = forward_rows(model, self._tokenizer, self._loaded.spec.head, self.rows, progress)
        return self.score(outputs)

    def score(self, outputs: Sequence[Output]) -> Scored:
        """Decode the outputs of `rows` and let the task score the answers.

        Raises:
            BadPlugin: the task's metrics lack the one it names, or it is not a finite number.
        """
        task, remaining = self._loaded.task, iter(outputs)
        with plugin_call(self._loaded.spec.name, "decode()"):
            predictions = [
                task.decode(request, [next(remaining) for _ in rows], self._info)
                for request, rows in zip(self._requests, self._rows, strict=True)
            ]
        with plugin_call(self._loaded.spec.name, "metrics()"):
            figures = task.metrics(predictions, self._examples)
            metrics = {name: float(value) for name, value in figures.items()}
        if not math.isfinite(metrics.get(task.metric, math.nan)):
            raise BadPlugin(
                f"Task {self._loaded.spec.name!r} names the metric {task.metric!r} and returns {metrics}."
            )
        return Scored(metrics, predictions, outputs)

    def sample(self, outputs: Sequence[Output], most: int) -> Sample:
        """Return at most `most` examples, from everywhere among them, with their part of `outputs`."""
        step = math.ceil(len(self._examples) / most)
        chosen = copy.copy(self)
        for name in ("_examples", "_requests", "_rows"):
            setattr(chosen, name, getattr(self, name)[::step])
        remaining = iter(outputs)
        by_example = [[next(remaining) for _ in rows] for rows in self._rows]
        return Sample(chosen, [output for own in by_example[::step] for output in own])


def evaluate(
    loaded: LoadedTask,
    model: torch.nn.Module,
    tokenizer: Tokenizer,
    info: AdapterInfo,
    examples: Sequence[Example],
) -> tuple[Mapping[str, float], Sequence[Any]]:
    """Return the task's metrics over the examples, and its answers."""
    scored = Evaluator(loaded, tokenizer, info, examples).run(model)
    return scored.metrics, scored.predictions


def majority_metrics(
    evaluator: Evaluator, head: HeadKind, targets: Sequence[Any], labels: int
) -> Mapping[str, float]:
    """Return the metrics of always giving the answer most common in training; {} where there is none.

    `targets` are the `labels` of the training features: an int, or C floats for multi-label.
    """
    if head is not HeadKind.SEQUENCE or not targets:
        return {}
    if isinstance(targets[0], int):
        values = np.zeros(labels, np.float32)
        values[Counter(targets).most_common(1)[0][0]] = 20.0
    else:
        values = np.where(np.mean(np.asarray(targets), axis=0) >= 0.5, 20.0, -20.0).astype(np.float32)
    return evaluator.score([Output(row, values) for row in evaluator.rows]).metrics


def forward_rows(
    model: Any, tokenizer: Tokenizer, head: HeadKind, rows: Sequence[Row], progress: Progress = silent
) -> list[Output]:
    """Run rows in batches of like length; the outputs are in the order of the rows."""
    outputs: list[Output | None] = [None] * len(rows)
    training, done = model.training, 0
    model.eval()
    try:
        with torch.inference_mode():
            for indices in _batches(rows):
                batch = [rows[index] for index in indices]
                run = _generate if head is HeadKind.GENERATE else _score
                for index, output in zip(indices, run(model, tokenizer, batch), strict=True):
                    outputs[index] = output
                done += len(indices)
                progress("evaluate", done, len(rows))
    finally:
        model.train(training)
    return [output for output in outputs if output is not None]


def _batches(rows: Sequence[Row]) -> Iterator[list[int]]:
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index].input_ids))
    while order:
        longest = len(rows[order[0]].input_ids)
        size = max(1, min(ROWS_AT_ONCE, TOKENS_AT_ONCE // max(1, longest)))
        yield order[:size]
        del order[:size]


def _score(model: Any, tokenizer: Tokenizer, rows: Sequence[Row]) -> list[Output]:
    result = model(**_padded(model, tokenizer, rows, left=False))
    values = (
        result.logits if "logits" in result else torch.stack((result.start_logits, result.end_logits), -1)
    )
    array = values.float().cpu().numpy()  # [B, C] or [B, T, C]
    if array.ndim == 2:
        return [Output(row, array[index]) for index, row in enumerate(rows)]
    return [Output(row, array[index, : len(row.input_ids)]) for index, row in enumerate(rows)]


def _generate(model: Any, tokenizer: Tokenizer, rows: Sequence[Row]) -> list[Output]:
    """Continue prompts greedily."""
    inputs = _padded(model, tokenizer, rows, left=True)
    prompt = inputs["input_ids"].shape[1]
    room = model.config.max_position_embeddings - prompt
    tokens = model.generate(
        **inputs,
        max_new_tokens=max(1, min(max(row.max_new_tokens for row in rows), room)),
        do_sample=False,
        num_beams=1,
        temperature=None,
        top_p=None,
        top_k=None,
        pad_token_id=_pad(tokenizer),
        eos_token_id=tokenizer.eos_token_id,
    )
    continued = tokens[:, prompt:].tolist()
    return [
        Output(row, text=tokenizer.decode(ids[: row.max_new_tokens], skip_special_tokens=True))
        for row, ids in zip(rows, continued, strict=True)
    ]


def _pad(tokenizer: Tokenizer) -> int:
    pads = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(token for token in pads if token is not None)


def _padded(model: Any, tokenizer: Tokenizer, rows: Sequence[Row], *, left: bool) -> dict[str, Tensor]:
    longest = max(len(row.input_ids) for row in rows)
    shape = (len(rows), longest)
    inputs = {
        "input_ids": torch.full(shape, _pad(tokenizer)),
        "attention_mask": torch.zeros(shape, dtype=torch.long),
    }
    if any(row.token_type_ids is not None for row in rows):
        inputs["token_type_ids"] = torch.zeros(shape, dtype=torch.long)
    for index, row in enumerate(rows):
        length = len(row.input_ids)
        where = slice(longest - length, longest) if left else slice(0, length)
        inputs["input_ids"][index, where] = torch.tensor(row.input_ids)
        inputs["attention_mask"][index, where] = 1
        if row.token_type_ids is not None:
            inputs["token_type_ids"][index, where] = torch.tensor(row.token_type_ids)
    return {name: tensor.to(model.device) for name, tensor in inputs.items()}
