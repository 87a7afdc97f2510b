# ruff: noqa: TID253 - imported by the torch engine only
"""Chooses how a model generates: in the loop, or with its own `generate` where the loop cannot run it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hub.engine.generate.decoding import Decoding
from hub.engine.generate.encoder_decoder import EncoderDecoding, has_row_positions
from hub.engine.generate.prefix import PrefixCache
from hub.engine.generate.rows import TokenCounts
from hub.engine.protocol import GenerationLimits

__all__ = ["can_decode", "open_decoding"]

# Settings of a base that `generate` follows and the loop does not.
_NOT_FOLLOWED = (
    "begin_suppress_tokens",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "exponential_decay_length_penalty",
    "guidance_scale",
    "sequence_bias",
    "watermarking_config",
)


def can_decode(model: PreTrainedModel, max_length: int) -> bool:
    """Return whether the loop can run a model: its rows need positions and masks of their own.

    A decoder needs rotary positions and full attention; others may read positions from a 2-D mask (ALiBi,
    OPT) or need a mask for each kind of layer.
    """
    if any(getattr(model.generation_config, name, None) for name in _NOT_FOLLOWED):
        return False
    if model.config.is_encoder_decoder:
        return has_row_positions(model)
    config: Any = model.config.get_text_config(decoder=True)
    rotary = any(name.endswith("rotary_emb") for name, _ in model.named_modules())
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None) or max_length
    return rotary and kinds == {"full_attention"} and window >= max_length


def open_decoding(
    model: PreTrainedModel,
    select: Callable[[Tensor], None],
    tokenizer: PreTrainedTokenizerBase,
    limits: GenerationLimits,
    prefixes: PrefixCache,
    counts: TokenCounts,
) -> Decoding:
    """Return what runs the rows that generate on a model."""
    kind = EncoderDecoding if model.config.is_encoder_decoder else Decoding
    return kind(model, select, tokenizer, limits, prefixes, counts)
