"""Reads what PEFT saves: a config and named tensors become checked, engine-neutral arrays.

PEFT 0.21 names a tensor `base_model.model.<module path>.lora_A.weight` (or `lora_B`), and
`base_model.model.<parameter path>` where a module was trained in full. The scaling, alpha / r or
alpha / sqrt(r) (rsLoRA, arXiv:2312.03732), is folded into B here, so that engines know nothing of it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.api import HeadKind
from hub.engine.protocol import AdapterWeights, LoraPair
from hub.errors import BadAdapter, UnsupportedAdapter

if TYPE_CHECKING:
    import numpy.typing as npt

    from hub.engine.protocol import Array

    Tensors = Mapping[str, npt.NDArray[Any]]

__all__ = ["parse"]

_PREFIX = "base_model.model."
_LORA_KEY = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])\.weight")

# Config keys that say how an adapter was made, not what it computes.
_HARMLESS = frozenset(
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
_READ = frozenset({"alpha_pattern", "init_lora_weights", "lora_alpha", "r", "rank_pattern", "use_rslora"})
_NAMES = {
    "use_dora": "DoRA",
    "layer_replication": "layer replication",
    "bias": "trained biases",
    "lora_bias": "trained LoRA biases",
    "trainable_token_indices": "trained token embeddings",
    "target_parameters": "LoRA on bare parameters",
}
# Initialisations that leave the base as it was, so that B A is the whole update.
_PLAIN_INITS = frozenset({"true", "false", "gaussian", "eva", "orthogonal"})

_NO_HEAD = frozenset({HeadKind.EMBEDDING, HeadKind.GENERATE})


def parse(
    config: Mapping[str, Any], tensors: Tensors, *, kind: HeadKind, num_labels: int, sha256: str
) -> AdapterWeights:
    """Turn a PEFT adapter into arrays; `num_labels` is read for SEQUENCE and TOKEN.

    Raises:
        UnsupportedAdapter: the method cannot be served; the message names it and a way out.
        BadAdapter: a tensor is left over, missing, of a wrong shape, or not finite.
    """
    _refuse_method(config)
    pairs, full = _sort(tensors)
    prefix = "" if kind is HeadKind.EMBEDDING else _backbone_prefix(pairs)
    lora = {_inside(module, prefix): _pair(module, sides, config) for module, sides in sorted(pairs.items())}
    labels = 2 if kind is HeadKind.SPAN else 0 if kind in _NO_HEAD else num_labels
    return AdapterWeights(kind, lora, _head(full, kind, labels, prefix), labels, sha256)


def _refuse_method(config: Mapping[str, Any]) -> None:
    method = str(config.get("peft_type", "")).upper()
    if method != "LORA":
        raise UnsupportedAdapter(
            f"This is a {method or 'nameless'} adapter and only LoRA and rsLoRA can be served. Train it "
            "with LoRA."
        )
    init = str(config.get("init_lora_weights", True)).lower()
    if init not in _PLAIN_INITS:
        raise UnsupportedAdapter(
            f"The initialisation {init!r} changes the base weights, so this adapter fits no base as it is. "
            "Save it again converted to plain LoRA: save_pretrained(..., "
            "path_initial_model_for_weight_conversion=<the adapter as it was before training>)."
        )
    for key in sorted(config.keys() - _HARMLESS - _READ):
        if config[key] not in (None, False, "none", "", {}, []):
            raise UnsupportedAdapter(
                f"{_NAMES.get(key, key)} ({key}: {str(config[key])[:80]}) cannot be served. Train again "
                "without it: plain LoRA or rsLoRA on linear layers."
            )


def _sort(tensors: Tensors) -> tuple[dict[str, dict[str, Array]], dict[str, Array]]:
    """Split the tensors into LoRA sides by module and fully trained parameters."""
    pairs: dict[str, dict[str, Array]] = {}
    full: dict[str, Array] = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(_PREFIX)
        if name == key:
            raise BadAdapter(f"Tensor {key!r} is not part of a PEFT adapter: it does not start {_PREFIX!r}.")
        array = np.ascontiguousarray(tensor, dtype=np.float32)
        if not np.isfinite(array).all():
            raise BadAdapter(f"Tensor {key!r} holds NaN or infinite values. Train the adapter again.")
        if match := _LORA_KEY.fullmatch(name):
            pairs.setdefault(match["module"], {})[match["side"]] = array
        elif ".lora_embedding_" in name:
            raise UnsupportedAdapter(
                f"LoRA on embeddings ({key}) cannot be served. Train again with linear target_modules."
            )
        elif ".lora_" in name:
            raise UnsupportedAdapter(f"Tensor {key!r} belongs to a LoRA variant that cannot be served.")
        else:
            full[name] = array
    if not pairs:
        raise BadAdapter("The adapter holds no LoRA tensors, so it would change nothing.")
    return pairs, full


def _backbone_prefix(modules: Mapping[str, object]) -> str:
    """Return where the backbone hangs in the head model ("bert."): what most LoRA modules start with."""
    firsts = Counter(module.partition(".")[0] for module in modules)
    return firsts.most_common(1)[0][0] + "."


def _inside(module: str, prefix: str) -> str:
    path = module.removeprefix(prefix)
    if prefix and path == module:
        raise UnsupportedAdapter(
            f"LoRA on {module!r}, outside the backbone {prefix[:-1]!r}, cannot be served. Train heads in "
            "full (modules_to_save) and leave them out of target_modules."
        )
    return path


def _pair(module: str, sides: Mapping[str, Array], config: Mapping[str, Any]) -> LoraPair:
    if set(sides) != {"A", "B"}:
        raise BadAdapter(f"{module!r} has only one of lora_A and lora_B: the file is incomplete.")
    a, b = sides["A"], sides["B"]
    if a.ndim != 2 or b.ndim != 2:
        raise UnsupportedAdapter(f"LoRA on {module!r} is not on a linear layer, and cannot be served.")
    rank = _number(config, "rank_pattern", "r", module)
    if not a.shape[0] == b.shape[1] == rank:
        raise BadAdapter(
            f"{module!r} has rank {rank:g} by the config, but its lora_A is {a.shape}, its lora_B {b.shape}."
        )
    alpha = _number(config, "alpha_pattern", "lora_alpha", module)
    with np.errstate(over="ignore"):
        scaled = b * np.float32(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))
    if not np.isfinite(scaled).all():
        raise BadAdapter(f"{module!r} overflows when scaled by lora_alpha {alpha:g}.")
    return LoraPair(a, scaled)


def _number(config: Mapping[str, Any], patterns: str, default: str, module: str) -> float:
    """Return the value for `module`: of the first pattern that ends its path, or the default."""
    value, special_cases = config.get(default), config.get(patterns) or {}
    if not isinstance(special_cases, Mapping):
        raise BadAdapter(f"{patterns} must map module names to numbers, not be {str(special_cases)[:80]}.")
    for pattern, special in special_cases.items():
        if _matches(str(pattern), module):
            value = special
            break
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise BadAdapter(f"{default} for {module!r} is {value!r}; it must be a positive number.")
    return value


def _matches(pattern: str, module: str) -> bool:
    # Repeated groups are how a regular expression is made to run for hours.
    if len(pattern) > 200 or re.search(r"\)[*+{]", pattern):
        raise UnsupportedAdapter(
            f"The rank or alpha pattern {pattern[:80]!r} is too complex; name the module."
        )
    try:
        return re.fullmatch(rf"(.*\.)?({pattern})", module) is not None
    except re.error as error:
        raise BadAdapter(
            f"The rank or alpha pattern {pattern!r} is not a regular expression: {error}."
        ) from None


def _head(full: Mapping[str, Array], kind: HeadKind, labels: int, prefix: str) -> dict[str, Array]:
    for name in full:
        if kind in _NO_HEAD or name.startswith(prefix):
            raise UnsupportedAdapter(
                f"{name!r} was trained in full, and only a head can be served so. Train it with LoRA instead."
            )
    if kind not in _NO_HEAD and not any(w.ndim == 2 and w.shape[0] == labels for w in full.values()):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in full.items()) or "none at all"
        raise BadAdapter(
            f"The adapter has no {kind} head with {labels} outputs; its head tensors: {shapes}. PEFT saves a "
            "head that task_type implies or modules_to_save names."
        )
    return dict(full)
