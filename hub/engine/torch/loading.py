# ruff: noqa: TID253 - imported when an engine is built, and by nothing else
"""Loads models from the folder of a base."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from hub.api import Tokenizer
from hub.bases.base import Base, BaseKind
from hub.engine.quiet import quiet
from hub.errors import BadConfig, EngineFailed

__all__ = [
    "base_tensors",
    "computes_in_bf16",
    "end_tokens",
    "load_model",
    "one_load_at_a_time",
    "pad_token",
    "pick_device",
    "pick_dtype",
    "reads_images",
    "reads_whole_rows",
    "takes_token_types",
    "takes_whole_mask",
]

# Hold it while a model is built or loaded, and while PEFT changes its modules: meanwhile transformers 5.23
# has set the default dtype and patched torch.nn.init and `tie_weights` for all threads. Of two models loaded
# at once, one with tied weights lacked its lm_head in two of three tries. Take it after any other lock.
one_load_at_a_time = threading.RLock()
_POOLER = "pooler."
_FACTORIES = {
    BaseKind.ENCODER: AutoModel,
    BaseKind.DECODER: AutoModelForCausalLM,
    BaseKind.ENCODER_DECODER: AutoModelForSeq2SeqLM,
    BaseKind.VISION: AutoModel,
}


def pick_device(name: str) -> str:
    """Resolve "auto" to CUDA, then MPS, then the CPU, and check any other name.

    Raises:
        BadConfig: the device does not exist here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name.partition(":")[0] not in ("cpu", "cuda", "mps"):
        raise BadConfig(f"No device named {name!r}. Choose one of: auto, cpu, cuda, cuda:N, mps.")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise BadConfig(f"Device {name!r} cannot be used here: {str(error).splitlines()[0]}") from None
    return name


def load_model(base: Base, device: torch.device, **settings: Any) -> PreTrainedModel:
    """Load the base for inference: the backbone of a base that scores, the whole model of one that generates.

    A backbone whose weights come without a pooler gets none. `settings` go to `from_pretrained`.

    Raises:
        EngineFailed: the folder does not hold all the weights of the model.
    """
    config = AutoConfig.from_pretrained(base.path, local_files_only=True)
    settings = {"config": config, "dtype": pick_dtype(config, device), "local_files_only": True} | settings
    factory = _FACTORIES[base.kind]
    with one_load_at_a_time, quiet():
        try:
            model, report = factory.from_pretrained(base.path, output_loading_info=True, **settings)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise EngineFailed(f"Base {base.name!r} cannot be loaded from {base.path}: {error}") from error
    missing = sorted(report["missing_keys"])
    if any(not name.startswith(_POOLER) for name in missing):
        raise EngineFailed(f"Base {base.name!r} lacks weights: {', '.join(missing[:5])}. Pull it again.")
    if missing:
        model.pooler = None
    return model.requires_grad_(False).eval().to(device)


def end_tokens(model: PreTrainedModel, tokenizer: Tokenizer) -> frozenset[int]:
    """Return the tokens that end a text: those saved with the base, and the tokenizer's."""
    saved = model.generation_config.eos_token_id
    ends = {*(saved if isinstance(saved, list) else [saved]), tokenizer.eos_token_id} - {None}
    return frozenset(ends)


def pad_token(tokenizer: Tokenizer) -> int:
    """Return the token to pad with; any token will do, as padding is masked."""
    return next(token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if token is not None)


def reads_images(model: PreTrainedModel) -> bool:
    """Return whether the model's input is images."""
    return bool(model.main_input_name == "pixel_values")


def takes_token_types(model: PreTrainedModel) -> bool:
    """Return whether the model takes `token_type_ids`."""
    return "token_type_ids" in inspect.signature(model.forward).parameters


_WINDOWS = ("attention_window", "block_size", "local_attention", "sliding_window")  # in configs


def takes_whole_mask(model: PreTrainedModel) -> bool:
    """Return whether each layer of an encoder takes one mask [B, 1, 1, T], True where a token may be read.

    The attention must be torch's own, and the same in each layer: no window, no bias added to the mask.
    """
    config = model.config
    return bool(
        config._attn_implementation == "sdpa"  # private in transformers 5.23
        and reads_whole_rows(config)
        and not hasattr(config, "relative_attention_num_buckets")
    )


def reads_whole_rows(config: PreTrainedConfig) -> bool:
    """Return whether a token reads all tokens of its row in each layer, and not only those near it."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return kinds == {"full_attention"} and not any(getattr(config, name, None) for name in _WINDOWS)


def computes_in_bf16(device: torch.device) -> bool:
    """Return whether the device has instructions for bf16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Private in torch 2.13, which has no public query for these instructions.
    fast: bool = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return device.type == "cpu" and fast


def pick_dtype(config: PreTrainedConfig, device: torch.device) -> torch.dtype:
    """Return the dtype the base was saved in, or float32 where a CPU has no instructions for it."""
    saved: torch.dtype = config.dtype or torch.float32
    if device.type != "cpu" or (saved is torch.bfloat16 and computes_in_bf16(device)):
        return saved
    return torch.float32


class _BaseTensors(Mapping[str, Tensor]):
    """The tensors in the files of a base, read lazily."""

    def __init__(self, base: Base) -> None:
        self._files = {}
        for file in sorted(base.path.glob("*.safetensors")):
            with safe_open(file, "pt") as opened:
                self._files.update(dict.fromkeys(opened.keys(), file))

    def __getitem__(self, name: str) -> Tensor:
        with safe_open(self._files[name], "pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def base_tensors(base: Base) -> Mapping[str, Tensor]:
    """Return the tensors in the files of a base by name, read lazily."""
    return _BaseTensors(base)
