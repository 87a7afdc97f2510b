# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""For heads that read only the first token: the last layer skips all other tokens after attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hub.training.fit.activation_cache import layers

__all__ = ["first_token"]

SAME = 1e-5  # largest difference of a score
# What follows attention in a layer, by family: BERT, RoBERTa, ELECTRA, DeBERTa; DistilBERT.
_AFTER_ATTENTION = ("attention.output", "sa_layer_norm")


@contextmanager
def first_token(model: Any, probe: Mapping[str, Tensor]) -> Iterator[bool]:
    """Compute only the first token behind the last layer's attention while the block runs.

    Yields whether it does so: the family has to be known, and the scores of `probe`, a batch with several
    tokens a row, have to stay as they are.
    """
    module = _tail(model)
    before = _scores(model, probe) if module else None
    if module is None or before is None:
        yield False
        return
    hook = module.register_forward_pre_hook(_first, with_kwargs=True)
    try:
        after = _scores(model, probe)
        same = after is not None and torch.allclose(before, after, atol=SAME, rtol=SAME)
        if not same:
            hook.remove()
        yield same
    finally:
        hook.remove()


def _tail(model: Any) -> nn.Module | None:
    found = layers(model)
    inside = dict(found[-1].named_modules()) if found else {}
    return next((inside[name] for name in _AFTER_ATTENTION if name in inside), None)


def _first(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    return tuple(map(_cut, args)), {name: _cut(value) for name, value in kwargs.items()}


def _cut(value: Any) -> Any:
    """Leave the first token of states [B, T, H]."""
    return value[:, :1] if isinstance(value, Tensor) and value.ndim == 3 else value


def _scores(model: Any, probe: Mapping[str, Tensor]) -> Tensor | None:
    """Return the scores [B, C] of a batch; None where a head gives any others."""
    inputs = {
        name: probe[name].to(model.device)
        for name in ("input_ids", "attention_mask", "token_type_ids")
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
