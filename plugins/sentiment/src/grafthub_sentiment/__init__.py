"""Sentiment: a label and a polarity from -1 (negative) to 1 (positive)."""

from __future__ import annotations

from collections.abc import Iterator

from hub.api import HeadKind, TaskSpec, hookimpl

__all__ = ["hub_tasks"]


@hookimpl
def hub_tasks() -> Iterator[TaskSpec]:
    """Yield the task `sentiment`."""
    yield TaskSpec(
        name="sentiment",
        summary="Rate how positive a text is: a label and a polarity from -1 to 1.",
        head=HeadKind.SEQUENCE,
        request="grafthub_sentiment.models:SentimentRequest",
        response="grafthub_sentiment.models:SentimentResponse",
        factory="grafthub_sentiment.task:SentimentTask",
    )
