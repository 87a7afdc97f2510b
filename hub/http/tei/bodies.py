"""The bodies of Text Embeddings Inference, strict as its own types, and its answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hub.names import VERSION_PATTERN

__all__ = [
    "DecodeBody",
    "EmbedAllBody",
    "EmbedBody",
    "PredictBody",
    "Prediction",
    "Rank",
    "RerankBody",
    "SimilarityBody",
    "SimpleToken",
    "TeiBody",
    "TeiInfo",
    "TokenizeBody",
]

Id = Annotated[int, Field(ge=0, lt=2**31)]
Ids = list[Id]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TeiBody(_Strict):
    """What all bodies have."""

    model: str | None = Field(
        None,
        description="The deployment, or `NAME@N`; default: the only one that fits. Not read below /tei/NAME.",
        json_schema_extra={"anyOf": [{"type": "string", "pattern": VERSION_PATTERN}, {"type": "null"}]},
    )


class _Truncated(_Strict):
    truncate: bool | None = Field(
        None, description="Cut texts that are too long, the default; false: refuse them."
    )
    truncation_direction: Literal["Left", "left", "Right", "right"] = Field(
        "Right", description="Only Right."
    )


class _Prompted(_Truncated):
    prompt_name: str | None = Field(
        None, description="`query` for the prompt of queries; `text`, the default, for that of other texts."
    )


class EmbedAllBody(TeiBody, _Prompted):
    """Texts, or their token ids."""

    inputs: str | Ids | list[str | Ids] = Field(description="A text or its token ids, or a list of both.")


class EmbedBody(EmbedAllBody):
    """Texts to turn into vectors."""

    normalize: bool = Field(True, description="Vectors of length 1.")
    dimensions: int | None = Field(None, ge=1, lt=2**31, description="Default: all.")


class SimilarityInput(_Strict):
    """A text, and others to compare it with."""

    source_sentence: str
    sentences: list[str]


class SimilarityBody(TeiBody):
    """Texts to compare with one."""

    inputs: SimilarityInput
    parameters: _Prompted | None = None


class RerankBody(TeiBody, _Truncated):
    """Texts to rank by their nearness to a query."""

    query: str
    texts: list[str]
    raw_scores: bool = Field(False, description="Accepted; scores are similarities in either case.")
    return_text: bool = False


Pair = Annotated[list[str], Field(min_length=2, max_length=2)]


class PredictBody(TeiBody, _Truncated):
    """A text or a pair of texts to label, or a batch of lists with one text or a pair each."""

    inputs: str | Pair | list[Annotated[list[str], Field(min_length=1, max_length=2)]]
    raw_scores: Literal[False] = Field(False, description="Only false: scores are probabilities.")


class TokenizeBody(TeiBody):
    """Texts to split into tokens."""

    inputs: str | list[str]
    add_special_tokens: bool = True
    prompt_name: None = None


class DecodeBody(TeiBody):
    """Token ids to turn into text."""

    ids: Ids | list[Ids]
    skip_special_tokens: bool = True


class Prediction(BaseModel):
    """A label and its probability."""

    label: str
    score: float


class Rank(BaseModel):
    """A text by its place in the list, with its score."""

    index: int
    score: float
    text: str | None = None


class SimpleToken(BaseModel):
    """A token, and the characters of the text that it stands for."""

    id: int
    text: str
    special: bool
    start: int | None = None
    stop: int | None = None


class TeiInfo(BaseModel):
    """A deployment, and the limits of the server."""

    model_id: str
    model_sha: str | None
    model_dtype: str
    served_model_name: str
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
