# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""LoRA layers as one function, with PEFT's results in fewer passes, and the attention of short rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from peft.tuners import lora
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["fused", "short_attention"]

MAX_SHORT_TOKENS = 96  # mean tokens per row; measured on a CPU in bf16


@contextmanager
def short_attention(model: PeftModel, dtype: torch.dtype | None, lengths: Sequence[int]) -> Iterator[None]:
    """Use eager attention for short rows in bf16 on a CPU: its gradients are faster than those of SDPA."""
    base = model.get_base_model()
    faster = dtype and base.device.type == "cpu" and sum(lengths) <= MAX_SHORT_TOKENS * len(lengths)
    if not faster or base.config._attn_implementation != "sdpa":  # private in transformers 5.23
        yield
        return
    base.set_attn_implementation("eager")
    try:
        yield
    finally:
        base.set_attn_implementation("sdpa")


@contextmanager
def fused(model: PeftModel, dtype: torch.dtype | None = None) -> Iterator[None]:
    """Run plain LoRA layers without dropout as one fused function each, within the block.

    On a CPU, PEFT's separate scaling and addition each read and write a whole [N, out] array, forward and
    backward; here they are part of the matrix products. With `dtype`, the products of these and other frozen
    linear layers use it as under autocast, but frozen weights are converted only once.
    """
    layers = [module for module in model.modules() if _is_plain(module)]
    for layer in layers:
        weight, bias = layer.base_layer.weight.detach(), layer.base_layer.bias
        bias = None if bias is None else bias.detach().to(dtype or bias.dtype)
        layer.forward = partial(_forward, layer, weight.to(dtype or weight.dtype), bias)
    others = [module for module in model.modules() if dtype and _is_frozen(module)]
    inside = {id(layer.base_layer) for layer in layers}
    others = [layer for layer in others if id(layer) not in inside]
    for layer in others:
        bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        layer.forward = partial(_linear, layer.weight.detach().to(dtype), bias)
    try:
        yield
    finally:
        for layer in (*layers, *others):
            del layer.forward  # restores the method of the class


def _is_plain(module: Any) -> bool:
    if type(module) is not lora.Linear or len(module.active_adapters) != 1 or module.merged:
        return False
    name = module.active_adapters[0]
    return (
        type(module.base_layer) is nn.Linear
        and not module.base_layer.weight.requires_grad
        and not (module.base_layer.bias is not None and module.base_layer.bias.requires_grad)
        and isinstance(module.lora_dropout[name], nn.Identity)
        and not module.use_dora.get(name)
        and not module.lora_bias.get(name)
    )


def _is_frozen(module: Any) -> bool:
    return type(module) is nn.Linear and not any(p.requires_grad for p in module.parameters())


def _linear(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """Compute in the weight's dtype; without autocast (generation) return the dtype of `x`."""
    y = functional.linear(x.to(weight.dtype), weight, bias)
    return y if torch.is_autocast_enabled(x.device.type) else y.to(x.dtype)


def _forward(layer: Any, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    name = layer.active_adapters[0]
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    result: Tensor = _Lora.apply(x, weight, bias, a, b, layer.scaling[name])  # type: ignore[no-untyped-call]
    return result


class _Lora(torch.autograd.Function):
    """y = x W' + bias + s (x A') B' in the dtype of W, which is frozen like the bias."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        ctx.dtypes = x.dtype, a.dtype
        ctx.shape, ctx.scale = x.shape, scale
        with torch.autocast(x.device.type, enabled=False):
            rows = x.reshape(-1, x.shape[-1]).to(weight.dtype)  # [N, in]
            a, b = a.to(weight.dtype), b.to(weight.dtype)
            low = rows @ a.T  # [N, r]
            result = rows @ weight.T if bias is None else torch.addmm(bias, rows, weight.T)  # [N, out]
            result.addmm_(low, b.T, alpha=scale)
        ctx.save_for_backward(rows, low, weight, a, b)
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, a, b = ctx.saved_tensors
        of_x, of_lora = ctx.dtypes
        grad = grad.reshape(-1, grad.shape[-1]).to(weight.dtype)  # [N, out]
        grad_low = (grad @ b).mul_(ctx.scale)  # [N, r]
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.mm(grad, weight).addmm_(grad_low, a).view(ctx.shape).to(of_x)
        grad_a, grad_b = (grad_low.T @ rows).to(of_lora), (grad.T @ low).to(of_lora)
        return grad_x, None, None, grad_a, grad_b.mul_(ctx.scale), None
