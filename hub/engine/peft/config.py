"""Checks the method in a PEFT config, and reads its rank and scaling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hub.engine.peft.patterns import matcher
from hub.errors import BadAdapter, UnsupportedAdapter

__all__ = [
    "HARMLESS",
    "MERGEABLE",
    "SAVE_CONVERTED",
    "WAY_OUT",
    "method_of",
    "rank_and_scaling",
    "refuse_method",
]

# Config keys that describe how an adapter was trained, not what it computes.
HARMLESS = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "modules_to_save",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
    }
)
_READ = {
    "LORA": frozenset(
        {
            "alpha_pattern",
            "bias",
            "init_lora_weights",
            "lora_alpha",
            "r",
            "rank_pattern",
            "use_dora",
            "use_rslora",
        }
    ),
    "IA3": frozenset({"feedforward_modules", "init_ia3_weights"}),
}
# The methods that PEFT merges into a base here; other ones have no merged copy either.
MERGEABLE = frozenset({"ADALORA", "FOURIERFT", "HRA", "IA3", "LOHA", "LOKR", "LORA", "OFT", "VERA"})
# Config keys that no slot can serve and a merged copy can.
_MERGEABLE_KEYS = frozenset({"lora_bias", "trainable_token_indices"})
_NAMES = {
    "layer_replication": "layer replication",
    "lora_bias": "trained LoRA biases",
    "trainable_token_indices": "trained token embeddings",
    "target_parameters": "LoRA on bare parameters",
}
# Initialisations that do not change the base, so that B A is the whole update.
_PLAIN_INITS = frozenset({"true", "false", "gaussian", "eva", "orthogonal"})
_CONVERTED = frozenset({"pissa", "olora"})  # those that follow from the base alone
SAVE_CONVERTED = (
    "Save it again converted to plain LoRA: save_pretrained(..., path_initial_model_for_weight_conversion="
    "<the adapter as it was before training>), which in PEFT 0.21 leaves out a trained head."
)
WAY_OUT = "or ask for a merged copy of its own (serve: merged in the recipe, --merged at import)."


def method_of(config: Mapping[str, Any]) -> str:
    """Return PEFT's name of the method in upper case; "" if the config has none."""
    return str(config.get("peft_type") or "").upper()


def refuse_method(config: Mapping[str, Any]) -> None:
    """Raise UnsupportedAdapter unless slots can compute what the config describes."""
    method = method_of(config)
    if method not in _READ:
        raise UnsupportedAdapter(
            f"This is a {method or 'nameless'} adapter, which does not fit in a slot; LoRA (rsLoRA, DoRA) "
            f"and IA3 do. Train it with one of these{f', {WAY_OUT}' if method in MERGEABLE else '.'}"
        )
    init = str(config.get("init_lora_weights", True)).lower()
    if method == "LORA" and init not in _PLAIN_INITS:
        way_out = (
            f"hub adapters import converts it from a plain PEFT folder, {WAY_OUT}"
            if init in _CONVERTED
            else ""
        )
        raise UnsupportedAdapter(
            f"The initialisation {init!r} changes the base weights, so this adapter fits no base as it is. "
            f"{way_out or SAVE_CONVERTED}"
        )
    for key in sorted(config.keys() - HARMLESS - _READ[method]):
        if config[key] not in (None, False, "none", "", {}, []):
            raise UnsupportedAdapter(
                f"{_NAMES.get(key, key)} ({key}: {str(config[key])[:80]}) cannot be served from a slot. "
                f"Train again without it{f', {WAY_OUT}' if key in _MERGEABLE_KEYS else '.'}"
            )


def rank_and_scaling(config: Mapping[str, Any], module: str) -> tuple[float, float]:
    """Return a LoRA module's rank and its scaling: alpha / r, or alpha / sqrt(r) with rsLoRA.

    rsLoRA is arXiv:2312.03732.

    Raises:
        BadAdapter: a number is missing or not positive.
        UnsupportedAdapter: a pattern is malformed, or cannot be matched in linear time.
    """
    rank = _number(config, "rank_pattern", "r", module)
    alpha = _number(config, "alpha_pattern", "lora_alpha", module)
    return rank, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _number(config: Mapping[str, Any], patterns: str, default: str, module: str) -> float:
    """Return the value of the first pattern that matches the end of the module's path, or the default."""
    value, special_cases = config.get(default), config.get(patterns) or {}
    if not isinstance(special_cases, Mapping):
        raise BadAdapter(f"{patterns} must map module names to numbers, not be {str(special_cases)[:80]}.")
    place = matcher(tuple(map(str, special_cases))).first(module)
    if place is not None:
        value = list(special_cases.values())[place]
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise BadAdapter(f"{default} for {module!r} is {value!r}; it must be a positive number.")
    return value
