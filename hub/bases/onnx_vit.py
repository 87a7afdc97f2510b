"""Converts the DINOv2 backbone in an ONNX graph to a folder with safetensors weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hub.errors import BadBase

__all__ = ["convert"]

_BACKBONE = "backbone"  # in the names of weights ("backbone.") and of nodes ("/backbone/")
_POSITIONS = {f"/{_BACKBONE}/embeddings/Concat_6": 0, f"/{_BACKBONE}/embeddings/Reshape_1": 1}
_HEAD_WIDTH = 64
_PATCHES = "embeddings.patch_embeddings.projection.weight"
_PROCESSOR = {
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def convert(graph: Path, folder: Path) -> None:
    """Write config, image processor and float32 weights of the backbone of a graph that torch exported.

    Raises:
        BadBase: the graph has no such backbone.
    """
    import onnx
    from onnx import numpy_helper
    from safetensors.numpy import save_file

    model = onnx.load(str(graph))
    arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    tensors = {
        name.removeprefix(f"{_BACKBONE}."): array
        for name, array in arrays.items()
        if name.startswith(f"{_BACKBONE}.")
    }
    positions: dict[int, Any] = {}
    for node in model.graph.node:
        given = [arrays[name] for name in node.input if name in arrays]
        if node.op_type == "MatMul" and node.name.startswith(f"/{_BACKBONE}/") and given:
            path = node.name.removeprefix(f"/{_BACKBONE}/").removesuffix("/MatMul").replace("/", ".")
            tensors[f"{path}.weight"] = given[0].T
        elif node.name in _POSITIONS and given:
            positions[_POSITIONS[node.name]] = given[0]
    if _PATCHES not in tensors or len(positions) != len(_POSITIONS):
        raise BadBase(f"{graph.name} has no DINOv2 backbone that torch exported.")
    tensors["embeddings.position_embeddings"] = np.concatenate([positions[0], positions[1]], axis=1)
    weights = {name: np.ascontiguousarray(array, np.float32) for name, array in tensors.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(_config(weights), indent=2) + "\n", encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(
        json.dumps(_PROCESSOR, indent=2) + "\n", encoding="utf-8"
    )


def _config(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return the config that follows from the shapes of the weights."""
    width, channels, patch, _ = tensors[_PATCHES].shape
    side = round((tensors["embeddings.position_embeddings"].shape[1] - 1) ** 0.5)
    layers = sum(name.endswith("attention.attention.query.weight") for name in tensors)
    return {
        "architectures": ["Dinov2Model"],
        "model_type": "dinov2",
        "dtype": "float32",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // _HEAD_WIDTH,
        "mlp_ratio": tensors["encoder.layer.0.mlp.fc1.weight"].shape[0] // width,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "image_size": side * patch,
        "patch_size": patch,
        "num_channels": channels,
        "qkv_bias": True,
        "layerscale_value": 1.0,
        "use_mask_token": False,
        "use_swiglu_ffn": False,
    }
