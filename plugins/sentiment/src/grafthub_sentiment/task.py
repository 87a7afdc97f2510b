"""The task `sentiment`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from grafthub_sentiment.models import SentimentOptions, SentimentRequest, SentimentResponse
from grafthub_sentiment.polarity import known_polarities, polarities
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

__all__ = ["SentimentTask"]


class SentimentTask(Task[SentimentRequest, SentimentResponse]):
    """Label the sentiment of a text, with a polarity between negative and positive."""

    fields: ClassVar[tuple[Field, ...]] = (
        Field("text", FieldKind.TEXT, "The text."),
        Field("label", FieldKind.LABEL, "Its sentiment: negative, neutral, positive, 1 to 5 stars, ..."),
    )
    options: ClassVar[type[SentimentOptions]] = SentimentOptions
    metric: ClassVar[str] = "accuracy"
    metric_kinds: ClassVar[Mapping[str, MetricKind]] = MappingProxyType(
        {
            "accuracy": MetricKind.ACCURACY,
            "f1_macro": MetricKind.F1_MACRO,
        }
    )

    def labels(self, examples: Iterable[Example]) -> tuple[str, ...]:
        """Return the labels of the examples, from negative to positive by their names."""
        names = sorted({example["label"] for example in examples})
        known = known_polarities(names)
        return tuple(sorted(names, key=lambda name: (known.get(name, 0.0), name)))

    def request(self, example: Example) -> SentimentRequest:
        return SentimentRequest(text=example["text"])

    def encode(self, request: SentimentRequest, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        encoding = tokenizer(request.text, verbose=False)
        side, refuse = tokenizer.truncation_side, not request.truncate
        return [Row(**truncate(encoding, adapter.max_length, side=side, refuse=refuse))]

    def decode(
        self, request: SentimentRequest, outputs: Sequence[Output], adapter: AdapterInfo
    ) -> SentimentResponse:
        options = read_options(SentimentOptions, adapter)
        weights = polarities(adapter.labels, options.polarity)
        scores = softmax(np.asarray(outputs[0].values, dtype=np.float64), options.temperature)  # [C]
        ranked = {adapter.labels[index]: float(scores[index]) for index in np.argsort(-scores, kind="stable")}
        label = next(iter(ranked))
        return SentimentResponse(
            label=label,
            score=ranked[label],
            polarity=float(np.clip(scores @ np.array(weights), -1.0, 1.0)),
            scores=ranked,
        )

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        if len(adapter.labels) < 2:
            raise BadRecipe("Sentiment needs at least two different labels in the column `label`.")
        polarities(adapter.labels, read_options(SentimentOptions, adapter).polarity)
        if example["label"] not in adapter.labels:
            raise BadData(f"Label {example['label']!r} is not one of: {', '.join(adapter.labels[:20])}.")
        try:
            text = self.request(example).text
        except BadRequest as error:
            raise BadData(str(error)) from None
        label = adapter.labels.index(example["label"])
        encoding = tokenizer(text, verbose=False)
        tokens = truncate(encoding, adapter.max_length, side=tokenizer.truncation_side)
        return [{**tokens, "labels": label}]

    def metrics(
        self, predictions: Sequence[SentimentResponse], references: Sequence[Example]
    ) -> dict[str, float]:
        """Return accuracy and macro F1, by scikit-learn."""
        from sklearn.metrics import accuracy_score, f1_score

        true = [example["label"] for example in references]
        predicted = [answer.label for answer in predictions]
        names = sorted({*true, *predicted})
        return {
            "accuracy": float(accuracy_score(true, predicted)),
            "f1_macro": float(f1_score(true, predicted, labels=names, average="macro", zero_division=0.0)),
        }
