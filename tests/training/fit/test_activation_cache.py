# ruff: noqa: TID253 - trains tiny models
"""Layers below what is trained run once for a row, and what is learned is the same as without."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hub.api import HeadKind
from hub.bases.base import Base
from hub.recipe.recipe import Recipe
from hub.training.fit.activation_cache import (
    CHOOSING,
    TRAINED,
    Activations,
    Room,
    Stock,
    cached,
    fixed_layers,
)
from hub.training.fit.batches import collator
from hub.training.fit.model import add_adapter, load_base
from tests.support.tiny import tiny_encoder

RECIPE = "task: sentiment\ndata: a.csv\n"
RecipeMaker = Callable[..., Recipe]
ROWS = [{"input_ids": [5, 6, 7, 8][: 2 + n % 3], "labels": n % 2} for n in range(8)]
LENGTHS = [len(row["input_ids"]) for row in ROWS]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return tiny_encoder(tmp_path_factory.mktemp("tiny") / "encoder")


def model_of(base: Base, make_recipe: RecipeMaker, *overrides: str):
    torch.manual_seed(0)
    model = add_adapter(
        load_base(base, HeadKind.SEQUENCE, 2, 0.0), make_recipe(RECIPE, *overrides), HeadKind.SEQUENCE
    )
    return model.train()


def losses(model, activations: Activations | None, steps: int = 6) -> list[float]:
    """Four of eight rows a step, so that those from the third on are all known."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    found = []

    def step(number: int, told) -> None:
        rows = torch.tensor([(number * 4 + n) % len(ROWS) for n in range(4)])
        told(rows, TRAINED)
        loss = model(**collator(0)([ROWS[row] for row in rows])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())

    if activations is None:
        for number in range(steps):
            step(number, lambda rows, use: None)
        return found
    with cached(model, {TRAINED: activations}) as told:
        for number in range(steps):
            step(number, told)
    return found


@pytest.mark.parametrize("method", ["lora", "bitfit", "full"])
def test_the_losses_are_those_without_the_cache(
    base: Base, make_recipe: RecipeMaker, tmp_path: Path, method: str
) -> None:
    overrides = (f"method.type={method}", "method.freeze=1")
    kept = Activations(LENGTHS, 1, torch.float32, Room(1 << 20, 0), tmp_path)
    fast = losses(model_of(base, make_recipe, *overrides), kept)
    slow = losses(model_of(base, make_recipe, *overrides), None)
    assert fast == pytest.approx(slow, abs=1e-5)
    assert kept.use.layers == 1


@pytest.mark.parametrize("family", ["roberta", "distilbert", "electra", "deberta-v2", "modernbert"])
def test_other_families_too(make_recipe: RecipeMaker, tmp_path: Path, family: str) -> None:
    other = tiny_encoder(tmp_path / "base", family)
    model = model_of(other, make_recipe, "method.freeze=1")
    assert fixed_layers(model, collator(0)(ROWS[:1])) == 1
    kept = Activations(LENGTHS, 1, torch.float32, Room(1 << 20, 0), tmp_path)
    slow = losses(model_of(other, make_recipe, "method.freeze=1"), None)
    assert losses(model, kept) == pytest.approx(slow, abs=1e-5)
    assert kept.use.layers == 1


def test_fixed_layers_run_once_for_a_row(base: Base, make_recipe: RecipeMaker, tmp_path: Path) -> None:
    model, ran = model_of(base, make_recipe, "method.freeze=1"), []
    below = model.get_base_model().bert.encoder.layer[0].attention
    below.register_forward_hook(lambda *seen: ran.append(1))
    losses(model, Activations(LENGTHS, 1, torch.float32, Room(1 << 20, 0), tmp_path), steps=10)
    assert len(ran) == 2  # eight rows, four in a batch


def test_rows_are_known_by_their_use(base: Base, make_recipe: RecipeMaker, tmp_path: Path) -> None:
    model, stock = model_of(base, make_recipe, "method.freeze=1").eval(), Stock(tmp_path, Room(1 << 20, 0))
    kept = {use: stock.of(use, [4, 4], 1, torch.float32) for use in (TRAINED, CHOOSING)}
    inputs, others = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[8, 7, 6, 5]])
    plain = [model(rows).logits for rows in (inputs, others)]
    with torch.no_grad(), cached(model, kept) as told:
        for _ in range(2):
            told(torch.tensor([1]), TRAINED)
            assert torch.allclose(model(inputs).logits, plain[0])
            told(torch.tensor([1]), CHOOSING)
            assert torch.allclose(model(others).logits, plain[1])
            told(None, CHOOSING)
            assert torch.allclose(model(others).logits, plain[1])
    assert stock.of(CHOOSING, [4, 4], 1, torch.float32) is kept[CHOOSING]


def test_the_first_time_gives_what_later_ones_give(
    base: Base, make_recipe: RecipeMaker, tmp_path: Path
) -> None:
    model = model_of(base, make_recipe, "method.freeze=1").eval()
    kept = Activations([3], 1, torch.bfloat16, Room(1 << 20, 0), tmp_path)
    with torch.no_grad(), cached(model, {TRAINED: kept}) as told:
        found = []
        for _ in range(2):
            told(torch.tensor([0]), TRAINED)
            found.append(model(torch.tensor([[5, 6, 7]])).logits)
    assert torch.equal(*found)


@pytest.mark.parametrize(("freeze", "fixed"), [(0, 0), (1, 1), (-1, 1), (-2, 0)])
def test_layers_are_fixed_below_the_lowest_trained_one(
    base: Base, make_recipe: RecipeMaker, freeze: int, fixed: int
) -> None:
    model = model_of(base, make_recipe, f"method.freeze={freeze}")
    assert fixed_layers(model, collator(0)(ROWS[:1])) == fixed


def test_without_trained_layers_all_are_fixed(base: Base, make_recipe: RecipeMaker) -> None:
    assert fixed_layers(model_of(base, make_recipe, "method.type=head"), collator(0)(ROWS[:1])) == 2


@pytest.mark.parametrize(("room", "place"), [(Room(1 << 20, 0), "memory"), (Room(0, 1 << 20), "disk")])
def test_states_are_found_again_wherever_they_are_kept(tmp_path: Path, room: Room, place: str) -> None:
    kept = Activations([2, 3], 1, torch.float32, room, tmp_path)
    states = torch.arange(24, dtype=torch.float32).view(2, 3, 4)
    kept.keep(torch.tensor([0, 1]), states)
    found = kept.find(torch.tensor([1, 0]), 3)
    assert torch.equal(found[0], states[1])
    assert torch.equal(found[1, :2], states[0, :2])
    assert not found[1, 2].any()
    assert (kept.use.place, list(tmp_path.iterdir())) == (place, [])


def test_what_is_not_known_yet_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def empty(*shape: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.full(shape, math.nan, dtype=dtype)

    monkeypatch.setattr(torch, "empty", empty)
    kept = Activations([2, 3], 1, torch.float32, Room(1 << 20, 0), tmp_path)
    kept.keep(torch.tensor([0]), torch.ones(1, 3, 4))
    assert kept.find(torch.tensor([1]), 3) is None
    found = kept.find(torch.tensor([0]), 3)
    assert torch.equal(found, torch.tensor([1.0, 1.0, 0.0]).view(1, 3, 1).expand(1, 3, 4))


def test_what_fits_nowhere_is_not_kept_and_says_so(tmp_path: Path) -> None:
    kept = Activations([2, 3], 1, torch.float32, Room(0, 0), tmp_path)
    kept.keep(torch.tensor([0]), torch.zeros(1, 2, 4))
    assert kept.find(torch.tensor([0]), 2) is None
    assert "fit neither in memory nor on the disk" in kept.use.note
