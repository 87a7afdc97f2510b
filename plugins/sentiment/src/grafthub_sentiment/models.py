"""The request, the response and the options of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, StrictBool

from hub.api import Model, Text

__all__ = ["SentimentOptions", "SentimentRequest", "SentimentResponse"]

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Polarity = Annotated[float, Field(ge=-1.0, le=1.0)]


class SentimentRequest(Model):
    """A text to classify."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "A warm, funny film with a superb cast."}]}
    )

    text: Text = Field(description="The text to classify.")
    truncate: StrictBool = Field(True, description="Cut a text that is too long; false: refuse it.")


class SentimentResponse(Model):
    """The most probable label, and the polarity between negative and positive."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "label": "positive",
                    "score": 0.97,
                    "polarity": 0.94,
                    "scores": {"positive": 0.97, "negative": 0.03},
                }
            ]
        }
    )

    label: str = Field(description="The most probable label.")
    score: Probability = Field(description="Probability of `label`.")
    polarity: Polarity = Field(
        description="From -1 (negative) to 1 (positive): the labels' polarities, weighted by probability."
    )
    scores: dict[str, Probability] = Field(description="Probability of each label, most probable first.")


class SentimentOptions(Model):
    """Options of a recipe for `sentiment`."""

    polarity: dict[str, Polarity] = Field(
        default_factory=dict,
        description="Polarity of each label whose name has no known polarity.",
    )
    temperature: float = Field(1.0, gt=0.0, description="Divisor of the scores before softmax.")
