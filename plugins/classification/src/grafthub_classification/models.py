"""The request, the response and the options of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, StrictBool

from hub.api import Model, Text

__all__ = [
    "ClassificationLabel",
    "ClassificationOptions",
    "ClassificationRequest",
    "ClassificationResponse",
]

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class ClassificationRequest(Model):
    """A text, or a pair of texts, to label."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "The match went to extra time before the keeper saved it."}]}
    )

    text: Text = Field(description="The text to label.")
    text_pair: Text | None = Field(None, description="The second text, if the adapter compares two.")
    top_k: int | None = Field(None, ge=1, description="Maximum entries in `scores`; default: all labels.")
    truncate: StrictBool = Field(True, description="Cut a text that is too long; false: refuse it.")


class ClassificationLabel(Model):
    """A predicted label."""

    label: str
    score: Probability = Field(description="Probability of the label.")


class ClassificationResponse(Model):
    """The predicted label or labels, most probable first, and the probability of every label."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "label": "sport",
                    "score": 0.94,
                    "labels": [{"label": "sport", "score": 0.94}],
                    "scores": {"sport": 0.94, "politics": 0.06},
                }
            ]
        }
    )

    label: str | None = Field(description="The most probable label; null if a multi-label adapter has none.")
    score: Probability | None = Field(description="Probability of `label`; null if there is none.")
    labels: list[ClassificationLabel] = Field(
        description="The predicted labels: exactly one, or, multi-label, all at or above their threshold."
    )
    scores: dict[str, Probability] = Field(
        description="Probability of each label, predicted or not; the sum is 1 unless multi-label."
    )


class ClassificationOptions(Model):
    """Options of a recipe for `classification`."""

    multi_label: bool = Field(False, description="A text may have several labels, or none.")
    threshold: Probability = Field(
        0.5, description="Multi-label: a label is predicted at this probability or above."
    )
    thresholds: dict[str, Probability] = Field(
        default_factory=dict, description="Multi-label: thresholds of single labels, instead of `threshold`."
    )
    temperature: float = Field(1.0, gt=0.0, description="Divisor of the scores before softmax or sigmoid.")
