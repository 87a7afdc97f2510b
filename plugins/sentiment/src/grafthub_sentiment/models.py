"""What a client sends and gets, and what a recipe may set."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from hub.api import Model, Text

__all__ = ["SentimentOptions", "SentimentRequest", "SentimentResponse"]

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Polarity = Annotated[float, Field(ge=-1.0, le=1.0)]


class SentimentRequest(Model):
    """A text to judge."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "A warm, funny film with a superb cast."}]}
    )

    text: Text = Field(description="The text to judge.")


class SentimentResponse(Model):
    """The likeliest label, and where the text lies between negative and positive."""

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

    label: str = Field(description="The likeliest label.")
    score: Probability = Field(description="Probability of `label`.")
    polarity: Polarity = Field(
        description="From -1 (negative) to 1 (positive): the mean of the labels' polarities, weighed."
    )
    scores: dict[str, Probability] = Field(description="Probability of each label, the likeliest first.")


class SentimentOptions(Model):
    """Options of a recipe for `sentiment`."""

    polarity: dict[str, Polarity] = Field(
        default_factory=dict,
        description="Polarity of each label whose name does not tell it.",
    )
    temperature: float = Field(
        1.0, gt=0.0, description="Scores are divided by it before they become probabilities."
    )
