"""PiSSA and OLoRA adapters become plain LoRA of the base as it is."""

from __future__ import annotations

import numpy as np
import pytest

from hub.errors import BadAdapter
from hub.store.content.weights import AdapterFiles, read_adapter, write_adapter
from hub.store.peft.plain_lora import changed_base, to_plain_lora

A, B, HEAD = (
    "base_model.model.q.lora_A.weight",
    "base_model.model.q.lora_B.weight",
    "base_model.model.h.weight",
)
CONFIG = {"peft_type": "LORA", "init_lora_weights": "pissa", "r": 2, "lora_alpha": 6}


def random(seed: int) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(seed)
    shapes = {A: (2, 5), B: (4, 2), HEAD: (3, 4)}
    return {name: numbers.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (CONFIG, "pissa"),
        (CONFIG | {"init_lora_weights": "olora"}, "olora"),
        (CONFIG | {"init_lora_weights": "pissa_niter_4"}, ""),
        (CONFIG | {"init_lora_weights": True}, ""),
        (CONFIG | {"peft_type": "LOHA"}, ""),
        ({"peft_type": "LORA"}, ""),
    ],
)
def test_only_what_follows_from_the_base_is_for_conversion(config, expected) -> None:
    assert changed_base(config) == expected


@pytest.mark.parametrize("rslora", [False, True])
def test_the_update_is_what_was_trained_less_what_was_taken_out(rslora) -> None:
    trained, initial = random(1), random(2)
    made = to_plain_lora(AdapterFiles(CONFIG | {"use_rslora": rslora}, trained), initial)

    def scaling(config) -> float:
        return config["lora_alpha"] / (config["r"] ** 0.5 if rslora else config["r"])

    update = scaling(made.config) * made.tensors[B] @ made.tensors[A]
    expected = scaling(CONFIG) * (trained[B] @ trained[A] - initial[B] @ initial[A])
    assert np.allclose(update, expected, atol=1e-5)
    assert made.config["r"] == 4
    assert made.config["init_lora_weights"] is True
    assert np.array_equal(made.tensors[HEAD], trained[HEAD])


def test_ranks_and_alphas_of_single_layers_are_doubled_too() -> None:
    patterns = {"rank_pattern": {"k": 3}, "alpha_pattern": {"k": 5}}
    made = to_plain_lora(AdapterFiles(CONFIG | patterns, random(1)), random(2)).config
    assert (made["rank_pattern"], made["alpha_pattern"]) == ({"k": 6}, {"k": 10})


@pytest.mark.parametrize("initial", [{}, {A: np.zeros((3, 5), np.float32), B: np.zeros((4, 2), np.float32)}])
def test_another_base_is_told(initial) -> None:
    with pytest.raises(BadAdapter, match=r"q\.lora_A\.weight"):
        to_plain_lora(AdapterFiles(CONFIG, random(1)), initial)


@pytest.mark.parametrize("change", [{"r": None}, {"lora_alpha": "6"}])
def test_a_config_without_its_numbers_is_told(change) -> None:
    with pytest.raises(BadAdapter, match="it must be a number"):
        to_plain_lora(AdapterFiles(CONFIG | change, random(1)), random(2))


def test_what_is_written_is_read(tmp_path) -> None:
    files = AdapterFiles(CONFIG, random(1))
    write_adapter(tmp_path, files)
    found = read_adapter(tmp_path)
    assert found.config == files.config
    assert {name: array.tolist() for name, array in found.tensors.items()} == {
        name: array.tolist() for name, array in files.tensors.items()
    }
