# ruff: noqa: TID253 - imported when a graph is exported, and by nothing else
"""Exports a torch module as an ONNX file, and quantizes such a file to int8."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from hub.files import replacing

__all__ = ["export_module", "quantize"]

_OPSET = 18


def export_module(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
    path: Path,
) -> None:
    """Trace `module` with `inputs`, its positional arguments; `axes` names the dynamic axes of all arrays.

    A transformers model must use the attention "eager": no other one traces into a graph with dynamic axes.
    """
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )


def quantize(path: Path) -> None:
    """Quantize the linear layers of a graph file to int8, in place."""
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet(), replacing(path) as small:
        quantize_dynamic(
            path,
            small,
            op_types_to_quantize=["MatMul", "Gemm"],  # without this, newer opsets get nothing quantized
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings about values that tracing makes constant: the caller compares the graph with torch."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
