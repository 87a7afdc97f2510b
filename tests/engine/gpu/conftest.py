# ruff: noqa: TID253 - needs CUDA
"""The device of the tests marked `gpu`: CUDA, or what `--gpu-device` names."""

from __future__ import annotations

import pytest
import torch

from hub.engine.build import build_engine


@pytest.fixture(autouse=True)  # so that a test is skipped before anything is made for it
def device(request: pytest.FixtureRequest) -> torch.device:
    device = torch.device(request.config.getoption("--gpu-device"))
    if device.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA here")
    return device


@pytest.fixture
def on_gpu(device, graphs):
    """Build engines on the device, and close them when the test is over."""
    engines = []

    def make(base, kind="torch", slots=8, **settings):
        engines.append(
            build_engine(base, kind=kind, slots=slots, device=str(device), cache=graphs, **settings)
        )
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
