"""Checks that the layers of an adapter exist in a base, by names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hub.bases.base import Base
from hub.bases.inspect import layer_shapes
from hub.errors import BaseMismatch
from hub.store.content.weights import AdapterFiles

__all__ = ["check_fit"]

_LORA = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
# fmt: off
_CONV1D_TYPES = frozenset({"decision_transformer", "gpt2", "imagegpt", "openai-gpt"})
_CONV1D_LAYERS = frozenset({"c_attn", "c_fc", "c_proj", "q_attn"})
# fmt: on


def check_fit(files: AdapterFiles, base: Base) -> None:
    """Raise BaseMismatch unless every layer with a LoRA update exists in `base` with a fitting shape.

    Paths are compared from their ends, because a head model prefixes its backbone ("bert.") and a base may be
    saved with or without that prefix.
    """
    shapes = {_ending(name): shape for name, shape in layer_shapes(base).items()}
    trained_on = files.config.get("base_model_name_or_path") or "an unnamed base"
    for name, tensor in files.tensors.items():
        match = _LORA.fullmatch(name)
        if not match or tensor.ndim != 2:
            continue
        layer = match["module"]
        shape = _shape_of(layer, shapes)
        if shape is None or len(shape) != 2:
            raise BaseMismatch(
                f"The adapter changes the linear layer {layer!r} and the base {base.name!r} "
                f"({base.model_type}) has none of that name. It was trained on {trained_on}."
            )
        width = int(tensor.shape[1] if match["side"] == "A" else tensor.shape[0])
        expected = _side(shape, match["side"], _is_transposed(layer, base))
        if width != expected:
            raise BaseMismatch(
                f"The adapter's {layer!r} is {width} wide where the base {base.name!r} has {expected}. "
                f"It was trained on {trained_on}: pull that base and name it with --base."
            )


def _ending(name: str) -> str:
    return name.removesuffix(".weight")


def _shape_of(layer: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    path = layer.split(".")
    for start in range(len(path)):
        if shape := shapes.get(".".join(path[start:])):
            return shape
    return next((shape for name, shape in shapes.items() if name.endswith(f".{layer}")), None)


def _side(shape: tuple[int, ...], side: str, transposed: bool) -> int:
    """Return the input width (side A) or output width (B) of a weight stored [out, in], or [in, out]."""
    return shape[0] if (side == "A") == transposed else shape[1]


def _is_transposed(layer: str, base: Base) -> bool:
    """Return whether a layer is transformers' Conv1D, [in, out].

    PEFT uses this too, and ignores the config's `fan_in_fan_out`.
    """
    return base.model_type in _CONV1D_TYPES and layer.rpartition(".")[2] in _CONV1D_LAYERS
