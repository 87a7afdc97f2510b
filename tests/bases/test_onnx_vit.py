# ruff: noqa: TID253 - makes a graph, and runs a model
"""The base that is converted from an ONNX graph in a wheel of the package index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from hub.bases.base import Base, BaseKind
from hub.bases.inspect import inspect_folder
from hub.bases.onnx_vit import convert
from hub.engine.torch.loading import load_model
from hub.errors import BadBase


def test_a_graph_without_such_a_backbone_is_refused(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [value], [onnx.helper.make_empty_tensor_value_info("y")])
    onnx.save(onnx.helper.make_model(graph), str(tmp_path / "other.onnx"))
    with pytest.raises(BadBase, match=r"other\.onnx has no DINOv2 backbone"):
        convert(tmp_path / "other.onnx", tmp_path)


@pytest.mark.slow
def test_the_real_base_reads_images_of_224_pixels(vit_s: Base) -> None:
    assert (vit_s.kind, vit_s.model_type, vit_s.max_length) == (BaseKind.VISION, "dinov2", 257)
    assert inspect_folder(vit_s.path).image == vit_s.image
    model = load_model(vit_s, torch.device("cpu"))
    assert sum(parameter.numel() for parameter in model.parameters()) > 21_000_000
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.standard_normal((2, *vit_s.image.shape), np.float32))
    with torch.inference_mode():
        states = model(pixel_values=images).last_hidden_state
    assert states.shape == (2, 257, 384)
    assert bool(states.isfinite().all()) and float(states.std()) > 0.1
