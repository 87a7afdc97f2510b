"""What a client sends and gets, and what a recipe may set."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from hub.api import Model, Text

__all__ = ["Aggregation", "Entity", "ExtractionOptions", "ExtractionRequest", "ExtractionResponse"]

Aggregation = Literal["none", "simple", "first", "average", "max"]


class ExtractionRequest(Model):
    """A text to find entities in."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "Ada Novak moved to Oslo.", "aggregation": "first"}]}
    )

    text: Text = Field(description="The text to find entities in.")
    aggregation: Aggregation | None = Field(
        None,
        description="How the scores of tokens become entities: `none` gives every token that has a tag, "
        "`simple` joins neighbours of one type, and the others decide word by word, by its `first` token, "
        "the `average` over its tokens, or the one with the `max` score. Absent: as the adapter has it.",
    )


class Entity(Model):
    """A piece of the text: `text[start:end] == word`, counted in characters (code points)."""

    entity_group: str = Field(description="Type of the entity; with `none` the tag, such as B-PER.")
    word: str = Field(description="The entity, as it stands in the text.")
    start: int = Field(ge=0, description="First character of the entity in the text.")
    end: int = Field(ge=0, description="First character after the entity.")
    score: float = Field(ge=0.0, le=1.0, description="Mean probability of its tags.")


class ExtractionResponse(Model):
    """The entities of a text, in its order; none overlaps another."""

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

    entities: list[Entity] = Field(description="The entities, in the order of the text.")


class ExtractionOptions(Model):
    """Options of a recipe for `extraction`."""

    scheme: Literal["BIO", "BILOU"] = Field(
        "BIO", description="Tags that the head learns; the training data may have either."
    )
    subwords: Literal["first", "all"] = Field(
        "first", description="Tokens of a word that are learned; all: those after the first as I-."
    )
    aggregation: Aggregation = Field("first", description="Aggregation of requests that name none.")
    constrained: bool = Field(
        True,
        description="By words: the likeliest sequence of tags that is well-formed; off: the likeliest tag "
        "of each word.",
    )
    stride: int = Field(
        64, ge=0, description="Tokens that two windows of a long text share; at most half a window."
    )
    max_windows: int = Field(256, ge=1, description="Most windows of one text; a longer one is refused.")
