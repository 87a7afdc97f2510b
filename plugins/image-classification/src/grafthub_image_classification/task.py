"""The task `image-classification`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from grafthub_image_classification.metrics import single_label
from grafthub_image_classification.models import (
    ImageClassificationOptions,
    ImageClassificationRequest,
    ImageClassificationResponse,
    ImageLimits,
)
from grafthub_image_classification.pixels import pixel_values
from grafthub_image_classification.source import image_bytes
from hub.api import (
    AdapterInfo,
    BadData,
    BadRecipe,
    BadRequest,
    Example,
    Features,
    Field,
    FieldKind,
    ImageInput,
    MetricKind,
    Output,
    Row,
    Task,
    Tokenizer,
    read_options,
)
from hub.task_tools import softmax

__all__ = ["ImageClassificationTask"]


class ImageClassificationTask(Task[ImageClassificationRequest, ImageClassificationResponse]):
    """Label an image (softmax)."""

    fields: ClassVar[tuple[Field, ...]] = (
        Field("image", FieldKind.IMAGE, "The image: a path, base64 or a data URL."),
        Field("label", FieldKind.LABEL, "The label."),
    )
    options: ClassVar[type[ImageClassificationOptions]] = ImageClassificationOptions
    plugin_settings: ImageLimits = ImageLimits()
    metric: ClassVar[str] = "f1_macro"
    metric_kinds: ClassVar[Mapping[str, MetricKind]] = MappingProxyType(
        {"accuracy": MetricKind.ACCURACY, "f1_macro": MetricKind.F1_MACRO}
    )
    max_length: ClassVar[int] = 4096
    """An image has as many tokens as its base makes of it."""

    def labels(self, examples: Iterable[Example]) -> tuple[str, ...]:
        return tuple(sorted({example["label"] for example in examples}))

    def request(self, example: Example) -> ImageClassificationRequest:
        return ImageClassificationRequest(image=example["image"])

    def encode(
        self, request: ImageClassificationRequest, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> list[Row]:
        return [self._row(request, adapter)]

    def decode(
        self, request: ImageClassificationRequest, outputs: Sequence[Output], adapter: AdapterInfo
    ) -> ImageClassificationResponse:
        temperature = read_options(ImageClassificationOptions, adapter).temperature
        scores = softmax(_logits(outputs[0]), temperature)
        ranked = [
            (adapter.labels[index], float(scores[index])) for index in np.argsort(-scores, kind="stable")
        ]
        label, score = ranked[0]
        return ImageClassificationResponse(label=label, score=score, scores=dict(ranked[: request.top_k]))

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        if len(adapter.labels) < 2:
            raise BadRecipe("Every image has the same label; at least two labels are needed.")
        if example["label"] not in adapter.labels:
            raise BadData("The label is not one of the adapter's.")
        try:
            row = self._row(self.request(example), adapter)
        except BadRequest as error:
            raise BadData(str(error)) from None
        label = adapter.labels.index(example["label"])
        return [{"input_ids": row.input_ids, "pixel_values": row.pixel_values, "labels": label}]

    def metrics(
        self, predictions: Sequence[ImageClassificationResponse], references: Sequence[Example]
    ) -> dict[str, float]:
        return single_label(
            [answer.label for answer in predictions], [example["label"] for example in references]
        )

    def _row(self, request: ImageClassificationRequest, adapter: AdapterInfo) -> Row:
        image, limits = _input(adapter), self.plugin_settings
        data = image_bytes(request.image, limits.max_bytes)
        return image.row(pixel_values(data, image, limits.max_pixels))


def _input(adapter: AdapterInfo) -> ImageInput:
    if adapter.image is None:
        raise BadRecipe(f"The base of {adapter.name!r} reads text: choose one of kind vision.")
    return adapter.image


def _logits(output: Output) -> npt.NDArray[np.float64]:
    return np.asarray(output.values, dtype=np.float64)
