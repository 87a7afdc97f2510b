# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Builds the base with a head and a PEFT adapter, and saves the adapter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, TaskType, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from hub.api import HeadKind
from hub.bases.base import Base
from hub.engine.peft.averaged import head_modules
from hub.engine.peft.model import complete, load_with_head
from hub.engine.quiet import peft_quiet
from hub.engine.torch.loading import one_load_at_a_time, reads_images
from hub.recipe.recipe import Recipe
from hub.store.content.weights import read_adapter, write_adapter
from hub.store.peft.plain_lora import to_plain_lora
from hub.training.fit.methods import adapt

__all__ = [
    "add_adapter",
    "initial_update",
    "load_base",
    "round_weights",
    "save_adapter",
]

_TASK_TYPES = {
    HeadKind.SEQUENCE: TaskType.SEQ_CLS,
    HeadKind.TOKEN: TaskType.TOKEN_CLS,
    HeadKind.GENERATE: TaskType.CAUSAL_LM,
    HeadKind.EMBEDDING: TaskType.FEATURE_EXTRACTION,
    # None for spans: PEFT 0.21's class for question answering drops the token types.
}
_UPDATES = (".lora_", ".ia3_l", ".ranknum")  # in PEFT's names of tensors; others are modules trained in full
_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"


def load_base(base: Base, head: HeadKind, num_labels: int, dropout: float | None = None) -> PreTrainedModel:
    """Load the base in float32 with a new head; `dropout` replaces all dropout rates in its config.

    Raises:
        BadBase: weights are missing inside the backbone, so that they would be random.
    """
    return complete(base, load_with_head(base, head, num_labels, dropout))


def add_adapter(model: PreTrainedModel, recipe: Recipe, head: HeadKind) -> PeftModel:
    """Add the adapter of `method` to the backbone; a new head is trained in full.

    Raises:
        BadRecipe: as `adapt`.
    """
    heads = [] if head in (HeadKind.GENERATE, HeadKind.EMBEDDING) else head_modules(model)
    unused = ["pooler"] if head is HeadKind.EMBEDDING and getattr(model, "pooler", None) else []
    task_type = TaskType.SEQ_2_SEQ_LM if model.config.is_encoder_decoder else _TASK_TYPES.get(head.layered)
    if reads_images(model):  # PEFT 0.21's classes of tasks pass on token ids only
        task_type = None
    with one_load_at_a_time, peft_quiet():
        adapted = adapt(model, recipe, task_type, heads, unused)
    # PEFT writes a card beside each checkpoint, compiling its template anew; the store has a card of its own.
    adapted.create_or_update_model_card = _no_card
    return adapted


def round_weights(model: PeftModel, dtype: torch.dtype, *, whole_head: bool = False) -> None:
    """Round the weights to save to the precision of `dtype`, in place; with `whole_head` not the head."""
    for name, tensor in get_peft_model_state_dict(model, save_embedding_layers=False).items():
        if not whole_head or _is_update(name):
            tensor.copy_(tensor.to(dtype))


def initial_update(model: PeftModel) -> dict[str, Any]:
    """Return copies of the untrained A and B matrices as arrays, by the names that PEFT saves."""
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: value.cpu().numpy().copy() for name, value in state.items() if ".lora_" in name}


def save_adapter(
    model: PeftModel,
    folder: Path,
    dtype: torch.dtype,
    initial: Mapping[str, Any] | None = None,
    *,
    whole_head: bool = False,
) -> None:
    """Write a PEFT folder with tensors of `dtype`; equal weights give equal files.

    With `initial` it is converted to plain LoRA; with `whole_head` the head stays in float32.
    """
    model.save_pretrained(folder, save_embedding_layers=False)
    if initial is not None:
        write_adapter(folder, to_plain_lora(read_adapter(folder), initial))
    config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    for key in ("target_modules", "modules_to_save", "feedforward_modules"):  # PEFT writes sets, in any order
        if isinstance(config.get(key), list):
            config[key] = sorted(set(config[key]))
    (folder / _CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
    tensors = {
        name: tensor.to(torch.float32 if whole_head and not _is_update(name) else dtype).contiguous()
        for name, tensor in load_file(folder / _WEIGHTS).items()
    }
    save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})


def _no_card(folder: str) -> None:
    pass


def _is_update(name: str) -> bool:
    return any(part in name for part in _UPDATES)
