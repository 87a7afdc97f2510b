# ruff: noqa: TID253 - logits are tensors
"""The choice of one token."""

from __future__ import annotations

import pytest
import torch

from hub.api import Sampling
from hub.engine.generate.sampling import BaseRules, Chooser


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-38, 1e-45, 5e-324])
@pytest.mark.parametrize("filters", [{}, {"top_p": 0.9, "min_p": 0.1, "top_k": 5}])
def test_the_coldest_temperatures_choose_the_likeliest_token(temperature, filters) -> None:
    logits = 8 * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    logits[3] = -torch.inf
    sampling = Sampling(temperature=temperature, seed=1, **filters)
    chooser = Chooser(sampling, BaseRules(1.0, ()), [1, 2], torch.device("cpu"))
    assert chooser.choose(logits) == int(logits.argmax())
