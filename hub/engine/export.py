# ruff: noqa: TID253 - runs in a process of its own
"""Exports a backbone to ONNX with the LoRA stacks and the slot index as graph inputs.

`python -m hub.engine.export` reads an order from stdin: the exporter takes seconds, needs a copy of the
base, and changes settings that every thread of its process sees, so a server has it done elsewhere.
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
from hub.engine.loading import load_model, takes_token_types
from hub.engine.lora import SlotContext, Stack, slot_linear
from hub.errors import EngineFailed

__all__ = ["BATCH_INPUTS", "HIDDEN", "POOLED", "REVISION", "main", "order", "stack_inputs"]

REVISION = 1  # raise it when the exported graph changes
BATCH_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "slots")
HIDDEN, POOLED = "last_hidden_state", "pooler_output"

_OPSET = 18
_TOLERANCE = 1e-4  # of hidden states, which layer norms keep near 1


def stack_inputs(layers: Sequence[str]) -> list[str]:
    """Name the graph inputs of the layers' stacks: an `a.` and a `b.` for each, in order."""
    return [f"{side}.{layer}" for layer in layers for side in "ab"]


def order(base: Base, layers: Sequence[str], path: Path) -> str:
    """Return what `main` reads: export `base` with `layers` slotted to `path`."""
    return json.dumps({"base": asdict(base), "layers": list(layers), "path": str(path)}, default=str)


def main() -> None:
    """Carry out the order on stdin; fail if the file would not compute what torch does."""
    wanted = json.load(sys.stdin)
    path, layers = Path(wanted["path"]), tuple(wanted["layers"])
    if hasattr(os, "nice"):
        os.nice(5)
    torch.manual_seed(0)
    graph = _Graph(_base(wanted["base"]), layers).eval()
    _export(graph, layers, path)
    _verify(graph, layers, path)


class _Graph(nn.Module):
    """The backbone as a function of a batch and all stacks."""

    def __init__(self, base: Base, layers: Sequence[str]) -> None:
        super().__init__()
        self._context = SlotContext()
        # Only the "eager" attention traces into a graph that keeps its axes dynamic.
        model = load_model(base, torch.device("cpu"), dtype=torch.float32, attn_implementation="eager")
        nothing = Stack(torch.empty(0), torch.empty(0))
        self._slotted = [slot_linear(model, layer, self._context, nothing) for layer in layers]
        self._model = model

    def forward(
        self, input_ids: Tensor, mask: Tensor, token_types: Tensor, slots: Tensor, *stacks: Tensor
    ) -> tuple[Tensor, ...]:
        self._context.slots = slots
        for layer, a, b in zip(self._slotted, stacks[::2], stacks[1::2], strict=True):
            layer.stack = Stack(a, b)
        types = {"token_type_ids": token_types} if takes_token_types(self._model) else {}
        output = self._model(input_ids=input_ids, attention_mask=mask, **types)
        pooled = output.get("pooler_output")
        return (output.last_hidden_state,) if pooled is None else (output.last_hidden_state, pooled)

    def example(self, rows: int, tokens: int, slots: int, rank: int) -> tuple[Tensor, ...]:
        """Make inputs: right-padded rows of different lengths, in different slots, with small updates."""
        input_ids = torch.arange(rows * tokens).reshape(rows, tokens) % self._model.config.vocab_size
        lengths = tokens - torch.arange(rows) % tokens
        mask = (torch.arange(tokens) < lengths[:, None]).long()
        index = torch.arange(rows) % slots
        stacks = [
            torch.randn(shape) * 0.02
            for layer in self._slotted
            for shape in ((slots, layer.in_features, rank), (slots, layer.out_features, rank))
        ]
        return (input_ids, mask, torch.zeros_like(input_ids), index, *stacks)


def _export(graph: _Graph, layers: Sequence[str], path: Path) -> None:
    stacks = stack_inputs(layers)
    axes: dict[str, dict[int, str]] = {name: {0: "rows", 1: "tokens"} for name in (*BATCH_INPUTS[:3], HIDDEN)}
    axes |= {"slots": {0: "rows"}, POOLED: {0: "rows"}}
    axes |= {name: {0: "slots", 2: f"rank_{name[2:]}"} for name in stacks}
    example = graph.example(rows=2, tokens=4, slots=3, rank=2)
    outputs = [HIDDEN, POOLED][: len(graph(*example))]
    torch.onnx.export(
        graph,
        example,
        path,
        input_names=[*BATCH_INPUTS, *stacks],
        output_names=outputs,
        dynamic_axes={name: axis for name, axis in axes.items() if name != POOLED or POOLED in outputs},
        opset_version=_OPSET,
        dynamo=False,
    )


@torch.inference_mode()
def _verify(graph: _Graph, layers: Sequence[str], path: Path) -> None:
    """Compare with torch on shapes that were not traced, so that a size baked into the graph shows."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [*BATCH_INPUTS, *stack_inputs(layers)]
    known = {meta.name for meta in session.get_inputs()}
    for rows, tokens, slots, rank in ((5, 9, 4, 3), (1, 1, 2, 1)):
        example = graph.example(rows, tokens, slots, rank)
        feed = {name: t.numpy() for name, t in zip(names, example, strict=True) if name in known}
        for expected, got in zip(graph(*example), session.run(None, feed), strict=True):
            off = (expected - torch.from_numpy(got)).abs().max().item()
            if not off <= _TOLERANCE:
                raise EngineFailed(
                    f"The exported graph is off by {off:.1e} on {rows} rows of {tokens} tokens."
                )


def _base(fields: Mapping[str, Any]) -> Base:
    return Base(**{**fields, "kind": BaseKind(fields["kind"]), "path": Path(fields["path"])})


if __name__ == "__main__":
    main()
