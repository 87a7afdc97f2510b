from __future__ import annotations

import numpy as np
import pytest

from hub.api import HeadKind
from hub.errors import BaseMismatch
from hub.store.fit import check_fit
from hub.store.weights import AdapterFiles, read_adapter

LORA = {"peft_type": "LORA"}


def pair(layer: str, fan_in: int, fan_out: int) -> dict[str, np.ndarray]:
    name = f"base_model.model.{layer}"
    return {
        f"{name}.lora_A.weight": np.ones((2, fan_in), np.float32),
        f"{name}.lora_B.weight": np.ones((fan_out, 2), np.float32),
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory):
    from hub.testing.tiny import tiny_encoder

    return tiny_encoder(tmp_path_factory.mktemp("fit") / "base")


@pytest.mark.parametrize("kind", [HeadKind.SEQUENCE, HeadKind.SPAN, HeadKind.EMBEDDING])
def test_an_adapter_of_the_base_fits_under_any_head(tiny, tmp_path, kind: HeadKind) -> None:
    from hub.testing.tiny import tiny_adapter

    labels = ("a", "b") if kind is HeadKind.SEQUENCE else ()
    check_fit(read_adapter(tiny_adapter(tiny, tmp_path / "adapter", kind=kind, labels=labels)), tiny)


def test_layers_that_are_not_square_fit_by_side(tiny) -> None:
    check_fit(AdapterFiles(LORA, pair("bert.encoder.layer.1.intermediate.dense", 32, 48)), tiny)
    with pytest.raises(BaseMismatch, match="is 48 wide where the base 'base' has 32"):
        check_fit(AdapterFiles(LORA, pair("bert.encoder.layer.1.intermediate.dense", 48, 32)), tiny)
    check_fit(
        AdapterFiles({**LORA, "fan_in_fan_out": True}, pair("encoder.layer.1.intermediate.dense", 48, 32)),
        tiny,
    )


@pytest.mark.parametrize(
    "layer",
    [
        "bert.encoder.layer.2.attention.self.query",
        "model.layers.0.self_attn.q_proj",
        "bert.embeddings.LayerNorm",
    ],
)
def test_a_layer_that_the_base_lacks_is_named(tiny, layer: str) -> None:
    with pytest.raises(BaseMismatch, match=layer):
        check_fit(AdapterFiles(LORA, pair(layer, 32, 32)), tiny)
