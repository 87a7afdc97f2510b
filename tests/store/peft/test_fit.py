from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from hub.api import HeadKind
from hub.bases.base import BaseKind
from hub.bases.inspect import weight_shapes
from hub.errors import BaseMismatch
from hub.store.content.weights import AdapterFiles, read_adapter
from hub.store.peft.fit import check_fit

LORA = {"peft_type": "LORA"}


def pair(layer: str, fan_in: int, fan_out: int) -> dict[str, np.ndarray]:
    name = f"base_model.model.{layer}"
    return {
        f"{name}.lora_A.weight": np.ones((2, fan_in), np.float32),
        f"{name}.lora_B.weight": np.ones((fan_out, 2), np.float32),
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory):
    from tests.support.tiny import tiny_encoder

    return tiny_encoder(tmp_path_factory.mktemp("fit") / "base")


@pytest.mark.parametrize("kind", [HeadKind.SEQUENCE, HeadKind.SPAN, HeadKind.EMBEDDING])
def test_an_adapter_of_the_base_fits_under_any_head(tiny, tmp_path, kind: HeadKind) -> None:
    from tests.support.tiny import tiny_adapter

    labels = ("a", "b") if kind is HeadKind.SEQUENCE else ()
    check_fit(read_adapter(tiny_adapter(tiny, tmp_path / "adapter", kind=kind, labels=labels)), tiny)


def test_layers_that_are_not_square_fit_by_side(tiny) -> None:
    check_fit(AdapterFiles(LORA, pair("bert.encoder.layer.1.intermediate.dense", 32, 48)), tiny)
    with pytest.raises(BaseMismatch, match="is 48 wide where the base 'base' has 32"):
        check_fit(AdapterFiles(LORA, pair("bert.encoder.layer.1.intermediate.dense", 48, 32)), tiny)


def test_a_layer_s_type_and_not_fan_in_fan_out_tells_its_sides(tiny, tmp_path) -> None:
    stated = {**LORA, "fan_in_fan_out": True}
    layer = "bert.encoder.layer.1.intermediate.dense"
    check_fit(AdapterFiles(stated, pair(layer, 32, 48)), tiny)
    with pytest.raises(BaseMismatch, match="48 wide"):
        check_fit(AdapterFiles(stated, pair(layer, 48, 32)), tiny)
    save_file({"h.0.attn.c_attn.weight": np.ones((32, 96), np.float32)}, tmp_path / "model.safetensors")
    gpt2 = replace(tiny, path=tmp_path, model_type="gpt2", kind=BaseKind.DECODER)
    for config in (LORA, stated):
        check_fit(AdapterFiles(config, pair("transformer.h.0.attn.c_attn", 32, 96)), gpt2)


@pytest.mark.parametrize("family", ["llama", "t5", "bart"])
def test_an_output_layer_tied_to_the_embedding_is_a_layer_of_the_base(tmp_path, family: str) -> None:
    from tests.support.tiny import DECODERS, tiny_decoder, tiny_encoder_decoder

    make = tiny_decoder if family in DECODERS else tiny_encoder_decoder
    base = make(tmp_path, family)
    rows = weight_shapes(base.path)[
        {"llama": "model.embed_tokens", "t5": "shared"}.get(family, "model.shared") + ".weight"
    ][0]
    check_fit(AdapterFiles(LORA, pair("lm_head", 32, rows)), base)
    with pytest.raises(BaseMismatch, match=f"has {rows}"):
        check_fit(AdapterFiles(LORA, pair("lm_head", 32, rows + 1)), base)


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
