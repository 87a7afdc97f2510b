# ruff: noqa: TID253 - imported by the torch engine only
"""The rows that an encoder-decoder writes: its encoder runs once a row, at the prefill."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

from hub.engine.generate.arena import Arena
from hub.engine.generate.decoding import Decoding
from hub.engine.generate.live import Live
from hub.engine.generate.prefix import PrefixCache
from hub.engine.generate.rows import GeneratingRow, TokenCounts
from hub.engine.protocol import GenerationLimits
from hub.engine.torch.tensors import to_device

__all__ = ["EncoderDecoding", "has_row_positions"]


class EncoderDecoding(Decoding):
    """As `Decoding`, with the keys and values of each row's source in a second arena."""

    def __init__(
        self,
        model: PreTrainedModel,
        select: Callable[[Tensor], None],
        tokenizer: PreTrainedTokenizerBase,
        limits: GenerationLimits,
        prefixes: PrefixCache,
        counts: TokenCounts,
    ) -> None:
        super().__init__(model, select, tokenizer, limits, prefixes, counts)
        self._sources = Arena(len(self._arena.cache), self._device)
        self._arenas.append(self._sources)
        self._cache = EncoderDecoderCache(self._arena.cache, self._sources.cache)
        self._positions = _positions_of(model)

    def _reserve(self, rows: Sequence[GeneratingRow], max_rows: int) -> None:
        widths = max(row.columns for row in rows), max(row.source_columns for row in rows)
        sizes = list(zip(self._arenas, widths, strict=True))
        if all(arena.has(len(rows), width) for arena, width in sizes):
            return
        for arena, width in sizes:  # both: one that stayed wider than needed would count against the other
            arena.resize(len(rows), width, max_rows)

    def _to_compute(self, row: GeneratingRow) -> int:
        return len(row.row.input_ids)

    def _cached_prefix(self, row: GeneratingRow) -> list[Tensor]:
        return []  # the keys and values of an answer depend on the whole source

    def _cache_prefix(self, row: GeneratingRow, index: int) -> None:
        """Cache nothing."""

    def _run(
        self, rows: Sequence[Live], first: int, ids: Tensor, positions: Tensor, mask: Tensor
    ) -> ModelOutput:
        sources = [live.row.row.input_ids for live in rows]
        stored = rows[0].row.stored > 0  # rows of one forward are all new, or none is
        source_mask = self._sources.set_whole_window(first, list(map(len, sources)))
        if stored:
            states = torch.zeros(1, device=self._device).expand(len(rows), 1, 1)  # not read
        else:
            states = self._encode(sources)
        self._cache.is_updated = dict.fromkeys(range(len(self._cache)), stored)
        with self._positions.set(positions, mask.shape[-1]):
            output: ModelOutput = self._model(
                decoder_input_ids=ids,
                decoder_attention_mask=mask,
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=self._attention(source_mask),
                past_key_values=self._cache,
                use_cache=True,
            )
        return output

    def _encode(self, sources: Sequence[Sequence[int]]) -> Tensor:
        """Run the encoder; returns [n, S, H], padded on the right."""
        ids = torch.zeros(len(sources), max(map(len, sources)), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for index, tokens in enumerate(sources):
            ids[index, : len(tokens)] = torch.tensor(tokens)
            mask[index, : len(tokens)] = 1
        encoder = self._model.get_encoder()
        states: Tensor = encoder(
            input_ids=to_device(ids, self._device), attention_mask=to_device(mask, self._device)
        ).last_hidden_state
        return states


class _RowPositions(threading.local):
    """The positions of the tokens in this thread's current forward; without them a model counts by itself."""

    positions: Tensor | None = None  # [n, T]
    columns = 0

    @contextmanager
    def set(self, positions: Tensor, columns: int) -> Iterator[None]:
        self.positions, self.columns = positions, columns
        try:
            yield
        finally:
            self.positions = None


def has_row_positions(model: PreTrainedModel) -> bool:
    """Return whether each row of a forward of the decoder can have positions of its own."""
    return bool(_embeddings(model) or _relative(model))


def _positions_of(model: PreTrainedModel) -> _RowPositions:
    """Make the decoder read positions from what is returned, in the thread that sets them.

    transformers 5.23 counts the positions of a decoder from one length for all rows. The methods that do so
    are replaced in the model's modules: `forward` of learned and sinusoidal positions (BART, Marian), and
    `compute_bias` of relative ones (T5).
    """
    if (found := getattr(model, "_row_positions", None)) is not None:
        return found  # type: ignore[no-any-return]
    rows = _RowPositions()
    for embedding in _embeddings(model):
        embedding.forward = _embed_rows(embedding.forward, rows)
    attention: Any
    for attention in _relative(model):
        attention.compute_bias = _bias_of_rows(attention, attention.compute_bias, rows)
    model._row_positions = rows
    return rows


def _embeddings(model: PreTrainedModel) -> list[nn.Module]:
    module = getattr(model.get_decoder(), "embed_positions", None)
    return [module] if isinstance(module, nn.Embedding) else []


def _relative(model: PreTrainedModel) -> list[nn.Module]:
    return [
        module
        for module in model.get_decoder().modules()
        if getattr(module, "has_relative_attention_bias", False) and hasattr(module, "compute_bias")
    ]


def _embed_rows(forward: Callable[..., Tensor], rows: _RowPositions) -> Callable[..., Tensor]:
    def embed(input_ids: Any, past_key_values_length: int = 0, position_ids: Tensor | None = None) -> Tensor:
        if rows.positions is None:
            return forward(input_ids, past_key_values_length, position_ids=position_ids)
        vectors = forward(input_ids, 0, position_ids=rows.positions.flatten())
        return vectors.reshape(*rows.positions.shape, -1)

    return embed


def _bias_of_rows(
    attention: Any, compute_bias: Callable[..., Tensor], rows: _RowPositions
) -> Callable[..., Tensor]:
    def compute(query_length: int, key_length: int, device: Any = None, past_seen_tokens: Any = 0) -> Tensor:
        if rows.positions is None:
            return compute_bias(query_length, key_length, device=device, past_seen_tokens=past_seen_tokens)
        columns = torch.arange(rows.columns, device=rows.positions.device)
        bucket = attention._relative_position_bucket(
            columns - rows.positions.unsqueeze(-1),  # [n, T, columns]
            bidirectional=False,
            num_buckets=attention.relative_attention_num_buckets,
            max_distance=attention.relative_attention_max_distance,
        )
        bias: Tensor = attention.relative_attention_bias(bucket)  # [n, T, columns, heads]
        return bias.permute(0, 3, 1, 2)

    return compute
