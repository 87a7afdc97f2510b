"""The task `classification`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from grafthub_classification.metrics import multi_label, single_label
from grafthub_classification.models import (
    ClassificationLabel,
    ClassificationOptions,
    ClassificationRequest,
    ClassificationResponse,
)
from hub.api import (
    AdapterInfo,
    BadData,
    BadRecipe,
    BadRequest,
    Example,
    Features,
    Field,
    FieldKind,
    MetricKind,
    Output,
    Row,
    Task,
    Tokenizer,
    read_options,
    truncate,
)
from hub.task_tools import softmax

__all__ = ["ClassificationTask"]


class ClassificationTask(Task[ClassificationRequest, ClassificationResponse]):
    """Label a text or a pair of texts: one label (softmax) or several (sigmoid)."""

    fields: ClassVar[tuple[Field, ...]] = (
        Field("text", FieldKind.TEXT, "The text to label."),
        Field("text_pair", FieldKind.TEXT, "The second text of a pair.", required=False),
        Field("label", FieldKind.LABEL, "The label.", required=False),
        Field("labels", FieldKind.LABELS, "Multi-label: all labels.", required=False),
    )
    options: ClassVar[type[ClassificationOptions]] = ClassificationOptions
    metric: ClassVar[str] = "f1_macro"
    metric_kinds: ClassVar[Mapping[str, MetricKind]] = MappingProxyType(
        {
            "accuracy": MetricKind.ACCURACY,
            "f1_macro": MetricKind.F1_MACRO,
            "f1_micro": MetricKind.F1_MICRO,
            "mcc": MetricKind.MATTHEWS,
        }
    )

    def labels(self, examples: Iterable[Example]) -> tuple[str, ...]:
        """Return the labels of the examples: numbers by value, then words."""
        found = {label for example in examples for label in _true_labels(example)}
        return tuple(sorted(found, key=_label_order))

    def suggest_options(self, columns: Mapping[str, str | int]) -> Mapping[str, Any]:
        return {"multi_label": True} if "labels" in columns else {}

    def request(self, example: Example) -> ClassificationRequest:
        return ClassificationRequest(text=example["text"], text_pair=example.get("text_pair"))

    def encode(self, request: ClassificationRequest, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        encoding = tokenizer(request.text, request.text_pair, verbose=False)
        side, refuse = tokenizer.truncation_side, not request.truncate
        return [Row(**truncate(encoding, adapter.max_length, side=side, refuse=refuse))]

    def decode(
        self, request: ClassificationRequest, outputs: Sequence[Output], adapter: AdapterInfo
    ) -> ClassificationResponse:
        options = read_options(ClassificationOptions, adapter)
        scores = _probabilities(outputs[0].values, options)
        ranked = [
            (adapter.labels[index], float(scores[index])) for index in np.argsort(-scores, kind="stable")
        ]
        if options.multi_label:
            cut = options.thresholds
            chosen = [pair for pair in ranked if pair[1] >= cut.get(pair[0], options.threshold)]
        else:
            chosen = ranked[:1]
        label, score = chosen[0] if chosen else (None, None)
        return ClassificationResponse(
            label=label,
            score=score,
            labels=[ClassificationLabel(label=name, score=value) for name, value in chosen],
            scores=dict(ranked[: request.top_k]),
        )

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        target = _target(example, adapter)
        try:
            request = self.request(example)
        except BadRequest as error:
            raise BadData(str(error)) from None
        encoding = tokenizer(request.text, request.text_pair, verbose=False)
        tokens = truncate(encoding, adapter.max_length, side=tokenizer.truncation_side)
        return [{**tokens, "labels": target}]

    def metrics(
        self, predictions: Sequence[ClassificationResponse], references: Sequence[Example]
    ) -> dict[str, float]:
        """Return single-label metrics if every example has a `label`, else multi-label ones."""
        true = [_true_labels(example) for example in references]
        if all(example.get("label") is not None for example in references):
            return single_label([str(answer.label) for answer in predictions], [labels[0] for labels in true])
        return multi_label([[item.label for item in answer.labels] for answer in predictions], true)


def _true_labels(example: Example) -> tuple[str, ...]:
    if example.get("labels") is not None:
        return tuple(example["labels"])
    return () if example.get("label") is None else (example["label"],)


def _label_order(label: str) -> tuple[bool, int, str]:
    number = re.fullmatch(r"-?[0-9]{1,18}", label)
    return number is None, int(label) if number else 0, label


def _target(example: Example, adapter: AdapterInfo) -> int | list[float]:
    """Return the index of the true label, or 0.0 or 1.0 per label if multi-label."""
    options = read_options(ClassificationOptions, adapter)
    _check_labels(adapter, options)
    single = example.get("label") is not None
    if single is options.multi_label or (single and example.get("labels") is not None):
        column, other = ("labels", "label") if options.multi_label else ("label", "labels")
        mode = "on" if options.multi_label else "off"
        raise BadData(f"options.multi_label is {mode}: an example needs `{column}` and no `{other}`.")
    true = _true_labels(example)
    if unknown := [label for label in true if label not in adapter.labels]:
        raise BadData(f"Label {unknown[0]!r} is not one of: {_listed(adapter)}.")
    if options.multi_label:
        return [float(label in true) for label in adapter.labels]
    return adapter.labels.index(true[0])


def _check_labels(adapter: AdapterInfo, options: ClassificationOptions) -> None:
    if not adapter.labels:
        raise BadRecipe("No example has a label: map the column `label`, or `labels` for multi-label.")
    if len(adapter.labels) == 1 and not options.multi_label:
        raise BadRecipe(f"Every example has the label {adapter.labels[0]!r}; at least two are needed.")
    if unknown := sorted(set(options.thresholds).difference(adapter.labels)):
        raise BadRecipe(f"Option 'thresholds' names {unknown[0]!r}. The labels are: {_listed(adapter)}.")


def _listed(adapter: AdapterInfo) -> str:
    shown = ", ".join(adapter.labels[:20])
    return shown if len(adapter.labels) <= 20 else f"{shown} and {len(adapter.labels) - 20} more"


def _probabilities(
    scores: npt.NDArray[np.float32] | None, options: ClassificationOptions
) -> npt.NDArray[np.float64]:
    """Turn scores [C] into probabilities [C]."""
    logits = np.asarray(scores, dtype=np.float64)
    if options.multi_label:
        return np.asarray(np.exp(-np.logaddexp(0.0, -logits / options.temperature)))
    return softmax(logits, options.temperature)
