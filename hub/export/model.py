# ruff: noqa: TID253 - imported when a model is exported, and by nothing else
"""Loads a version with PEFT, merges it into its base, and runs either."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hub.api import HeadKind, Pooling
from hub.bases.base import Base, BaseKind
from hub.engine.peft.merge import merge as merge_with_peft
from hub.engine.peft.model import head_model, load_folder
from hub.engine.quiet import known_warnings, quiet
from hub.engine.torch.heads import SHIFTING, pool
from hub.engine.torch.loading import one_load_at_a_time, pad_token
from hub.errors import BadAdapter, BadBase, UnsupportedAdapter, UnsupportedFormat
from hub.store.manifest import Serving
from hub.store.records import Version

if TYPE_CHECKING:
    from hub.export.parity import Array
    from hub.export.probes import Numbers

__all__ = [
    "OUTPUTS",
    "Standalone",
    "answers",
    "input_names",
    "load_peft",
    "merge",
    "pooling_of",
    "standalone",
]

OUTPUTS: Mapping[HeadKind, tuple[str, ...]] = {
    HeadKind.SEQUENCE: ("logits",),  # [B, C]
    HeadKind.SEQUENCE_MEAN: ("logits",),  # [B, C]
    HeadKind.TOKEN: ("logits",),  # [B, T, C]
    HeadKind.SPAN: ("start_logits", "end_logits"),  # [B, T] each
    HeadKind.EMBEDDING: ("embedding",),  # [B, H]
    HeadKind.GENERATE: ("logits",),  # [B, T, V]
}


class Standalone(nn.Module):
    """A model as a function of a batch that returns the `OUTPUTS` of its head."""

    def __init__(self, model: nn.Module, head: HeadKind, pooling: Pooling = Pooling.MEAN) -> None:
        super().__init__()
        self.model: Any = model
        self._head = head
        self._pooling = pooling

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        more: dict[str, Any] = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        if self.model.config.is_encoder_decoder and self._head not in SHIFTING:
            more["decoder_input_ids"] = input_ids
        if self._head is HeadKind.GENERATE:
            more["use_cache"] = False
        result = self.model(input_ids=input_ids, attention_mask=attention_mask, **more)
        if self._head is HeadKind.EMBEDDING:
            return (pool(result.last_hidden_state, attention_mask, self._pooling),)
        return tuple(result[name] for name in OUTPUTS[self._head])


class StandaloneImages(nn.Module):
    """A model as a function of a batch of images [B, 3, H, W] that returns the scores [B, C]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        return (self.model(pixel_values=pixel_values).logits,)


def standalone(model: nn.Module, serving: Serving) -> nn.Module:
    """Return a model as a function of a batch."""
    if serving.image:
        return StandaloneImages(model)
    return Standalone(model, serving.head, pooling_of(serving))


def load_peft(base: Base, version: Version, tokenizer: PreTrainedTokenizerBase) -> PeftModel:
    """Load the version on its base with plain PEFT, in float32.

    Raises:
        BadBase: the base lacks weights.
        BadAdapter: the adapter's tensors do not match its config.
        UnsupportedFormat: this kind of adapter does not change weights, so it cannot be merged.
    """
    serving = version.manifest.serving
    model = _load(base, serving)
    # By it decoders with a head find the last token; in other models it places positions.
    if not base.image and (model.config.pad_token_id is None or base.kind is BaseKind.DECODER):
        model.config.pad_token_id = pad_token(tokenizer)
    with one_load_at_a_time, quiet(), known_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys", category=UserWarning)
        try:
            adapted = load_folder(model, version.path).eval()
        except UserWarning as warning:
            raise BadAdapter(f"{version.ref} does not fit its base: {str(warning)[:300]}") from None
    if adapted.active_peft_config.is_prompt_learning:
        method = adapted.active_peft_config.peft_type.value
        raise UnsupportedFormat(
            f"A {method} adapter cannot be merged into its base: it adds tokens to the input. Use --format "
            "peft."
        )
    return adapted


def merge(adapted: PeftModel, serving: Serving) -> PreTrainedModel:
    """Merge the adapter into the base in place, and write its labels to the config.

    Raises:
        UnsupportedFormat: PEFT cannot merge this kind of adapter.
    """
    try:
        merged = merge_with_peft(adapted)
    except UnsupportedAdapter as error:
        raise UnsupportedFormat(f"{error} Use --format peft.") from error
    if serving.labels and serving.head.declared in (HeadKind.SEQUENCE, HeadKind.TOKEN):
        merged.config.id2label = dict(enumerate(serving.labels))
        merged.config.label2id = {label: index for index, label in enumerate(serving.labels)}
    if serving.numbers:
        merged.config.problem_type = "regression"
    elif serving.head.declared is HeadKind.SEQUENCE:
        multi_label = bool(serving.settings.get("multi_label"))
        merged.config.problem_type = f"{'multi' if multi_label else 'single'}_label_classification"
    return merged


@torch.inference_mode()
def answers(model: nn.Module, serving: Serving, inputs: Mapping[str, Numbers]) -> tuple[Array, ...]:
    """Return the outputs of a model, or a PeftModel, for one padded batch."""
    # PEFT 0.21's class for question answering drops the token types; the wrapped model does not.
    inner = model.base_model if isinstance(model, PeftModel) else model
    run = standalone(inner, serving)
    outputs = run(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    return tuple(output.float().numpy() for output in outputs)


def pooling_of(serving: Serving) -> Pooling:
    """Return the pooling of an EMBEDDING version, which its settings name as `similarity` does."""
    return Pooling(serving.settings.get("pooling", Pooling.MEAN))


def input_names(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return the model inputs; token types only if both the tokenizer and the model have two of them."""
    types = getattr(model.config, "type_vocab_size", None) or 0
    typed = "token_type_ids" in tokenizer.model_input_names and types > 1
    return ("input_ids", "attention_mask", *(("token_type_ids",) if typed else ()))


def _load(base: Base, serving: Serving) -> PreTrainedModel:
    model, missing = head_model(base, serving.head, len(serving.labels))
    inside = "" if serving.head is HeadKind.EMBEDDING else f"{model.base_model_prefix}."
    if lacking := sorted(name for name in missing if name.startswith(inside)):
        raise BadBase(f"Base {base.name!r} lacks weights: {', '.join(lacking[:3])}. Pull it again.")
    return model
