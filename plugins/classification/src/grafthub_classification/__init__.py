"""Text classification: one label or several for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Iterator

from hub.api import HeadKind, TaskSpec, hookimpl

__all__ = ["hub_tasks"]


@hookimpl
def hub_tasks() -> Iterator[TaskSpec]:
    """Yield the task `classification`."""
    yield TaskSpec(
        name="classification",
        summary="Label a text or a pair of texts: one label, or several with thresholds.",
        head=HeadKind.SEQUENCE,
        request="grafthub_classification.models:ClassificationRequest",
        response="grafthub_classification.models:ClassificationResponse",
        factory="grafthub_classification.task:ClassificationTask",
    )
