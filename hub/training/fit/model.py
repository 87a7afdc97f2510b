# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""The base under the head of a task, with a PEFT adapter on it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, TaskType, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from hub.api import HeadKind
from hub.bases.base import Base
from hub.engine.peft.model import load_folder
from hub.errors import BadBase
from hub.recipe.recipe import Recipe
from hub.store.content.weights import read_adapter, write_adapter
from hub.store.peft.plain_lora import to_plain_lora
from hub.training.fit.methods import adapt

__all__ = [
    "add_adapter",
    "initial_update",
    "load_base",
    "load_tokenizer",
    "quiet",
    "reload",
    "round_weights",
    "save_adapter",
]

_HEADS = {
    HeadKind.SEQUENCE: (AutoModelForSequenceClassification, TaskType.SEQ_CLS),
    HeadKind.TOKEN: (AutoModelForTokenClassification, TaskType.TOKEN_CLS),
    # No task type: PEFT 0.21's class for question answering drops the token types on their way.
    HeadKind.SPAN: (AutoModelForQuestionAnswering, None),
    HeadKind.GENERATE: (AutoModelForCausalLM, TaskType.CAUSAL_LM),
}
_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"


def load_tokenizer(base: Base) -> PreTrainedTokenizerBase:
    """Load the base's tokenizer.

    Raises:
        BadBase: it has no fast one, and tasks need its offsets.
    """
    tokenizer = AutoTokenizer.from_pretrained(base.path, local_files_only=True)
    if not tokenizer.is_fast:
        raise BadBase(f"Base {base.name!r} has no fast tokenizer (tokenizer.json), which tasks need.")
    return tokenizer


def load_base(base: Base, head: HeadKind, num_labels: int, dropout: float | None = None) -> PreTrainedModel:
    """Load the base in float32 under a new head; `dropout` replaces every rate in its config.

    Raises:
        BadBase: weights are missing inside the backbone, so that they would be random.
    """
    factory, _ = _HEADS[head]
    config = AutoConfig.from_pretrained(base.path, local_files_only=True)
    if head in (HeadKind.SEQUENCE, HeadKind.TOKEN):
        config.num_labels = num_labels
    if dropout is not None:
        for key, value in config.to_dict().items():
            if "drop" in key and isinstance(value, int | float) and not isinstance(value, bool):
                setattr(config, key, dropout)
    settings = {"config": config, "dtype": torch.float32, "local_files_only": True}
    with quiet():
        model, report = factory.from_pretrained(base.path, output_loading_info=True, **settings)
    backbone = f"{model.base_model_prefix}."
    if missing := sorted(key for key in report["missing_keys"] if key.startswith(backbone)):
        raise BadBase(
            f"Base {base.name!r} lacks weights that this task needs ({', '.join(missing[:3])}), "
            "and untrained ones would differ from server to server. Choose another base."
        )
    return model


def add_adapter(model: PreTrainedModel, recipe: Recipe, head: HeadKind) -> PeftModel:
    """Put what `method` trains on the backbone; the head, if new, is trained in full.

    Raises:
        BadRecipe: as `adapt`.
    """
    heads = [] if head is HeadKind.GENERATE else _head_modules(model)
    with quiet():
        return adapt(model, recipe, _HEADS[head][1], heads)


def round_weights(model: PeftModel, dtype: torch.dtype) -> None:
    """Round the weights that will be saved to what `dtype` can hold, in place."""
    for tensor in get_peft_model_state_dict(model, save_embedding_layers=False).values():
        tensor.copy_(tensor.to(dtype))


def initial_update(model: PeftModel) -> dict[str, Any]:
    """Return copies of A and B as they are before training, in arrays, by the names that PEFT saves."""
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: value.cpu().numpy().copy() for name, value in state.items() if ".lora_" in name}


def save_adapter(
    model: PeftModel, folder: Path, dtype: torch.dtype, initial: Mapping[str, Any] | None = None
) -> None:
    """Write a PEFT folder whose tensors are of `dtype`; equal weights make equal files.

    With `initial` it is converted to plain LoRA.
    """
    model.save_pretrained(folder, save_embedding_layers=False)
    if initial is not None:
        write_adapter(folder, to_plain_lora(read_adapter(folder), initial))
    config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    for key in ("target_modules", "modules_to_save", "feedforward_modules"):  # PEFT writes sets, in any order
        if isinstance(config.get(key), list):
            config[key] = sorted(set(config[key]))
    (folder / _CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in load_file(folder / _WEIGHTS).items()}
    save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})


def reload(folder: Path, base: Base, head: HeadKind, num_labels: int, device: Any) -> PeftModel:
    """Load a saved folder on a fresh base, the way anybody would with plain PEFT."""
    model = load_base(base, head, num_labels)
    with quiet():
        return load_folder(model, folder).eval().to(device)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' progress bars and notes about new head weights off the terminal."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # PEFT 0.21 reads an attribute that transformers 5.23 deprecates.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _head_modules(model: PreTrainedModel) -> list[str]:
    """Return the modules beside the backbone that have weights."""
    return [
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and any(True for _ in module.parameters())
    ]
