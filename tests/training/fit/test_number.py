"""The scale of numbers moves into the head's weights without a change of its output."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch  # noqa: TID253
from torch.nn import functional  # noqa: TID253

from hub.api import HeadKind, TargetKind
from hub.engine.peft.model import load_adapted
from hub.recipe.recipe import Recipe
from hub.store.manifest import NumberScale
from hub.training.fit.model import add_adapter, load_base, round_weights, save_adapter
from hub.training.fit.number import NumberHead, NumberLoss, OrdinalLoss
from tests.support.tiny_bases import ENCODERS, tiny_encoder

IDS = torch.tensor([[2, 5, 6, 3, 7, 8, 3], [2, 9, 8, 7, 6, 5, 3]])
YEARS = NumberScale(kind=TargetKind.NUMBER, center=1987.3, spread=12.5)
STARS = NumberScale(kind=TargetKind.ORDINAL, center=3.0, spread=1.4, levels=(1.0, 2.0, 3.0, 5.0))


@pytest.mark.parametrize("family", sorted(ENCODERS))
def test_the_stored_head_gives_the_numbers_of_the_training_model(family: str, tmp_path: Path) -> None:
    base = tiny_encoder(tmp_path / "base", family)
    recipe = Recipe.model_validate({"task": "year", "data": "unused.json"})
    model = add_adapter(load_base(base, HeadKind.SEQUENCE, 1), recipe, HeadKind.SEQUENCE).eval()
    with torch.inference_mode():
        bare = model(input_ids=IDS).logits
        head = NumberHead.of(model, YEARS)
        assert head is not None
        trained = model(input_ids=IDS).logits
        assert trained == pytest.approx(bare * 12.5 + 1987.3)
        head.fold()
        assert model(input_ids=IDS).logits == pytest.approx(trained, abs=1e-3)
        round_weights(model, torch.float16, whole_head=True)
        rounded = model(input_ids=IDS).logits
        save_adapter(model, tmp_path / "adapter", torch.float16, whole_head=True)
        stored = load_adapted(tmp_path / "adapter", base, HeadKind.SEQUENCE, 1, "cpu")
        assert torch.equal(stored(input_ids=IDS).logits, rounded)
        assert rounded == pytest.approx(trained, abs=0.02)  # fp16 alone has steps of 1 at 1987


def test_losses_are_of_standardized_numbers() -> None:
    numbers, targets = torch.tensor([1987.3, 2012.3]), torch.tensor([1999.8, 2012.3])
    squared = NumberLoss(head=HeadKind.SEQUENCE, scale=YEARS)._of_numbers(numbers, targets)
    assert squared == pytest.approx(0.5)  # one is off by a standard deviation
    huber = NumberLoss(head=HeadKind.SEQUENCE, scale=YEARS, huber=True)
    far = huber._of_numbers(torch.tensor([1987.3]), torch.tensor([1987.3 + 10 * 12.5]))
    assert far == pytest.approx(9.5)


def test_the_ordinal_loss_is_least_near_the_true_level_and_grows_with_distance() -> None:
    loss = OrdinalLoss(head=HeadKind.SEQUENCE, scale=STARS)
    losses = [float(loss._of_numbers(torch.tensor([at]), torch.tensor([2.0]))) for at in (5.0, 3.0, 2.0, 1.0)]
    assert losses[0] > losses[1] > losses[2] < losses[3]
    # Thresholds at 1.5, 2.5 and 4, half the mean distance of levels (4 / 3) is one logit.
    expected = sum(functional.softplus(torch.tensor(-away / (2 / 3))) for away in (0.5, 0.5, 2.0))
    assert losses[2] == pytest.approx(float(expected))
