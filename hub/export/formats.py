"""The export formats, which the command line lists."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Format", "Precision"]


class Format(StrEnum):
    """The format of an exported folder."""

    ONNX = "onnx"  # adapter and base in one graph, for onnxruntime alone
    MERGED = "safetensors-merged"  # adapter and base in one transformers folder
    PEFT = "peft"  # the adapter alone; needs its base


class Precision(StrEnum):
    """The precision of the exported linear layers."""

    FP32 = "fp32"
    INT8 = "int8"
