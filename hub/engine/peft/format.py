"""Converts the config and tensors that PEFT saves to checked, engine-neutral arrays.

PEFT 0.21 names a tensor `base_model.model.<module path>.` and then `lora_A.weight`, `lora_B.weight`,
`lora_magnitude_vector` (DoRA) or `ia3_l`; a module trained in full keeps its parameters' own names, and
a bias trained beside LoRA is in `base_layer`. The scaling is folded into B here, so that engines need not
know it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.api import HeadKind
from hub.engine.peft.config import WAY_OUT, rank_and_scaling, refuse_method
from hub.engine.peft.patterns import NO_LAYERS, check_patterns
from hub.engine.protocol import AdapterWeights, LayerUpdate
from hub.errors import BadAdapter, UnsupportedAdapter

if TYPE_CHECKING:
    import numpy.typing as npt

    from hub.engine.protocol import Array

    Tensors = Mapping[str, npt.NDArray[Any]]

__all__ = ["COPIES", "outputs_of", "parse"]

_PREFIX = "base_model.model."
_PART = re.compile(r"(?P<module>.+)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_magnitude_vector|ia3_l)")
COPIES = (".original_module.", ".modules_to_save.")  # bias="all" saves the head's again, trained or not
_BIAS = ".bias"

_NO_HEAD = frozenset({HeadKind.EMBEDDING, HeadKind.GENERATE})


def outputs_of(kind: HeadKind, num_labels: int) -> int:
    """Return C, the outputs of a head: 2 for SPAN, 0 where there is no head."""
    return 2 if kind is HeadKind.SPAN else 0 if kind in _NO_HEAD else num_labels


def parse(
    config: Mapping[str, Any], tensors: Tensors, *, kind: HeadKind, num_labels: int, sha256: str
) -> AdapterWeights:
    """Turn a PEFT adapter into arrays; `num_labels` is read for SEQUENCE and TOKEN.

    Raises:
        UnsupportedAdapter: the method cannot be served; the message names an alternative.
        BadAdapter: a tensor is left over, missing, of a wrong shape, or not finite.
    """
    refuse_method(config)
    check_patterns(config)
    parts, full = _sort(tensors)
    if not parts and (config.get("target_modules") != NO_LAYERS or not full):
        raise BadAdapter("The adapter holds no LoRA or IA3 tensors, so it would change nothing.")
    layers = {module: _update(module, found, config) for module, found in sorted(parts.items())}
    labels = outputs_of(kind, num_labels)
    _check_head(full, kind, labels)
    return AdapterWeights(kind, layers, full, labels, sha256)


def _sort(tensors: Tensors) -> tuple[dict[str, dict[str, Array]], dict[str, Array]]:
    """Split the tensors into updates by module and fully trained parameters."""
    parts: dict[str, dict[str, Array]] = {}
    full: dict[str, Array] = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(_PREFIX)
        if name == key:
            raise BadAdapter(f"Tensor {key!r} is not part of a PEFT adapter: it does not start {_PREFIX!r}.")
        array = np.ascontiguousarray(tensor, dtype=np.float32)
        if not np.isfinite(array).all():
            raise BadAdapter(f"Tensor {key!r} holds NaN or infinite values. Train the adapter again.")
        if match := _PART.fullmatch(name):
            parts.setdefault(match["module"], {})[match["part"]] = array
        elif ".lora_embedding_" in name:
            raise UnsupportedAdapter(
                f"LoRA on embeddings ({key}) does not fit in a slot. Train again with linear target_modules, "
                f"{WAY_OUT}"
            )
        elif ".lora_" in name:
            raise UnsupportedAdapter(
                f"Tensor {key!r} belongs to a LoRA variant that does not fit in a slot. Train again "
                f"without it, {WAY_OUT}"
            )
        elif not any(copy in name for copy in COPIES):
            full[name.replace(".base_layer.", ".")] = array
    return parts, full


def _update(module: str, found: Mapping[str, Array], config: Mapping[str, Any]) -> LayerUpdate:
    if (vector := found.get("ia3_l")) is not None:
        return _ia3(module, vector)
    if not {"lora_A.weight", "lora_B.weight"} <= found.keys():
        raise BadAdapter(f"{module!r} has only one of lora_A and lora_B: the file is incomplete.")
    a, b = _pair(module, found["lora_A.weight"], found["lora_B.weight"], config)
    magnitude = found.get("lora_magnitude_vector")
    if (magnitude is not None) != bool(config.get("use_dora")):
        raise BadAdapter(
            f"{module!r}: use_dora and the presence of a magnitude vector contradict each other."
        )
    if magnitude is not None and magnitude.shape != (b.shape[0],):
        raise BadAdapter(f"{module!r} has {b.shape[0]} outputs, but a magnitude vector of {magnitude.shape}.")
    return LayerUpdate(a=a, b=b, magnitude=magnitude)


def _ia3(module: str, vector: Array) -> LayerUpdate:
    """Read a vector: PEFT stores [1, in] on feed-forward layers, [out, 1] on the others."""
    if vector.ndim != 2 or 1 not in vector.shape:
        raise UnsupportedAdapter(f"IA3 on {module!r} is not on a linear layer, and cannot be served.")
    if vector.shape[0] == 1:
        return LayerUpdate(input_scale=vector[0])
    return LayerUpdate(output_scale=vector[:, 0].copy())


def _pair(module: str, a: Array, b: Array, config: Mapping[str, Any]) -> tuple[Array, Array]:
    if a.ndim != 2 or b.ndim != 2:
        raise UnsupportedAdapter(f"LoRA on {module!r} is not on a linear layer, and cannot be served.")
    rank, scaling = rank_and_scaling(config, module)
    if not a.shape[0] == b.shape[1] == rank:
        raise BadAdapter(
            f"{module!r} has rank {rank:g} by the config, but its lora_A is {a.shape}, its lora_B {b.shape}."
        )
    with np.errstate(over="ignore"):
        scaled = b * np.float32(scaling)
    if not np.isfinite(scaled).all():
        raise BadAdapter(f"{module!r} overflows when scaled by {scaling:g} (lora_alpha and its rank).")
    return a, scaled


def _check_head(full: Mapping[str, Array], kind: HeadKind, labels: int) -> None:
    if kind in _NO_HEAD or any(w.ndim == 2 and w.shape[0] == labels for w in full.values()):
        return
    trained = {name: array for name, array in full.items() if not name.endswith(_BIAS)}
    shapes = ", ".join(f"{name} {array.shape}" for name, array in trained.items()) or "none at all"
    raise BadAdapter(
        f"The adapter has no {kind} head with {labels} outputs; its head tensors: {shapes}. PEFT saves a "
        "head that task_type implies or modules_to_save names."
    )
