# ruff: noqa: TID253 - imported by the torch engine only
"""Greedy generation for rows of several adapters in one call of the model's own `generate`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)

from hub.api import FinishReason, Output, Row
from hub.engine.protocol import EngineRow
from hub.engine.torch.loading import end_tokens, pad_token
from hub.errors import BadRequest

__all__ = ["Generator", "output_of"]


class Generator:
    """Generates tokens; a row ends at its `max_new_tokens`, at an end token, or at `max_length`."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._continues = not model.config.is_encoder_decoder
        self._ends = end_tokens(model, tokenizer)
        self._settings = _greedy(model, tokenizer, self._ends)

    def run(
        self, rows: Sequence[EngineRow], input_ids: Tensor, mask: Tensor, model: PreTrainedModel
    ) -> list[Output]:
        """Generate a text for each row; input_ids [B, T] are padded on the left if `model` is a decoder.

        Raises:
            BadRequest: a row asks for no tokens, or its prompt leaves no room for one.
        """
        limits = [self._limit(row) for row in rows]
        # Some bases (BART) force an end token at the length limit, which differs between the rows here.
        model.generation_config.forced_eos_token_id = None
        prompt = input_ids.shape[1] if self._continues else 1  # the decoder's start token
        tokens = model.generate(
            input_ids=input_ids,
            attention_mask=mask,
            generation_config=self._settings,
            max_new_tokens=max(limits),
            stopping_criteria=StoppingCriteriaList([_RowLimits(limits, prompt, input_ids.device)]),
        )
        continued = tokens[:, prompt:].tolist()
        return [
            output_of(row.row, ids[:limit], self._ends, self._tokenizer)
            for row, ids, limit in zip(rows, continued, limits, strict=True)
        ]

    def _limit(self, row: EngineRow) -> int:
        wanted, length = row.row.max_new_tokens, len(row.row.input_ids)
        if wanted < 1:
            raise BadRequest(f"max_new_tokens must be 1 or more, not {wanted}.")
        if not self._continues:
            return min(wanted, self._max_length - 1)
        if length >= self._max_length:
            raise BadRequest(
                f"A prompt of {length} tokens leaves no room for an answer: this base takes "
                f"{self._max_length}."
            )
        return min(wanted, self._max_length - length)


def output_of(row: Row, ids: Sequence[int], ends: Collection[int | None], tokenizer: Any) -> Output:
    """Return the text and the counts of generated ids [N], which padding may follow after an end token."""
    count = next((place for place, token in enumerate(ids, 1) if token in ends), 0)
    reason = FinishReason.STOP if count else FinishReason.LENGTH
    text = tokenizer.decode(ids, skip_special_tokens=True)
    return Output(row, None, text, count or len(ids), reason)


class _RowLimits:
    """Ends each row at its own count of new tokens; `generate` pads what follows."""

    def __init__(self, limits: Sequence[int], prompt: int, device: torch.device) -> None:
        self._limits = torch.tensor(limits, device=device)
        self._prompt = prompt

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return self._limits <= input_ids.shape[1] - self._prompt


def _greedy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ends: Collection[int]
) -> GenerationConfig:
    """Return the settings that override those saved with the base, so that generation is deterministic.

    Other settings, such as a repetition penalty, are taken from the base.
    """
    return GenerationConfig(
        decoder_start_token_id=model.config.decoder_start_token_id
        if model.config.is_encoder_decoder
        else None,
        do_sample=False,
        num_beams=1,
        eos_token_id=sorted(ends) or None,
        pad_token_id=pad_token(tokenizer),
    )
