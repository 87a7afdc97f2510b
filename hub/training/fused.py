# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""LoRA layers as one function: the same numbers as PEFT's, in fewer passes over the activations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from peft.tuners import lora
from torch import Tensor, nn

__all__ = ["fused"]


@contextmanager
def fused(model: PeftModel) -> Iterator[None]:
    """Run plain LoRA layers without dropout as one function each while the block runs.

    On a CPU, PEFT's separate scaling and addition, forward and backward, each read and write a whole
    [N, out] array; here they happen inside the matrix products.
    """
    layers = [module for module in model.modules() if _is_plain(module)]
    for layer in layers:
        layer.forward = partial(_forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # what the class has comes back


def _is_plain(module: Any) -> bool:
    if type(module) is not lora.Linear or len(module.active_adapters) != 1 or module.merged:
        return False
    name = module.active_adapters[0]
    return (
        type(module.base_layer) is nn.Linear
        and isinstance(module.lora_dropout[name], nn.Identity)
        and not module.use_dora.get(name)
        and not module.lora_bias.get(name)
    )


def _forward(layer: Any, x: Tensor) -> Tensor:
    name, base = layer.active_adapters[0], layer.base_layer
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    result: Tensor = _Lora.apply(  # type: ignore[no-untyped-call]
        x, base.weight, base.bias, a, b, layer.scaling[name]
    )
    return result


class _Lora(torch.autograd.Function):
    """y = x W' + bias + s (x A') B', with gradients for x, A and B; W and the bias are frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])  # [N, in]
        low = rows @ a.T  # [N, r]
        result = rows @ weight.T if bias is None else torch.addmm(bias, rows, weight.T)  # [N, out]
        result.addmm_(low, b.T, alpha=scale)
        ctx.save_for_backward(rows, low, weight, a, b)
        ctx.shape, ctx.scale = x.shape, scale
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, a, b = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])  # [N, out]
        grad_low = (grad @ b).mul_(ctx.scale)  # [N, r]
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.mm(grad, weight).addmm_(grad_low, a).view(ctx.shape)
        return grad_x, None, None, grad_low.T @ rows, (grad.T @ low).mul_(ctx.scale), None
