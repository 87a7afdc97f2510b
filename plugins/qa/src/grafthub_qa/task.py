"""The task `qa`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from grafthub_qa.metrics import exact_match, f1
from grafthub_qa.models import QaAnswer, QaOptions, QaRequest, QaResponse
from grafthub_qa.spans import SpanScores
from grafthub_qa.windows import Pair, tokenize_pair
from hub.api import (
    AdapterInfo,
    BadData,
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
)

__all__ = ["QaTask"]


class QaTask(Task[QaRequest, QaResponse]):
    """Find the answer to a question in a context; a long context becomes overlapping windows."""

    fields: ClassVar[tuple[Field, ...]] = (
        Field("question", FieldKind.TEXT, "The question."),
        Field("context", FieldKind.TEXT, "The text that may contain the answer."),
        Field("answers", FieldKind.ANSWERS, "Answers with their position; none: no answer."),
    )
    options: ClassVar[type[QaOptions]] = QaOptions
    metric: ClassVar[str] = "f1"
    metric_kinds: ClassVar[Mapping[str, MetricKind]] = MappingProxyType(
        {
            "exact_match": MetricKind.MEAN,
            "f1": MetricKind.MEAN,
        }
    )
    max_length: ClassVar[int] = 384

    def request(self, example: Example) -> QaRequest:
        return QaRequest(question=example["question"], context=example["context"])

    def encode(self, request: QaRequest, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        options = read_options(QaOptions, adapter)
        both = tokenize_pair(request.question, request.context, tokenizer)
        bounds = both.windows(adapter.max_length, options.doc_stride, options.max_windows)
        return [both.row(start, stop) for start, stop in bounds]

    def decode(self, request: QaRequest, outputs: Sequence[Output], adapter: AdapterInfo) -> QaResponse:
        options = read_options(QaOptions, adapter)
        spans = SpanScores.of(outputs, options.max_answer_length)
        total = spans.log_total(options.no_answer)
        found = list(islice(spans.answers(request.context), request.top_k))
        answers = [
            QaAnswer(
                answer=request.context[start:end], score=_probability(score, total), start=start, end=end
            )
            for score, start, end in found
        ]
        null_score = _probability(spans.null, total) if options.no_answer else 0.0
        beaten = options.no_answer and bool(found) and spans.null - found[0][0] > options.null_threshold
        none = QaAnswer(answer="", score=null_score, start=0, end=0)
        best = answers[0] if answers and not beaten else none
        return QaResponse(
            **best.model_dump(), no_answer=best is none, no_answer_score=null_score, answers=answers
        )

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        """Return one feature per window; the first token stands for "not in this window"."""
        options = read_options(QaOptions, adapter)
        try:
            request = self.request(example)
            both = tokenize_pair(request.question, request.context, tokenizer)
            bounds = both.windows(adapter.max_length, options.doc_stride, options.max_windows)
        except BadRequest as error:
            raise BadData(str(error)) from None
        answer = _answer_tokens(example, both, options)
        if answer and not any(start <= answer[0] and answer[1] < stop for start, stop in bounds):
            raise BadData(
                f"The answer has {answer[1] - answer[0] + 1} tokens and fits in no window: raise "
                "max_length or options.doc_stride."
            )
        return [_window_features(both, start, stop, answer) for start, stop in bounds]

    def metrics(self, predictions: Sequence[QaResponse], references: Sequence[Example]) -> dict[str, float]:
        pairs = [
            (prediction.answer, [answer["text"] for answer in example["answers"] or ()])
            for prediction, example in zip(predictions, references, strict=True)
        ]
        return {
            "exact_match": sum(exact_match(*pair) for pair in pairs) / max(1, len(pairs)),
            "f1": sum(f1(*pair) for pair in pairs) / max(1, len(pairs)),
        }


def _probability(score: float, log_total: float) -> float:
    return min(1.0, math.exp(score - log_total))


def _answer_tokens(example: Example, both: Pair, options: QaOptions) -> tuple[int, int] | None:
    """Return the first and last context token of the first true answer; None if there is none."""
    if not example["answers"]:
        if not options.no_answer:
            raise BadData("The example has no answer, but options.no_answer is off.")
        return None
    start, end = _place(example["context"], example["answers"][0])
    tokens = both.tokens_of(start, end)
    if not len(tokens):
        raise BadData(f"The answer {example['context'][start:end]!r} has no token of its own.")
    return int(tokens[0]), int(tokens[-1])


def _place(context: str, answer: Mapping[str, Any]) -> tuple[int, int]:
    """Return the span of the answer: at `answer_start`, else at the nearest occurrence."""
    text = answer["text"].strip()
    if not text:
        raise BadData("The text of the answer is empty; leave `answers` empty if there is none.")
    claimed = answer.get("answer_start")
    hint = int(claimed) if isinstance(claimed, (int, np.integer)) else 0
    found = _occurrences(context, text)
    if not found:
        raise BadData(f"The answer {text[:80]!r} does not occur in the context.")
    start = min(found, key=lambda place: abs(place - hint))
    return start, start + len(text)


def _occurrences(context: str, text: str) -> list[int]:
    found, at = [], context.find(text)
    while at >= 0:
        found.append(at)
        at = context.find(text, at + 1)
    return found


def _window_features(both: Pair, start: int, stop: int, answer: tuple[int, int] | None) -> Features:
    row = both.row(start, stop)
    inside = answer is not None and start <= answer[0] and answer[1] < stop
    shift = both.first - start
    features: Features = {
        "input_ids": row.input_ids,
        "start_positions": answer[0] + shift if answer and inside else 0,
        "end_positions": answer[1] + shift if answer and inside else 0,
    }
    if row.token_type_ids is not None:
        features["token_type_ids"] = row.token_type_ids
    return features
