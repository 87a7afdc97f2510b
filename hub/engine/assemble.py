# ruff: noqa: TID253 - imported when an engine is built, and by nothing else
"""Loads the base once for each backbone of an engine."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from hub.bases.base import Base, BaseKind
from hub.engine.choice.autotune import Tuner, Tuning
from hub.engine.choice.backbones import Backbones
from hub.engine.onnx.backbone import OnnxBackbone
from hub.engine.onnx.graph import Exporter, runs_graphs
from hub.engine.protocol import GenerationLimits
from hub.engine.slot_engine import SlotEngine
from hub.engine.torch.backbone import TorchBackbone
from hub.engine.torch.loading import computes_in_bf16, load_model
from hub.errors import BadConfig

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
        BadConfig: the device does not support bf16, or onnxruntime does not run there.
        EngineFailed: the base could not be loaded.
    """
    if threads:
        torch.set_num_threads(threads)
    where = torch.device(device)
    encoder = base.kind is BaseKind.ENCODER
    if kind == "torch-bf16" and not computes_in_bf16(where):
        raise BadConfig(f"Device {device!r} has no bf16 instructions here. Use torch.")
    if kind.startswith("onnx") and not runs_graphs(where):
        raise BadConfig(f"The installed onnxruntime does not run on {device!r}. Use torch, or auto.")
    reference, pooler = _torch(base, slots, where, _reference_dtype(kind, encoder))
    backbones = Backbones(reference, pooler=pooler)
    if cache and encoder and not kind.startswith("torch") and where.type in ("cpu", "cuda"):
        exporter = Exporter(base, cache)
        graphs = [OnnxBackbone(exporter, reference, threads)] if runs_graphs(where) else []
        if graphs and kind != "onnx" and where.type == "cpu":
            int8 = OnnxBackbone(exporter, reference, threads, int8=True)
            graphs.insert(0 if kind == "onnx-int8" else 1, int8)
        other = None
        if kind == "auto" and computes_in_bf16(where):
            other = _torch(base, slots, where, torch.bfloat16)[0]
        tune = Tuner(base, cache, threads, tuning or Tuning()) if kind == "auto" else None
        backbones = Backbones(
            reference, pooler=pooler, other=other, graphs=graphs, exporter=exporter, tune=tune
        )
    return SlotEngine(base, backbones, slots=slots, device=device, own=own, generation=generation)


def _reference_dtype(kind: str, encoder: bool) -> torch.dtype | None:
    """Return the dtype of the reference torch backbone; None: the dtype of the base."""
    if kind == "torch-bf16":
        return torch.bfloat16
    return torch.float32 if encoder else None


def _torch(
    base: Base, slots: int, device: torch.device, dtype: torch.dtype | None
) -> tuple[TorchBackbone, nn.Module | None]:
    """Load a torch backbone, and separately the pooler that an encoder may have."""
    settings: dict[str, Any] = {"dtype": dtype} if dtype else {}
    model = load_model(base, device, **settings)
    pooler = None
    if base.kind is BaseKind.ENCODER and isinstance(getattr(model, "pooler", None), nn.Module):
        pooler, model.pooler = model.pooler, None
    return TorchBackbone(model, slots), pooler
