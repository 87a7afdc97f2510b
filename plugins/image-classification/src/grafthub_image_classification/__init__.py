"""Image classification: a label for an image, and a reader of image files."""

from __future__ import annotations

from collections.abc import Iterator

from hub.api import HeadKind, InputKind, ReaderSpec, TaskSpec, hookimpl

__all__ = ["hub_readers", "hub_settings", "hub_tasks"]


@hookimpl
def hub_tasks() -> Iterator[TaskSpec]:
    """Yield the task `image-classification`."""
    yield TaskSpec(
        name="image-classification",
        summary="Label an image.",
        head=HeadKind.SEQUENCE,
        request="grafthub_image_classification.models:ImageClassificationRequest",
        response="grafthub_image_classification.models:ImageClassificationResponse",
        factory="grafthub_image_classification.task:ImageClassificationTask",
        input=InputKind.IMAGE,
    )


@hookimpl
def hub_readers() -> Iterator[ReaderSpec]:
    """Yield the reader of folders of images."""
    yield ReaderSpec(
        "image",
        "Folders of images: PNG, JPEG, WebP.",
        "grafthub_image_classification.reader:ImageReader",
        text=False,
        folders=(".png", ".jpg", ".jpeg", ".webp"),
    )


@hookimpl
def hub_settings() -> str:
    """Return the model of the limits on images."""
    return "grafthub_image_classification.models:ImageLimits"
