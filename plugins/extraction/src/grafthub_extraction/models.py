"""The request, the response and the options of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from hub.api import Model, Text

__all__ = ["Aggregation", "Entity", "ExtractionOptions", "ExtractionRequest", "ExtractionResponse"]

Aggregation = Literal["none", "simple", "first", "average", "max"]


class ExtractionRequest(Model):
    """A text to extract entities from."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "Ada Novak moved to Oslo.", "aggregation": "first"}]}
    )

    text: Text = Field(description="The text to extract entities from.")
    aggregation: Aggregation | None = Field(
        None,
        description="How token scores become entities: `none` returns every tagged token, `simple` joins "
        "neighbours of one type, and the others decide by word, from its `first` token, the `average` over "
        "its tokens, or the token with the `max` score. Default: the adapter's.",
    )


class Entity(Model):
    """A span of the text: `text[start:end] == word`, in characters (code points)."""

    entity_group: str = Field(description="Type of the entity; with `none` the tag, such as B-PER.")
    word: str = Field(description="The entity, as it is in the text.")
    start: int = Field(ge=0, description="First character of the entity in the text.")
    end: int = Field(ge=0, description="First character after the entity.")
    score: float = Field(ge=0.0, le=1.0, description="Mean probability of its tags.")


class ExtractionResponse(Model):
    """The entities of a text, in order and without overlaps."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "entities": [
                        {"entity_group": "PER", "word": "Ada Novak", "start": 0, "end": 9, "score": 0.98},
                        {"entity_group": "LOC", "word": "Oslo", "start": 19, "end": 23, "score": 0.99},
                    ]
                }
            ]
        }
    )

    entities: list[Entity] = Field(description="The entities, in order of position.")


class ExtractionOptions(Model):
    """Options of a recipe for `extraction`."""

    scheme: Literal["BIO", "BILOU"] = Field(
        "BIO", description="Tag scheme of the head; the training data may have either."
    )
    subwords: Literal["first", "all"] = Field(
        "first", description="Tokens of a word that are trained; all: those after the first as I-."
    )
    aggregation: Aggregation = Field("first", description="Default aggregation of requests.")
    constrained: bool = Field(
        True,
        description="With aggregation by word: the most probable well-formed tag sequence; off: the most "
        "probable tag of each word.",
    )
    stride: int = Field(
        64, ge=0, description="Tokens that two windows of a long text share; at most half a window."
    )
    max_windows: int = Field(256, ge=1, description="Maximum windows of a text; a longer one is refused.")
