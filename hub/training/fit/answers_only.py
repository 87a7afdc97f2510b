# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Optimization for decoders: scores only for answer tokens, and one pass over a prefix shared by all rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import CausalLMOutputWithPast

from hub.evaluation.logits import IGNORED

__all__ = ["answers_only"]

CHUNK = 128  # positions whose scores [CHUNK, V] are in memory at a time
TOLERANCE = 1e-4  # of the loss


@contextmanager
def answers_only(model: PeftModel, probe: Mapping[str, Tensor], *, share: bool) -> Iterator[bool]:
    """Compute the loss of a decoder from the positions that predict a label, within the block.

    The output layer, with its large vocabulary, skips prompts and padding. With `share`, the tokens all
    rows of a batch start with (system prompt, instruction) run once, and the others attend to their keys and
    values. Loss and gradients are those of whole rows.

    Yields whether this is active: the output layer must be linear and frozen, and the loss of `probe`, a
    batch of several rows, must not change (some families scale or cap scores). Rows share a prefix only if
    those in `probe` do, so that this is checked as well.
    """
    base = model.get_base_model()
    before = _loss(model, probe) if _is_plain_decoder(base) else None
    if before is None:
        yield False
        return
    share = share and _prefix(probe["input_ids"], probe["attention_mask"], probe["labels"]) > 0
    base.forward = partial(_forward, base, base.forward, share)
    try:
        after = _loss(model, probe)
        same = after is not None and torch.allclose(before, after, atol=TOLERANCE, rtol=TOLERANCE)
        if not same:
            del base.forward
        yield same
    finally:
        vars(base).pop("forward", None)  # restores the method of the class


def _is_plain_decoder(base: Any) -> bool:
    head = base.get_output_embeddings()
    return (
        type(head) is nn.Linear
        and not base.config.is_encoder_decoder
        and not any(parameter.requires_grad for parameter in head.parameters())
    )


def _loss(model: PeftModel, probe: Mapping[str, Tensor]) -> Tensor | None:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            loss = model(**{name: tensor.to(model.device) for name, tensor in probe.items()}).loss
    finally:
        model.train(training)
    return loss if isinstance(loss, Tensor) else None


def _forward(
    base: Any,
    whole: Any,
    share: bool,
    input_ids: Tensor,
    attention_mask: Tensor,
    labels: Tensor | None = None,
    **others: Any,
) -> Any:
    answers = None if labels is None else labels[:, 1:] != IGNORED
    if labels is None or answers is None or not answers.any() or any(map(_given, others.values())):
        return whole(input_ids=input_ids, attention_mask=attention_mask, labels=labels, **others)
    backbone = getattr(base, base.base_model_prefix)
    prefix = _prefix(input_ids, attention_mask, labels) if share and len(input_ids) > 1 else 0
    past = None
    if prefix:
        past = backbone(input_ids=input_ids[:1, :prefix], use_cache=True).past_key_values
        past.batch_repeat_interleave(len(input_ids))
    hidden = backbone(
        input_ids=input_ids[:, prefix:],
        attention_mask=attention_mask,
        past_key_values=past,
        use_cache=past is not None,
    ).last_hidden_state  # [B, T - prefix, H]
    chosen = hidden[:, :-1][answers[:, prefix:]]  # [N, H]
    return CausalLMOutputWithPast(
        loss=_cross_entropy(base.get_output_embeddings(), chosen, labels[:, 1:][answers])
    )


def _given(value: Any) -> bool:
    return value is not None


def _prefix(ids: Tensor, mask: Tensor, labels: Tensor) -> int:
    """Return the number of first tokens that are equal in all rows and predict no label."""
    equal = (ids == ids[:1]) & mask.bool() & (labels == IGNORED)  # [B, T]
    common = int(equal.all(dim=0).long().cumprod(dim=0).sum())
    return max(0, common - 1)  # the last of them may predict the first label


def _cross_entropy(head: nn.Module, hidden: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of positions [N, H] with labels [N].

    The gradient of each chunk is computed at once, so that its scores need not be kept for the backward pass.
    """
    total = torch.zeros((), device=hidden.device)
    grads: list[Tensor] = []
    for states, true in zip(torch.split(hidden.detach(), CHUNK), torch.split(labels, CHUNK), strict=True):
        states.requires_grad_(hidden.requires_grad)
        loss = functional.cross_entropy(head(states).float(), true, reduction="sum") / len(labels)
        if hidden.requires_grad:
            grads.extend(torch.autograd.grad(loss, states))
        total += loss.detach()
    if not grads:
        return total
    known: Tensor = _Known.apply(hidden, torch.cat(grads), total)  # type: ignore[no-untyped-call]
    return known


class _Known(torch.autograd.Function):
    """A loss of `hidden` whose gradient is already computed."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, grad: Tensor, loss: Tensor) -> Tensor:
        ctx.save_for_backward(grad)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (known,) = ctx.saved_tensors
        return known * grad, None, None
