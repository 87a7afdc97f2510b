# ruff: noqa: TID253 - trains tiny models
"""A decoder is trained on scores of answers alone, and runs a shared prefix once, with the same gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from hub.api import HeadKind
from hub.recipe.recipe import Recipe
from hub.training.fit.answers_only import answers_only
from hub.training.fit.batches import collator
from hub.training.fit.model import add_adapter, load_base
from tests.support.tiny import tiny_decoder, tiny_encoder

RecipeMaker = Callable[..., Recipe]
NO = -100
PROMPT = [2, 9, 11, 14, 8]  # the first four are in all rows of BATCH, and the fourth predicts no label
BATCH = collator(0)(
    [
        {"input_ids": [*PROMPT, 21, 22, 3], "labels": [NO] * 5 + [21, 22, 3]},
        {"input_ids": [*PROMPT[:4], 31, 3], "labels": [NO] * 4 + [31, 3]},
        {"input_ids": [*PROMPT[:4], 12, 13, 41, 42, 43, 3], "labels": [NO] * 6 + [41, 42, 43, 3]},
    ]
)


def adapted(folder: Path, make_recipe: RecipeMaker, family: str = "llama") -> Any:
    base = tiny_decoder(folder, family)
    torch.manual_seed(0)
    recipe = make_recipe("task: translation\ndata: a.csv\n")
    model = add_adapter(load_base(base, HeadKind.GENERATE, 0, 0.0), recipe, HeadKind.GENERATE)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def learned(model: Any, batch: Mapping[str, torch.Tensor] = BATCH) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return found | {"loss": loss.detach()}


def widths(model: Any) -> tuple[list[tuple[int, ...]], list[int]]:
    """Record the shapes of token ids, and the rows of the output layer."""
    base, ids, scored = model.get_base_model(), [], []
    base.model.embed_tokens.register_forward_hook(lambda module, args, out: ids.append(tuple(args[0].shape)))
    base.lm_head.register_forward_hook(lambda module, args, out: scored.append(args[0].shape[0]))
    return ids, scored


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("chunk", [4, 128])
def test_losses_and_gradients_stay_as_they_are(
    tmp_path: Path,
    make_recipe: RecipeMaker,
    family: str,
    share: bool,
    chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub.training.fit.answers_only.CHUNK", chunk)
    model = adapted(tmp_path / "base", make_recipe, family)
    expected = learned(model)
    ids, scored = widths(model)
    with answers_only(model, BATCH, share=share) as active:
        ids.clear()
        scored.clear()
        found = learned(model)
    assert active
    assert ids == ([(1, 3), (3, 7)] if share else [(3, 10)])
    assert sum(scored) == 9  # labels
    assert max(scored) <= chunk
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    ids.clear()
    learned(model)
    assert ids == [(3, 10)]


def test_rows_without_a_common_start_run_whole(tmp_path: Path, make_recipe: RecipeMaker) -> None:
    model = adapted(tmp_path / "base", make_recipe)
    rows = [{"input_ids": [first, 9, 11, 3], "labels": [NO, NO, 11, 3]} for first in (5, 6)]
    other = collator(0)(rows)
    expected = learned(model, other)
    ids, _ = widths(model)
    with answers_only(model, BATCH, share=True):
        ids.clear()
        found = learned(model, other)
    assert ids == [(2, 4)]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_batch_without_labels_and_a_generation_are_left_alone(
    tmp_path: Path, make_recipe: RecipeMaker
) -> None:
    model = adapted(tmp_path / "base", make_recipe)
    inputs = {"input_ids": BATCH["input_ids"], "attention_mask": BATCH["attention_mask"]}
    before = model(**inputs).logits
    with answers_only(model, BATCH, share=True):
        after = model(**inputs).logits
        unlabelled = model(**inputs, labels=torch.full_like(inputs["input_ids"], NO))
    torch.testing.assert_close(after, before)
    assert unlabelled.logits.shape == before.shape


@pytest.mark.parametrize("change", ["scaled scores", "trained output layer"])
def test_other_output_layers_are_left_alone(
    tmp_path: Path, make_recipe: RecipeMaker, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = adapted(tmp_path / "base", make_recipe)
    base = model.get_base_model()
    if change == "scaled scores":
        plain = type(base).loss_function.fget(base)
        halved = property(lambda self: lambda logits, **others: plain(logits=logits / 2, **others))
        monkeypatch.setattr(type(base), "loss_function", halved)
    else:
        base.lm_head.weight.requires_grad_(True)
    with answers_only(model, BATCH, share=True) as active:
        assert not active
        assert "forward" not in vars(base)


def test_an_encoder_is_left_alone(tmp_path: Path, make_recipe: RecipeMaker) -> None:
    head = HeadKind.SEQUENCE
    base = load_base(tiny_encoder(tmp_path / "base"), head, 2, 0.0)
    model = add_adapter(base, make_recipe("task: sentiment\ndata: a.csv\n"), head)
    with answers_only(model, {}, share=True) as active:
        assert not active
