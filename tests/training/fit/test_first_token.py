# ruff: noqa: TID253 - trains tiny models
"""Behind the last attention only the first token is computed, and nothing that is learned differs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hub.api import HeadKind
from hub.recipe.recipe import Recipe
from hub.training.fit.batches import collator
from hub.training.fit.first_token import first_token
from hub.training.fit.methods import layers_of
from hub.training.fit.model import add_adapter, load_base
from tests.support.tiny import tiny_decoder, tiny_encoder

RecipeMaker = Callable[..., Recipe]
BATCH = collator(1)(
    [{"input_ids": [2, 9, 11, 14, 3], "labels": 0}, {"input_ids": [2, 9, 3], "labels": 1}],
)


def adapted(folder: Path, make_recipe: RecipeMaker, head: HeadKind, family: str = "bert"):
    base = tiny_decoder(folder) if family == "llama" else tiny_encoder(folder, family)
    torch.manual_seed(0)
    model = add_adapter(load_base(base, head, 3, 0.0), make_recipe("task: sentiment\ndata: a.csv\n"), head)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def learned(model) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss = model(**BATCH).loss
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return found | {"loss": loss.detach()}


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "deberta-v2"])
def test_losses_and_gradients_stay_as_they_are(tmp_path: Path, make_recipe: RecipeMaker, family: str) -> None:
    model = adapted(tmp_path / "base", make_recipe, HeadKind.SEQUENCE, family)
    expected, width = learned(model), []
    hook = layers_of(model.get_base_model())[1][-1].register_forward_hook(
        lambda module, args, output: width.append((output if family != "deberta-v2" else output[0]).shape[1])
    )
    with first_token(model, BATCH) as narrow:
        width.clear()
        found = learned(model)
    assert narrow
    assert width == [1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    learned(model)
    assert width == [1, 5]
    hook.remove()


@pytest.mark.parametrize(
    ("head", "family"),
    [(HeadKind.TOKEN, "bert"), (HeadKind.SPAN, "bert"), (HeadKind.SEQUENCE, "modernbert")],
)
def test_other_heads_and_families_are_left_alone(
    tmp_path: Path, make_recipe: RecipeMaker, head: HeadKind, family: str
) -> None:
    model = adapted(tmp_path / "base", make_recipe, head, family)
    inputs = {"input_ids": BATCH["input_ids"], "attention_mask": BATCH["attention_mask"]}
    before = model(**inputs)
    with first_token(model, BATCH) as narrow:
        after = model(**inputs)
    assert not narrow
    for name in before:
        torch.testing.assert_close(after[name], before[name])
