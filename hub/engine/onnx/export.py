# ruff: noqa: TID253 - runs in a process of its own
"""Exports an encoder to ONNX with the stacks and the slot index as graph inputs.

`python -m hub.engine.onnx.export` reads its arguments from stdin as JSON. A server exports in a subprocess
because the exporter takes seconds, needs a copy of the base, and changes global settings of its process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

from hub.bases.base import Base, BaseKind
from hub.engine.onnx.convert import export_module, quantize
from hub.engine.torch.loading import load_model, takes_token_types
from hub.engine.torch.packed import packed_inputs, takes_packed_rows
from hub.engine.torch.slotted import SlotContext, slot_layer
from hub.engine.torch.stacks import RANK_AXIS, Parts
from hub.engine.torch.tensors import BatchTensors
from hub.errors import EngineFailed

__all__ = ["BATCH_INPUTS", "HIDDEN", "MODEL", "REVISION", "arguments", "main"]

REVISION = 4  # raise it when the exported graph changes
BATCH_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "slots", "positions", "segments", "places")
"""The fields of `BatchTensors.as_packed`; a graph has those that its base needs."""
HIDDEN = "last_hidden_state"
MODEL = "_model."  # prefix of an initializer's name before the parameter's path in the base

_TOLERANCE = 1e-4  # of hidden states, which layer norms keep near 1
_INT8_COSINE = 0.9  # of hidden states; the accuracy of each adapter is measured on its own data


def arguments(base: Base, stacks: Sequence[str], path: Path, *, int8: bool) -> str:
    """Return the JSON arguments of `main` that export `base` with the named stacks to `path`."""
    fields = {"base": asdict(base), "stacks": list(stacks), "path": str(path), "int8": int8}
    return json.dumps(fields, default=str)


def main() -> None:
    """Export a graph; fails if it does not reproduce the outputs of torch."""
    wanted = json.load(sys.stdin)
    path, stacks = Path(wanted["path"]), tuple(wanted["stacks"])
    if hasattr(os, "nice"):
        os.nice(5)
    torch.manual_seed(0)
    graph = _Graph(_base(wanted["base"]), stacks).eval()
    _export(graph, stacks, path)
    _verify(graph, path, _float32_fault)
    if wanted["int8"]:
        quantize(path)
        _verify(graph, path, _int8_fault)


class _Graph(nn.Module):
    """The backbone as a function of a batch and all stacks."""

    def __init__(self, base: Base, stacks: Sequence[str]) -> None:
        super().__init__()
        self._context = SlotContext()
        # Only the "eager" attention traces into a graph that keeps its axes dynamic.
        model = load_model(base, torch.device("cpu"), dtype=torch.float32, attn_implementation="eager")
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        self._names = [name.partition(".")[::2] for name in stacks]  # part, layer
        self._slotted = {
            layer: slot_layer(model, layer, self._context)
            for layer in dict.fromkeys(layer for _, layer in self._names)
        }
        self._model = model
        self._types = takes_token_types(model)
        self._packs = takes_packed_rows(model, self._types)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Run a batch, which comes as BATCH_INPUTS, on the stacks, which follow it."""
        batch, stacks = BatchTensors(*inputs[: len(BATCH_INPUTS)]), inputs[len(BATCH_INPUTS) :]
        if self._packs:
            self._context.select(batch.slots, batch.places)
            given = packed_inputs(self._model, batch)
        else:
            self._context.select(batch.slots[:, 0])
            given = {"input_ids": batch.input_ids, "attention_mask": batch.mask}
        for slotted in self._slotted.values():
            slotted.parts = Parts()
        for (part, layer), stack in zip(self._names, stacks, strict=True):
            self._slotted[layer].parts = self._slotted[layer].parts._replace(**{part: stack})
        types = {"token_type_ids": batch.token_types} if self._types else {}
        hidden: Tensor = self._model(**given, **types).last_hidden_state
        return hidden

    def example(self, rows: int, tokens: int, slots: int, rank: int, places: int) -> tuple[Tensor, ...]:
        """Make inputs: right-padded rows of different lengths, in different slots, with small updates."""
        input_ids = torch.arange(rows * tokens).reshape(rows, tokens) % self._model.config.vocab_size
        lengths = tokens - torch.arange(rows) % tokens
        mask = (torch.arange(tokens) < lengths[:, None]).long()
        index = torch.arange(rows) % slots
        batch = BatchTensors(input_ids, mask, torch.zeros_like(input_ids), index).as_packed()
        if self._packs:  # each sequence has several slots, and each token one of them
            several = (index[:, None] + torch.arange(places)) % slots
            batch = batch._replace(slots=several, places=(mask.cumsum(1) - 1) % places * mask)
        stacks = [self._stack(part, layer, slots, rank) for part, layer in self._names]
        return (*batch.present(), *stacks)

    def _stack(self, part: str, layer: str, slots: int, rank: int) -> Tensor:
        weight = self._slotted[layer].weight
        assert weight is not None
        size = [slots, weight.shape[1] if part in ("a", "input_scale") else weight.shape[0]]
        if axis := RANK_AXIS.get(part):
            size.insert(axis, rank)
        values = torch.randn(size) * 0.02
        return values + 1 if part.endswith("scale") else values


def _export(graph: _Graph, stacks: Sequence[str], path: Path) -> None:
    axes: dict[str, dict[int, str]] = {name: {0: "rows", 1: "tokens"} for name in (*BATCH_INPUTS, HIDDEN)}
    axes["slots"] = {0: "rows", 1: "places"}
    for name in stacks:
        part, _, layer = name.partition(".")
        axes[name] = {0: "slots"} | ({RANK_AXIS[part]: f"rank_{layer}"} if part in RANK_AXIS else {})
    names = (*BATCH_INPUTS, *stacks)
    example = graph.example(rows=2, tokens=4, slots=3, rank=2, places=2)
    export_module(graph, dict(zip(names, example, strict=True)), [HIDDEN], axes, path)


@torch.inference_mode()
def _verify(graph: _Graph, path: Path, check: Any) -> None:
    """Compare with torch on untraced shapes, to detect a size that is fixed in the graph."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    stacks = [f"{part}.{layer}" for part, layer in graph._names]
    known = {meta.name for meta in session.get_inputs()}
    for rows, tokens, slots, rank, places in ((5, 9, 4, 3, 3), (1, 1, 2, 1, 1)):
        example = graph.example(rows, tokens, slots, rank, places)
        named = zip((*BATCH_INPUTS, *stacks), example, strict=True)
        feed = {name: tensor.numpy() for name, tensor in named if name in known}
        got = torch.from_numpy(session.run(None, feed)[0])
        if fault := check(graph(*example), got):
            raise EngineFailed(f"The exported graph {fault} on {rows} rows of {tokens} tokens.")


def _float32_fault(expected: Tensor, got: Tensor) -> str:
    off = (expected - got).abs().max().item()
    return "" if off <= _TOLERANCE else f"is off by {off:.1e}"


def _int8_fault(expected: Tensor, got: Tensor) -> str:
    cosine = torch.cosine_similarity(expected, got, dim=-1).min().item()
    return "" if cosine >= _INT8_COSINE else f"in int8 has a cosine of {cosine:.3f} to torch"


def _base(fields: Mapping[str, Any]) -> Base:
    return Base(**{**fields, "kind": BaseKind(fields["kind"]), "path": Path(fields["path"])})


if __name__ == "__main__":
    main()
