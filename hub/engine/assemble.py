# ruff: noqa: TID253 - imported when an engine is built, and by nothing else
"""Loads the base once for each backbone of an engine."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from hub.bases.base import Base, BaseKind
from hub.engine.choice.autotune import Tuner, Tuning
from hub.engine.choice.backbones import Backbones
from hub.engine.onnx.backbone import GraphBackbone, OnnxBackbone
from hub.engine.onnx.graph import Exporter, runs_graphs
from hub.engine.protocol import GenerationLimits
from hub.engine.slot_engine import SlotEngine
from hub.engine.torch.backbone import TorchBackbone
from hub.engine.torch.loading import computes_in_bf16, load_model
from hub.errors import BadConfig, MissingExtra

__all__ = ["assemble"]


def assemble(  # noqa: PLR0913 - everything an engine is built from
    base: Base,
    kind: str,
    *,
    slots: int,
    device: str,
    threads: int,
    cache: Path | None,
    own: TemporaryDirectory[str] | None,
    tuning: Tuning | None,
    generation: GenerationLimits,
) -> SlotEngine:
    """Build an engine; without `cache` it has torch backbones only; `own` is removed when it closes.

    Raises:
        BadConfig: the device does not support bf16, or the runtime of graphs does not run on it.
        MissingExtra: OpenVINO is not installed.
        EngineFailed: the base could not be loaded.
    """
    if threads:
        torch.set_num_threads(threads)
    where = torch.device(device)
    encoder = base.kind is BaseKind.ENCODER  # graphs and measurements are made of encoders only
    if kind == "torch-bf16" and not computes_in_bf16(where):
        raise BadConfig(f"Device {device!r} has no bf16 instructions here. Use torch.")
    if kind.startswith("onnx") and not runs_graphs(where):
        raise BadConfig(f"The installed onnxruntime does not run on {device!r}. Use torch, or auto.")
    reference, pooler = _torch(base, slots, where, _reference_dtype(kind, base.kind))
    backbones = Backbones(reference, pooler=pooler)
    if cache and encoder and not kind.startswith("torch") and where.type in ("cpu", "cuda"):
        exporter = Exporter(base, cache)
        found = _openvino(kind, exporter, reference, threads, slots=slots, longest=base.max_length)
        graphs = [*_onnx(kind, exporter, reference, threads), *found]
        spare = {graph.name for graph in found} if kind == "auto" else frozenset()
        other = None
        if kind == "auto" and computes_in_bf16(where):
            other = _torch(base, slots, where, torch.bfloat16)[0]
        tune = Tuner(base, cache, threads, tuning or Tuning()) if kind == "auto" else None
        backbones = Backbones(
            reference, pooler=pooler, other=other, graphs=graphs, spare=spare, exporter=exporter, tune=tune
        )
    return SlotEngine(base, backbones, slots=slots, device=device, own=own, generation=generation)


def _onnx(kind: str, exporter: Exporter, reference: TorchBackbone, threads: int) -> list[GraphBackbone]:
    """Return the onnx backbones of an engine, in order of preference."""
    if kind.startswith("openvino") or not runs_graphs(reference.device):
        return []
    graphs: list[GraphBackbone] = [OnnxBackbone(exporter, reference, threads)]
    if kind != "onnx" and reference.device.type == "cpu":
        int8 = OnnxBackbone(exporter, reference, threads, int8=True)
        graphs.insert(0 if kind == "onnx-int8" else 1, int8)
    return graphs


def _openvino(
    kind: str, exporter: Exporter, reference: TorchBackbone, threads: int, *, slots: int, longest: int
) -> Sequence[GraphBackbone]:
    """Return the OpenVINO backbone of an engine, if it has one; for `auto` in the faster dtype."""
    device = reference.device
    if not kind.startswith("openvino") and (kind != "auto" or device.type != "cpu"):
        return []
    if find_spec("openvino") is None:
        if kind == "auto":
            return []
        raise MissingExtra.of(f"The engine {kind!r}", "openvino")
    if device.type != "cpu":
        raise BadConfig(f"OpenVINO runs on a CPU here, not on {str(device)!r}. Use onnx or torch.")
    from hub.engine.openvino.backbone import OpenVinoBackbone, computes_in_bf16

    if kind == "openvino-bf16" and not computes_in_bf16():
        raise BadConfig("This processor has no bf16 instructions. Use openvino.")
    bf16 = kind != "openvino" and computes_in_bf16()
    dtype = torch.bfloat16 if bf16 else torch.float32
    return [OpenVinoBackbone(exporter, reference, threads, dtype, slots=slots, longest=longest)]


def _reference_dtype(kind: str, base: BaseKind) -> torch.dtype | None:
    """Return the dtype of the reference torch backbone; None: the dtype of the base."""
    if kind == "torch-bf16":
        return torch.bfloat16
    return None if base.generates else torch.float32


def _torch(
    base: Base, slots: int, device: torch.device, dtype: torch.dtype | None
) -> tuple[TorchBackbone, nn.Module | None]:
    """Load a torch backbone, and separately the pooler that one of a base that scores may have."""
    settings: dict[str, Any] = {"dtype": dtype} if dtype else {}
    model = load_model(base, device, **settings)
    pooler = None
    if not base.kind.generates and isinstance(getattr(model, "pooler", None), nn.Module):
        pooler, model.pooler = model.pooler, None
    return TorchBackbone(model, slots), pooler
