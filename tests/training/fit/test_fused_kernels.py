# ruff: noqa: TID253 - compares with PEFT
"""Fused LoRA layers give PEFT's own scores and gradients, and leave no trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from hub.api import HeadKind
from hub.engine.quiet import peft_quiet
from hub.training.fit.fused_kernels import fused
from tests.support.tiny import head_model, tiny_decoder, tiny_encoder

KINDS = [HeadKind.SEQUENCE, HeadKind.GENERATE]  # with biases, and without


def adapted(folder: Path, kind: HeadKind, **lora: object) -> PeftModel:
    base = tiny_decoder(folder) if kind is HeadKind.GENERATE else tiny_encoder(folder)
    settings = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear", "init_lora_weights": False} | lora
    with peft_quiet():
        torch.manual_seed(0)
        return get_peft_model(head_model(base, kind, 3), LoraConfig(**settings)).double().eval()


def scores_and_gradients(model: PeftModel) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    ids = torch.tensor([[2, 9, 11, 3], [2, 14, 3, 0]])
    model.zero_grad()
    scores = model(input_ids=ids, attention_mask=(ids > 0).long()).logits
    scores.square().sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return scores.detach(), found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rslora", [False, True])
def test_scores_and_gradients_are_those_of_peft(tmp_path: Path, kind: HeadKind, rslora: bool) -> None:
    model = adapted(tmp_path / "base", kind, use_rslora=rslora)
    scores, gradients = scores_and_gradients(model)
    with fused(model):
        fused_scores, fused_gradients = scores_and_gradients(model)
    torch.testing.assert_close(fused_scores, scores, rtol=1e-10, atol=1e-10)
    assert fused_gradients.keys() == gradients.keys()
    assert any(".lora_A." in name for name in gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(fused_gradients[name], gradient, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("kind", "targets"),
    [(kind, "all-linear") for kind in KINDS] + [(HeadKind.SEQUENCE, ["query"])],  # the others are frozen
)
def test_in_bf16_they_are_as_close_to_fp32_as_autocast_is(
    tmp_path: Path, kind: HeadKind, targets: str | list[str]
) -> None:
    model = adapted(tmp_path / "base", kind, target_modules=targets).float()
    exact, exact_gradients = scores_and_gradients(model)
    with torch.autocast("cpu", torch.bfloat16):
        plain, plain_gradients = scores_and_gradients(model)
        with fused(model, torch.bfloat16):
            ours, our_gradients = scores_and_gradients(model)

    def off(scores: torch.Tensor, reference: torch.Tensor) -> float:
        return float((scores.float() - reference).norm() / reference.norm())

    assert 0 < off(ours, exact) <= 1.5 * off(plain, exact) + 0.01
    assert our_gradients.keys() == exact_gradients.keys()
    for name, gradient in our_gradients.items():
        assert gradient.dtype is torch.float32
        assert (
            off(gradient, exact_gradients[name])
            <= 1.5 * off(plain_gradients[name], exact_gradients[name]) + 0.05
        )


def test_layers_are_replaced_inside_the_block_alone(tmp_path: Path) -> None:
    model = adapted(tmp_path / "base", HeadKind.SEQUENCE)
    with fused(model):
        inside = sum("forward" in vars(module) for module in model.modules())
    assert inside == 2 * 6 + 1 + 1  # two layers of six, the pooler, the classifier
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("lora", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}])
def test_layers_that_compute_something_else_are_left_alone(tmp_path: Path, lora: dict[str, object]) -> None:
    model = adapted(tmp_path / "base", HeadKind.SEQUENCE, **lora)
    with fused(model):
        assert not any("forward" in vars(module) for module in model.modules())


def test_a_decoder_generates_while_its_frozen_layers_are_narrow(tmp_path: Path) -> None:
    """Checkpoints of a translation are chosen by what it generates, which runs without autocast."""
    model = adapted(tmp_path / "base", HeadKind.GENERATE).float()
    ids = torch.tensor([[2, 9, 11]])
    with torch.no_grad(), fused(model, torch.bfloat16):
        found = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, do_sample=False
        )
    assert found.shape[1] > ids.shape[1]
