# ruff: noqa: TID253 - tests of the torch backbone
from __future__ import annotations

import pytest
import torch
from torch import nn

from hub.engine.torch.slotted import MIN_IN_PLACE, SlotContext, SlotLinear
from hub.engine.torch.stacks import Parts

SLOTS = torch.tensor([2, 0, 2, 1, 2])


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("width", [8, int(MIN_IN_PLACE**0.5)], ids=["copied", "in place"])
def test_each_row_is_mapped_by_the_own_weight_of_its_slot(width: int, has_bias: bool, tokens: int) -> None:
    chance = torch.Generator().manual_seed(0)
    weight = torch.randn(4, width, width, generator=chance)
    bias = torch.randn(4, width, generator=chance) if has_bias else None
    x = torch.randn(len(SLOTS), tokens, width, generator=chance)
    context = SlotContext()
    context.slots = SLOTS
    layer = SlotLinear(nn.Linear(width, width, bias=has_bias), context, own=False)
    layer.parts = Parts(weight=weight, bias=bias)

    y = layer(x)

    for row, slot in enumerate(SLOTS.tolist()):
        expected = nn.functional.linear(x[row], weight[slot], None if bias is None else bias[slot])
        torch.testing.assert_close(y[row], expected, rtol=1e-4, atol=1e-4)
