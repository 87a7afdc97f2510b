"""The request, the response and the options of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictBool

from hub.api import Model, Pooling, Text

__all__ = ["SimilarityOptions", "SimilarityRequest", "SimilarityResponse"]

TokenIds = Annotated[list[Annotated[int, Field(ge=0, lt=2**31, strict=True)]], Field(min_length=1)]


class SimilarityRequest(Model):
    """Texts to turn into vectors and, with a query, to score by their nearness to it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "inputs": ["Refunds take five days.", "We ship on Mondays."],
                    "query": "When is my money back?",
                },
                {"inputs": "When is my money back?", "input_type": "query"},
            ]
        }
    )

    inputs: Text | Annotated[list[Text | TokenIds], Field(min_length=1)] = Field(
        description="A text, or a list; an item may also be the token ids of a text, special tokens included."
    )
    query: Text | None = Field(None, description="A text to score the inputs by.")
    input_type: Literal["text", "query"] = Field(
        "text", description="Which prompt the inputs get, if the adapter has prompts."
    )
    normalize: StrictBool | None = Field(
        None, description="Vectors of length 1, so that scores are cosines; default: as trained."
    )
    dimensions: int | None = Field(
        None, ge=1, description="Keep so many of the first values of a vector; default: all."
    )
    truncate: StrictBool = Field(True, description="Cut texts that are too long; false: refuse them.")
    vectors: StrictBool = Field(True, description="Return the vectors; false: only the scores.")
    every_token: StrictBool = Field(
        False, description="Return a vector for each token instead, as the base makes it: not pooled."
    )


class SimilarityResponse(Model):
    """Vectors in the order of the inputs, and their scores if there is a query."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "vectors": [[0.6, 0.8], [0.8, -0.6]],
                    "query_vector": [0.0, 1.0],
                    "scores": [0.8, -0.6],
                    "dimensions": 2,
                    "tokens": 21,
                }
            ]
        }
    )

    vectors: list[list[float]] | None = Field(description="The vector of each input; null if not asked for.")
    query_vector: list[float] | None = Field(description="The vector of the query; null without one.")
    scores: list[float] | None = Field(
        description="Nearness of each input to the query, the dot product of both vectors; null without one."
    )
    token_vectors: list[list[list[float]]] | None = Field(
        None, description="The vectors of the tokens of each input, special tokens included, if asked for."
    )
    dimensions: int = Field(ge=1, description="Length of a vector.")
    tokens: int = Field(ge=0, description="Tokens of all texts, after truncation.")


class SimilarityOptions(Model):
    """Options of a recipe for `similarity`."""

    pooling: Pooling = Field(
        Pooling.MEAN, description="A vector is the mean over the tokens, or the first (cls) or last token's."
    )
    normalize: bool = Field(True, description="Vectors have length 1, so that scores are cosines.")
    scale: float = Field(
        20.0, gt=0, le=1000, description="Scores are multiplied by it before a softmax: 1 / temperature."
    )
    query_prompt: str = Field("", max_length=1000, description="Put before a query, such as `query: `.")
    text_prompt: str = Field("", max_length=1000, description="Put before other texts, such as `passage: `.")
