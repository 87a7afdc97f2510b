"""Vectors of texts: near each other if the texts belong together."""

from __future__ import annotations

from collections.abc import Iterator

from hub.api import HeadKind, TaskSpec, hookimpl

__all__ = ["hub_tasks"]


@hookimpl
def hub_tasks() -> Iterator[TaskSpec]:
    """Yield the task `similarity`."""
    yield TaskSpec(
        name="similarity",
        summary="Turn texts into vectors, and score how near texts are to a query.",
        head=HeadKind.EMBEDDING,
        request="grafthub_similarity.models:SimilarityRequest",
        response="grafthub_similarity.models:SimilarityResponse",
        factory="grafthub_similarity.task:SimilarityTask",
    )
