# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Optimization for heads that read only the first token: the last layer drops the others after attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hub.training.fit.methods import layers_of

__all__ = ["first_token"]

TOLERANCE = 1e-5  # of a score
# The module after attention in a layer, by family: BERT, RoBERTa, ELECTRA, DeBERTa; DistilBERT.
_AFTER_ATTENTION = ("attention.output", "sa_layer_norm")


@contextmanager
def first_token(model: Any, probe: Mapping[str, Tensor]) -> Iterator[bool]:
    """Compute only the first token after the last layer's attention, within the block.

    Yields whether this is active: the family must be known, and the scores of `probe`, a batch with several
    tokens per row, must not change.
    """
    module = _tail(model)
    before = _scores(model, probe) if module else None
    if module is None or before is None:
        yield False
        return
    hook = module.register_forward_pre_hook(_first, with_kwargs=True)
    try:
        after = _scores(model, probe)
        same = after is not None and torch.allclose(before, after, atol=TOLERANCE, rtol=TOLERANCE)
        if not same:
            hook.remove()
        yield same
    finally:
        hook.remove()


def _tail(model: Any) -> nn.Module | None:
    _, found = layers_of(model.get_base_model())
    inside = dict(found[-1].named_modules()) if found else {}
    return next((inside[name] for name in _AFTER_ATTENTION if name in inside), None)


def _first(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    return tuple(map(_cut, args)), {name: _cut(value) for name, value in kwargs.items()}


def _cut(value: Any) -> Any:
    return value[:, :1] if isinstance(value, Tensor) and value.ndim == 3 else value


def _scores(model: Any, probe: Mapping[str, Tensor]) -> Tensor | None:
    """Return the scores [B, C] of a batch; None for scores of another shape."""
    inputs = {
        name: probe[name].to(model.device)
        for name in ("input_ids", "attention_mask", "token_type_ids", "pixel_values")
        if name in probe
    }
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            scores = model(**inputs).get("logits")
    finally:
        model.train(training)
    return scores if isinstance(scores, Tensor) and scores.ndim == 2 else None
