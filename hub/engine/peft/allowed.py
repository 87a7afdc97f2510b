# ruff: noqa: TID253 - imported when PEFT itself has to run an adapter, and by nothing else
"""The methods and config keys of PEFT that adapters of strangers may use, and configs built from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import peft
from peft import PeftConfig

from hub.engine.peft.config import HARMLESS, SAVE_CONVERTED, method_of
from hub.engine.quiet import known_warnings
from hub.errors import BadAdapter, UnsupportedAdapter

__all__ = ["METHODS", "read_config"]

_COMMON = frozenset(
    {
        "bias",
        "exclude_modules",
        "fan_in_fan_out",
        "init_weights",
        "layers_pattern",
        "layers_to_transform",
        "modules_to_save",
        "target_modules",
        "task_type",
    }
)
_LORA = frozenset(
    {
        "alpha_pattern",
        "ensure_weight_tying",
        "init_lora_weights",
        "lora_alpha",
        "lora_bias",
        "r",
        "rank_pattern",
        "trainable_token_indices",
        "use_dora",
        "use_rslora",
    }
)
# The allowed config keys of each method, without those that read files, use random numbers or run code.
METHODS: Mapping[str, tuple[type[PeftConfig], frozenset[str]]] = {
    "LORA": (peft.LoraConfig, _LORA),
    "ADALORA": (
        peft.AdaLoraConfig,
        _LORA | {"init_r", "target_r", "total_step", "tfinal", "tinit"},
    ),
    "FOURIERFT": (
        peft.FourierFTConfig,
        frozenset({"n_frequency", "n_frequency_pattern", "random_loc_seed", "scaling"}),
    ),
    "HRA": (peft.HRAConfig, frozenset({"apply_GS", "r"})),
    "IA3": (peft.IA3Config, frozenset({"feedforward_modules", "init_ia3_weights"})),
    "LOHA": (
        peft.LoHaConfig,
        frozenset({"alpha", "alpha_pattern", "r", "rank_pattern", "use_effective_conv2d"}),
    ),
    "LOKR": (
        peft.LoKrConfig,
        frozenset(
            {
                "alpha",
                "alpha_pattern",
                "decompose_both",
                "decompose_factor",
                "r",
                "rank_pattern",
                "use_effective_conv2d",
            }
        ),
    ),
    "OFT": (
        peft.OFTConfig,
        frozenset(
            {
                "block_share",
                "coft",
                "eps",
                "num_cayley_neumann_terms",
                "oft_block_size",
                "r",
                "use_cayley_neumann",
            }
        ),
    ),
    "VERA": (peft.VeraConfig, frozenset({"d_initial", "projection_prng_key", "r", "save_projection"})),
}
# Used in training only; replaced by PEFT's defaults.
_TRAINING = frozenset(
    {
        "beta1",
        "beta2",
        "deltaT",
        "module_dropout",
        "orth_reg_weight",
        "rank_dropout",
        "rank_dropout_scale",
        "vera_dropout",
    }
)
# Initialisations that can be recomputed from the base; others use random numbers or data.
_KNOWN_INITS = frozenset({"true", "false", "gaussian", "eva", "orthogonal", "pissa", "olora"})
_MAX_RANK = 8192  # a limit on ranks, so that a config cannot exhaust the memory


def read_config(config: Mapping[str, Any]) -> PeftConfig:
    """Build PEFT's config from the allowed keys.

    Raises:
        UnsupportedAdapter: the method or an option cannot be merged into a base.
        BadAdapter: a value is not sound.
    """
    method = method_of(config)
    if method not in METHODS:
        raise UnsupportedAdapter(
            f"This is a {method or 'nameless'} adapter, which cannot be merged into its base here. Supported "
            f"are: {', '.join(METHODS)}."
        )
    cls, keys = METHODS[method]
    init = str(config.get("init_lora_weights", True)).lower()
    if init not in _KNOWN_INITS:
        raise UnsupportedAdapter(
            f"The initialisation {init!r} changed the base weights, and the adapter's files do not record "
            f"how, so it fits no base as it is. {SAVE_CONVERTED}"
        )
    known = _COMMON | keys
    for key in sorted(config.keys() - known - HARMLESS - _TRAINING):
        if config[key] not in (None, False, "none", "", {}, []):
            raise UnsupportedAdapter(
                f"{key} ({str(config[key])[:80]}) of a {method} adapter cannot be merged into its base here. "
                "Train again without it."
            )
    values = {key: config[key] for key in known & config.keys() if config[key] is not None}
    _check_values(values)
    try:
        with known_warnings():
            made = cls(**values, inference_mode=True)
    except (ValueError, TypeError) as error:
        raise BadAdapter(f"The config of this {method} adapter is not sound: {str(error)[:300]}") from None
    return made


def _check_values(values: Mapping[str, Any]) -> None:
    """Refuse ranks that could exhaust the memory."""
    ranks = [values.get(key) for key in ("r", "init_r", "target_r", "n_frequency")]
    for key in ("rank_pattern", "n_frequency_pattern"):
        ranks += (values.get(key) or {}).values()
    for rank in ranks:
        if isinstance(rank, int) and rank > _MAX_RANK:
            raise BadAdapter(f"A rank of {rank} is more than {_MAX_RANK:,}, the largest that is allowed.")
