"""The task `similarity`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from grafthub_similarity.models import SimilarityOptions, SimilarityRequest, SimilarityResponse
from grafthub_similarity.retrieval import CUT, Retrieval, figures, retrievals
from hub.api import (
    AdapterInfo,
    BadData,
    BadDimensions,
    BadRequest,
    Embedding,
    Example,
    Features,
    Field,
    FieldKind,
    MetricKind,
    Output,
    Row,
    Task,
    Tokenizer,
    Tokens,
    TooLarge,
    read_options,
    truncate,
)

__all__ = ["SimilarityTask"]

MAX_TOKEN_VECTORS = 4096  # in one answer: some 30 MB of JSON with 384 dimensions

Vectors = npt.NDArray[np.float32]


class SimilarityTask(Task[SimilarityRequest, SimilarityResponse]):
    """Turn texts into vectors; trained on queries with a text that belongs to each."""

    fields: ClassVar[tuple[Field, ...]] = (
        Field("query", FieldKind.TEXT, "A query, or the first text of a pair."),
        Field("good", FieldKind.TEXT, "A text that belongs to it."),
        Field("bad", FieldKind.TEXT, "A text that looks alike and does not.", required=False),
    )
    options: ClassVar[type[SimilarityOptions]] = SimilarityOptions
    metric: ClassVar[str] = "mrr"
    metric_kinds: ClassVar[Mapping[str, MetricKind]] = MappingProxyType(
        {
            "mrr": MetricKind.MEAN,
            "recall_at_1": MetricKind.MEAN,
            f"recall_at_{CUT}": MetricKind.MEAN,
            f"ndcg_at_{CUT}": MetricKind.MEAN,
        }
    )
    bare_base: ClassVar[bool] = True

    def embedding(self, adapter: AdapterInfo) -> Embedding:
        options = read_options(SimilarityOptions, adapter)
        return Embedding(options.pooling, options.normalize, options.scale)

    def request(self, example: Example) -> SimilarityRequest:
        texts = [text for text in (example["good"], example.get("bad")) if text is not None]
        return SimilarityRequest(query=example["query"], inputs=texts)

    def encode(self, request: SimilarityRequest, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        reader = _Reader(tokenizer, adapter, cut=request.truncate)
        texts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
        tokens = [reader.tokens(text, request.input_type, number) for number, text in enumerate(texts, 1)]
        if request.query is not None:
            tokens.insert(0, reader.tokens(request.query, "query"))
        if request.every_token:
            _check_tokens(request, tokens)
        pooling = None if request.every_token else reader.options.pooling
        return [Row(**one, pooling=pooling) for one in tokens]

    def decode(
        self, request: SimilarityRequest, outputs: Sequence[Output], adapter: AdapterInfo
    ) -> SimilarityResponse:
        if request.every_token:
            return _of_tokens(outputs)
        options = read_options(SimilarityOptions, adapter)
        vectors = np.array([output.values for output in outputs], dtype=np.float32)  # [N, H]
        if (request.dimensions or 0) > vectors.shape[1]:
            raise BadDimensions(
                f"dimensions is {request.dimensions}, and vectors of this deployment have {vectors.shape[1]}."
            )
        vectors = vectors[:, : request.dimensions]
        if options.normalize if request.normalize is None else request.normalize:
            vectors = _unit(vectors)
        query = None if request.query is None else vectors[0]
        of_inputs = vectors if query is None else vectors[1:]
        return SimilarityResponse(
            vectors=of_inputs.tolist() if request.vectors else None,
            query_vector=None if query is None or not request.vectors else query.tolist(),
            scores=None if query is None else (of_inputs @ query).tolist(),
            dimensions=vectors.shape[1],
            tokens=sum(len(output.row.input_ids) for output in outputs),
        )

    def agrees(self, answer: SimilarityResponse, other: SimilarityResponse) -> bool | None:
        """Return whether both have the same best input; vectors of two versions cannot be compared."""
        if answer.scores is None or other.scores is None:
            return None
        return int(np.argmax(answer.scores)) == int(np.argmax(other.scores))

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        try:
            request = self.request(example)
        except BadRequest as error:
            raise BadData(str(error)) from None
        reader = _Reader(tokenizer, adapter, cut=True)
        others = zip(("good", "bad"), request.inputs, strict=False)
        return [
            {
                **reader.tokens(example["query"], "query"),
                **{name: reader.tokens(text, "text") for name, text in others},
            }
        ]

    def judged(
        self, answers: Sequence[SimilarityResponse], references: Sequence[Example]
    ) -> Sequence[Retrieval]:
        return retrievals(answers, references)

    def metrics(self, predictions: Sequence[Retrieval], references: Sequence[Example]) -> dict[str, float]:
        return figures([retrieval.rank for retrieval in predictions])


class _Reader:
    """Tokenizes texts with the prompts of an adapter."""

    def __init__(self, tokenizer: Tokenizer, adapter: AdapterInfo, *, cut: bool) -> None:
        self.options = read_options(SimilarityOptions, adapter)
        self._tokenizer = tokenizer
        self._limit = adapter.max_length
        self._cut = cut

    def tokens(self, text: str | Sequence[int], kind: Literal["text", "query"], number: int = 0) -> Tokens:
        """Return the tokens of a text, or of one that was tokenized before; `number`: among the inputs.

        Raises:
            TooLarge: it is too long, and is not to be cut.
            BadRequest: it has ids that the tokenizer does not know.
        """
        if not isinstance(text, str):
            return self._given(text, number)
        prompt = self.options.query_prompt if kind == "query" else self.options.text_prompt
        encoding = self._tokenizer(prompt + text, verbose=False)
        self._check(len(encoding["input_ids"]), number)
        return truncate(encoding, self._limit, side=self._tokenizer.truncation_side)

    def _given(self, ids: Sequence[int], number: int) -> Tokens:
        known = len(self._tokenizer)  # added tokens included
        if max(ids) >= known:
            raise BadRequest(
                f"Token id {max(ids)} is not one of the base, which has {known}. Send the text itself."
            )
        self._check(len(ids), number)
        return Tokens(input_ids=list(ids[: self._limit]))

    def _check(self, length: int, number: int) -> None:
        if length > self._limit and not self._cut:
            which = f"Text {number}" if number else "The query"
            raise TooLarge(
                f"{which} has {length} tokens and the limit is {self._limit} (max_length). Shorten it, or "
                "set `truncate`."
            )


def _check_tokens(request: SimilarityRequest, texts: Sequence[Tokens]) -> None:
    if request.query is not None or request.dimensions is not None or request.normalize:
        raise BadRequest("every_token goes without query, dimensions and normalize.")
    total = sum(len(text["input_ids"]) for text in texts)
    if total > MAX_TOKEN_VECTORS:
        raise TooLarge(
            f"The texts have {total:,} tokens and the limit of every_token is {MAX_TOKEN_VECTORS:,}. "
            "Send less at a time."
        )


def _of_tokens(outputs: Sequence[Output]) -> SimilarityResponse:
    arrays = [np.asarray(output.values) for output in outputs]  # [T, H] each
    return SimilarityResponse(
        vectors=None,
        query_vector=None,
        scores=None,
        token_vectors=[array.tolist() for array in arrays],
        dimensions=arrays[0].shape[1],
        tokens=sum(len(array) for array in arrays),
    )


def _unit(vectors: Vectors) -> Vectors:
    """Return vectors [N, H] of length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny))
