# ruff: noqa: TID253 - imported when an engine is built, and by nothing else
"""An encoder in OpenVINO, on the graph that onnxruntime reads too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from hub.engine.onnx.backbone import GraphBackbone
from hub.engine.onnx.graph import Exporter
from hub.engine.openvino.graph import OpenVinoGraph, computes_in_bf16
from hub.engine.torch.backbone import TorchBackbone
from hub.engine.torch.stacks import Parts, Stacks, Values

__all__ = ["OpenVinoBackbone", "computes_in_bf16"]

RANK_AXIS = {"a": 1, "b": 1}
"""Of own stacks: `a` [S+1, r, in], so that those of several slots are one matrix, as `b` are."""


class OpenVinoBackbone(GraphBackbone):
    """Runs rows in float32 on the torch backbone's stacks, or in bf16 on stacks of its own."""

    parallel = False  # one run at a time: OpenVINO locks a graph that has one stream

    def __init__(
        self,
        exporter: Exporter,
        reference: TorchBackbone,
        threads: int,
        dtype: torch.dtype,
        *,
        slots: int,
        longest: int,
    ) -> None:
        super().__init__(f"openvino {str(dtype).removeprefix('torch.')}", exporter, reference, threads)
        self._dtype = dtype
        self._longest = longest
        self._own = None
        if dtype is not reference.dtype:
            self._own = Stacks(
                slots, reference.device, dtype, publish=_nowhere, own=_none, rank_axis=RANK_AXIS
            )

    @property
    def stacks_read(self) -> Stacks:
        return self._own or self._reference.stacks

    @property
    def slot_bytes(self) -> int:
        return self._own.slot_bytes if self._own else 0

    def write(self, slot: int, values: Values, *, allowed: bool = True) -> None:
        if self._own:
            self._own.write(slot, _rank_first(values))
        super().write(slot, values, allowed=allowed)

    def _open(self, file: Path, stacks: Sequence[str]) -> OpenVinoGraph:
        weights = dict(self._reference.model.named_parameters())
        return OpenVinoGraph(
            file, stacks, self._dtype, self._threads, weights, self._longest, rank_first=self._own is not None
        )


def _rank_first(values: Values) -> Values:
    """Return values whose `a` is [r, in]."""
    return {
        layer: {part: value.mT if part == "a" else value for part, value in parts.items()}
        for layer, parts in values.items()
    }


def _nowhere(layer: str, parts: Parts) -> None:
    """No module reads these stacks: a run binds them."""


def _none(layer: str, part: str) -> None:
    return None
