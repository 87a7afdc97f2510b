# ruff: noqa: TID253 - trains tiny models
"""Each method trains what it says, saves what plain PEFT loads, and the engine answers as PEFT does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hub.api import HeadKind, Row
from hub.bases.base import Base
from hub.engine.build import build_engine
from hub.engine.peft.load import weights_of
from hub.engine.peft.model import load_adapted
from hub.engine.protocol import EngineRow
from hub.errors import BadAdapter, BadRecipe
from hub.recipe.by_rows import TrainingRows
from hub.recipe.recipe import Recipe
from hub.recipe.sections.method import IA3_FAMILIES
from hub.store.content.weights import read_adapter
from hub.training.fit.methods import layers_of
from hub.training.fit.model import add_adapter, load_base, round_weights, save_adapter
from tests.support.tiny import tiny_decoder, tiny_encoder, tiny_encoder_decoder

RecipeMaker = Callable[..., Recipe]
RECIPE = "task: sentiment\ndata: a.csv\n"
IDS = [5, 6, 7, 8, 9, 10, 11]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return tiny_encoder(tmp_path_factory.mktemp("tiny") / "encoder")


def changed_model(base: Base, recipe: Recipe) -> Any:
    """The adapter of a recipe, as if it had been trained: every trained weight is moved at random."""
    torch.manual_seed(0)
    model = add_adapter(load_base(base, HeadKind.SEQUENCE, 3, 0.0), recipe, HeadKind.SEQUENCE)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    return model.eval()


def trained(model: Any) -> set[str]:
    names = (name for name, parameter in model.named_parameters() if parameter.requires_grad)
    return {name.removeprefix("base_model.model.").replace(".modules_to_save.default", "") for name in names}


METHODS = ["lora", "ia3", "bitfit", "head", "full"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stored", [torch.float16, torch.float32])
def test_a_method_is_saved_as_peft_and_served_as_it_was_trained(
    base: Base, make_recipe: RecipeMaker, tmp_path: Path, method: str, stored: torch.dtype
) -> None:
    model = changed_model(base, make_recipe(RECIPE, f"method.type={method}"))
    round_weights(model, stored)
    save_adapter(model, tmp_path / "adapter", stored)
    again = load_adapted(tmp_path / "adapter", base, HeadKind.SEQUENCE, 3, "cpu")
    ids = torch.tensor([IDS])
    with torch.inference_mode():
        expected = model(input_ids=ids).logits
        assert torch.equal(again(input_ids=ids).logits, expected)
    files = read_adapter(tmp_path / "adapter")
    weights = weights_of(
        base,
        files.config,
        files.tensors,
        kind=HeadKind.SEQUENCE,
        num_labels=3,
        sha256="x",
        merged=method == "full",
    )
    engine = build_engine(base, kind="torch", slots=2, device="cpu", threads=1, cache=tmp_path / "cache")
    try:
        engine.check(weights)
        engine.write(1, weights)
        [answer] = engine.run([EngineRow(Row(IDS), 1, HeadKind.SEQUENCE)])
    finally:
        engine.close()
    np.testing.assert_allclose(answer.values, expected[0].numpy(), atol=1e-4)


def test_a_method_trains_what_it_says_and_a_new_head(base: Base, make_recipe: RecipeMaker) -> None:
    head = {"classifier.weight", "classifier.bias"}
    names = {
        method: trained(changed_model(base, make_recipe(RECIPE, f"method.type={method}")))
        for method in METHODS
    }
    assert names["head"] == head
    assert all(found > head for method, found in names.items() if method != "head")
    assert all(".lora_" in name for name in names["lora"] - head)
    assert all(".ia3_l." in name for name in names["ia3"] - head)
    assert all(name.endswith(".bias") for name in names["bitfit"] - head)
    everything = {name for name, _ in load_base(base, HeadKind.SEQUENCE, 3).named_parameters()}
    assert names["full"] == everything


@pytest.mark.parametrize("method", METHODS)
def test_frozen_layers_and_the_embeddings_are_left_alone(
    base: Base, make_recipe: RecipeMaker, method: str
) -> None:
    path, layers = layers_of(load_base(base, HeadKind.SEQUENCE, 3))
    assert len(layers) == 2
    names = trained(changed_model(base, make_recipe(RECIPE, f"method.type={method}", "method.freeze=1")))
    assert not [name for name in names if name.startswith(f"{path}.0.") or ".embeddings." in name]
    if method != "head":
        assert [name for name in names if name.startswith(f"{path}.1.")]


def test_ia3_and_frozen_layers_are_found_on_a_decoder(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    decoder = tiny_decoder(tmp_path / "decoder")
    recipe = make_recipe(RECIPE, "method.type=ia3", "method.freeze=1")
    model = add_adapter(load_base(decoder, HeadKind.GENERATE, 0), recipe, HeadKind.GENERATE)
    names = trained(model)
    assert names
    assert not [name for name in names if ".layers.0." in name]


@pytest.mark.parametrize("family", ["t5", "marian"])
def test_layers_are_found_on_an_encoder_decoder(
    make_recipe: RecipeMaker, tmp_path: Path, family: str
) -> None:
    base = tiny_encoder_decoder(tmp_path / family, family)
    path, _ = layers_of(load_base(base, HeadKind.GENERATE, 0))
    recipe = make_recipe(RECIPE, "method.freeze=1")
    names = trained(add_adapter(load_base(base, HeadKind.GENERATE, 0), recipe, HeadKind.GENERATE))
    assert [name for name in names if f"{path}.1." in name]
    assert not [name for name in names if f"{path}.0." in name]
    with pytest.raises(BadRecipe, match=r"no linear layer is named zzz\. Available: .*, (v|v_proj)"):
        recipe = make_recipe(RECIPE, "method.target=[zzz]")
        add_adapter(load_base(base, HeadKind.GENERATE, 0), recipe, HeadKind.GENERATE)


@pytest.mark.parametrize(
    ("method", "said"), [("bitfit", "nothing that bitfit trains"), ("full", "type t5 cannot")]
)
def test_a_method_that_trains_nothing_of_a_base_is_refused(
    make_recipe: RecipeMaker, tmp_path: Path, method: str, said: str
) -> None:
    model = load_base(tiny_encoder_decoder(tmp_path / "t5", "t5"), HeadKind.GENERATE, 0)
    with pytest.raises(BadRecipe, match=said):
        add_adapter(model, make_recipe(RECIPE, f"method.type={method}"), HeadKind.GENERATE)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("method.type=ia3", "method.rank=4"), "rank needs the type lora or few-shot, not ia3"),
        (("method.type=bitfit", "method.dora=true"), "dora needs the type lora or few-shot"),
        (("method.type=full", "method.target=[query]"), "target needs the type lora, few-shot or ia3"),
    ],
)
def test_keys_of_another_method_are_refused(
    make_recipe: RecipeMaker, overrides: tuple[str, ...], said: str
) -> None:
    with pytest.raises(BadRecipe, match=said):
        make_recipe(RECIPE, *overrides)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("method.freeze=2",), "method.freeze: the base has 2 layers"),
        (
            ("method.target=[nowhere]",),
            "no linear layer is named nowhere. Available: dense, key, query, value",
        ),
        (("method.type=ia3", "method.target=[nowhere]"), "no linear layer is named nowhere"),
    ],
)
def test_what_the_base_lacks_is_refused(
    base: Base, make_recipe: RecipeMaker, overrides: tuple[str, ...], said: str
) -> None:
    with pytest.raises(BadRecipe, match=said):
        changed_model(base, make_recipe(RECIPE, *overrides))


def test_an_adapter_without_layers_has_to_say_so(
    base: Base, make_recipe: RecipeMaker, tmp_path: Path
) -> None:
    save_adapter(changed_model(base, make_recipe(RECIPE, "method.type=head")), tmp_path / "a", torch.float32)
    files = read_adapter(tmp_path / "a")
    config = {**files.config, "target_modules": ["query"]}
    with pytest.raises(BadAdapter, match="holds no LoRA or IA3 tensors"):
        weights_of(base, config, files.tensors, kind=HeadKind.SEQUENCE, num_labels=3, sha256="x")


@pytest.mark.parametrize(
    ("rows", "family", "settings", "kind", "rate"),
    [
        (199, "bert", [], "ia3", 1e-2),
        (200, "bert", [], "lora", 1e-3),
        (199, "distilbert", [], "lora", 1e-3),
        (199, "bert", ["method.rank=4"], "lora", 1e-3),
        (199, "bert", ["method.init=pissa"], "lora", 1e-3),
        (199, "bert", ["method.target=[query]"], "lora", 1e-3),
        (199, "bert", ["train.learning_rate=0.5"], "ia3", 0.5),
    ],
)
def test_auto_goes_by_rows_where_the_base_and_the_recipe_leave_a_choice(
    make_recipe: RecipeMaker, rows: int, family: str, settings: list[str], kind: str, rate: float
) -> None:
    settled = make_recipe(RECIPE, "method.type=auto", *settings).settled(TrainingRows(rows, family))
    assert (settled.method.type, settled.train.learning_rate) == (kind, rate)


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        ([], 4e-3),
        (["method.type=auto"], 4e-3),
        (["train.learning_rate=0.5"], 1.0),
        (["method.type=ia3"], 2e-2),
    ],
)
def test_a_multiplier_is_of_the_given_rate_or_of_that_which_the_rows_decide(
    make_recipe: RecipeMaker, settings: list[str], rate: float
) -> None:
    rows = TrainingRows(2000, "bert", labels=True)
    settled = make_recipe(RECIPE, "train.learning_rate_multiplier=2", *settings).settled(rows)
    assert settled.train.learning_rate == pytest.approx(rate)
    assert settled.settled(rows) == settled, "it is multiplied once"


def test_a_multiplied_rate_above_one_is_refused(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(RECIPE, "train.learning_rate_multiplier=3", "train.learning_rate=0.5")
    with pytest.raises(BadRecipe, match=r"train\.learning_rate_multiplier: .*1\.5 with it, above 1"):
        recipe.settled(TrainingRows(100, "bert"))


@pytest.mark.parametrize(
    ("rows", "settings", "kind", "steps"),
    [
        (16, [], "few-shot", 40),
        (99, [], "few-shot", 99),
        (199, [], "few-shot", 100),
        (99, ["train.max_steps=7"], "few-shot", 7),
        (99, ["train.epochs=5"], "few-shot", None),
        (200, [], "lora", None),
    ],
)
def test_few_rows_with_one_label_each_are_few_shot_on_a_base_without_ia3_layers(
    make_recipe: RecipeMaker, rows: int, settings: list[str], kind: str, steps: int | None
) -> None:
    recipe = make_recipe(RECIPE, "method.type=auto", *settings)
    settled = recipe.settled(TrainingRows(rows, "distilbert", classes=3))
    assert (settled.method.type, settled.train.max_steps) == (kind, steps)


@pytest.mark.parametrize("key", ["method.rank=4", "method.target=[query]", "preset=best"])
def test_few_rows_with_one_label_each_are_few_shot_where_a_key_needs_lora(
    make_recipe: RecipeMaker, key: str
) -> None:
    recipe = make_recipe(RECIPE, "method.type=auto", key)
    assert recipe.settled(TrainingRows(30, "bert", classes=3)).method.type == "few-shot"


@pytest.mark.parametrize(("classes", "kind"), [(0, "ia3"), (2, "few-shot"), (3, "ia3"), (40, "ia3")])
def test_few_rows_with_one_of_two_labels_each_are_few_shot_and_others_ia3(
    make_recipe: RecipeMaker, classes: int, kind: str
) -> None:
    recipe = make_recipe(RECIPE, "method.type=auto")
    assert recipe.settled(TrainingRows(30, "bert", classes=classes)).method.type == kind


def test_peft_knows_the_layers_of_the_families_that_auto_chooses_ia3_for() -> None:
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as layers

    assert set(IA3_FAMILIES) <= set(layers)
