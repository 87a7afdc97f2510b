"""What a client sends and gets, and what a recipe may set."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

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
    text_pair: Text | None = Field(None, description="The second text, where the adapter compares two.")
    top_k: int | None = Field(None, ge=1, description="Most entries in `scores`; all labels when absent.")


class ClassificationLabel(Model):
    """A chosen label."""

    label: str
    score: Probability = Field(description="Probability of the label.")


class ClassificationResponse(Model):
    """The chosen label or labels, best first, and the probability of every label."""

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

    label: str | None = Field(description="The best chosen label; null if a multi-label adapter chose none.")
    score: Probability | None = Field(description="Probability of `label`; null if there is none.")
    labels: list[ClassificationLabel] = Field(
        description="The chosen labels: exactly one, or, multi-label, all at or over their threshold."
    )
    scores: dict[str, Probability] = Field(
        description="Probability of each label, chosen or not; their sum is 1 unless multi-label."
    )


class ClassificationOptions(Model):
    """Options of a recipe for `classification`."""

    multi_label: bool = Field(False, description="Several labels, or none, may be right for one text.")
    threshold: Probability = Field(
        0.5, description="Multi-label: a label is chosen at this probability or over."
    )
    thresholds: dict[str, Probability] = Field(
        default_factory=dict, description="Multi-label: thresholds of single labels, in place of `threshold`."
    )
    temperature: float = Field(
        1.0, gt=0.0, description="Scores are divided by it before they become probabilities."
    )
