"""Converts PiSSA and OLoRA adapters, which train on a residue of the base's weights, to plain LoRA.

Both (arXiv:2404.02948, arXiv:2406.01775) train B A on the residue W - s B0 A0, where B0 A0 comes from W. On
the base as it is, that adapter is the plain LoRA [B, -B0] [A; A0] of twice the rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hub.errors import BadAdapter
from hub.store.content.weights import AdapterFiles

if TYPE_CHECKING:
    from hub.store.content.weights import Array

__all__ = ["changed_base", "to_plain_lora"]

_A, _B = ".lora_A.weight", ".lora_B.weight"


def changed_base(config: Mapping[str, Any]) -> str:
    """Return the initialisation of a LoRA config that `to_plain_lora` converts (pissa or olora), else ""."""
    init = str(config.get("init_lora_weights")).lower()
    return init if config.get("peft_type") == "LORA" and init in ("pissa", "olora") else ""


def to_plain_lora(files: AdapterFiles, initial: Mapping[str, Array]) -> AdapterFiles:
    """Convert an adapter; `initial` has, by the same names, what its A and B were before training.

    PEFT's own conversion (save_pretrained(path_initial_model_for_weight_conversion=...)) does the same to A
    and B; of the other tensors, such as a trained head, 0.21 drops all.

    Raises:
        BadAdapter: an A or B has no initial value of its shape, or the config lacks a rank or an alpha.
    """
    return AdapterFiles(
        _config(files.config), {name: _tensor(name, value, initial) for name, value in files.tensors.items()}
    )


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Double the ranks and keep the scaling: alpha / r, or alpha / sqrt(r) with rsLoRA."""
    more = math.sqrt(2) if config.get("use_rslora") else 2
    for key in ("r", "lora_alpha"):
        if not isinstance(config.get(key), int | float):
            raise BadAdapter(f"{key} in the config is {config.get(key)!r:.80}; it must be a number.")
    return {
        **config,
        "init_lora_weights": True,
        "r": 2 * config["r"],
        "lora_alpha": more * config["lora_alpha"],
        "rank_pattern": {key: 2 * rank for key, rank in (config.get("rank_pattern") or {}).items()},
        "alpha_pattern": {key: more * alpha for key, alpha in (config.get("alpha_pattern") or {}).items()},
    }


def _tensor(name: str, value: Array, initial: Mapping[str, Array]) -> Array:
    import numpy as np

    if not name.endswith((_A, _B)):
        return value
    first = initial.get(name)
    if first is None or first.shape != value.shape:
        raise BadAdapter(f"{name!r} {value.shape} is not what the config makes of this base.")
    return np.concatenate((value, first)) if name.endswith(_A) else np.concatenate((value, -first), axis=1)
