# ruff: noqa: TID253 - saves with PEFT
"""What PEFT saves is read whole, or refused with a reason."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import IA3Config, PromptEncoderConfig, TaskType
from safetensors.numpy import load_file

from hub.api import HeadKind
from hub.engine.peft_format import parse
from hub.errors import BadAdapter, UnsupportedAdapter
from hub.testing.tiny import tiny_adapter

LAYERS = [
    *(f"encoder.layer.{n}.attention.self.{name}" for n in (0, 1) for name in ("query", "key", "value")),
    *(f"encoder.layer.{n}.attention.output.dense" for n in (0, 1)),
    *(f"encoder.layer.{n}.intermediate.dense" for n in (0, 1)),
    *(f"encoder.layer.{n}.output.dense" for n in (0, 1)),
]


@pytest.fixture
def saved(bert, tmp_path):
    """Save with plain PEFT; returns config and tensors."""

    def save(kind=HeadKind.SEQUENCE, labels=3, base=bert, **settings):
        names = [f"label{index}" for index in range(labels)]
        tiny_adapter(base, tmp_path / "saved", kind=kind, labels=names, **settings)
        config = json.loads((tmp_path / "saved" / "adapter_config.json").read_text())
        return config, load_file(tmp_path / "saved" / "adapter_model.safetensors")

    return save


def parsed(config, tensors, kind=HeadKind.SEQUENCE, labels=3):
    return parse(config, tensors, kind=kind, num_labels=labels, sha256="0" * 64)


@pytest.mark.parametrize(
    ("kind", "head", "labels", "layers"),
    [
        (
            HeadKind.SEQUENCE,
            {"classifier.weight": (3, 32), "classifier.bias": (3,)},
            3,
            {*LAYERS, "pooler.dense"},
        ),
        (HeadKind.TOKEN, {"classifier.weight": (3, 32), "classifier.bias": (3,)}, 3, set(LAYERS)),
        (HeadKind.SPAN, {"qa_outputs.weight": (2, 32), "qa_outputs.bias": (2,)}, 2, set(LAYERS)),
        (HeadKind.EMBEDDING, {}, 0, {*LAYERS, "pooler.dense"}),
    ],
)
def test_every_kind_of_encoder_adapter(saved, kind, head, labels, layers):
    weights = parsed(*saved(kind), kind)
    assert weights.kind is kind
    assert weights.num_labels == labels
    assert {name: array.shape for name, array in weights.head.items()} == head
    assert set(weights.lora) == layers
    assert weights.rank == 4
    assert weights.nbytes == sum(4 * (p.a.size + p.b.size) for p in weights.lora.values()) + sum(
        4 * array.size for array in weights.head.values()
    )


def test_a_decoder_adapter(saved, llama):
    weights = parsed(*saved(HeadKind.GENERATE, base=llama), HeadKind.GENERATE)
    assert {name.rpartition(".")[2] for name in weights.lora} == {
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    }
    assert all(name.startswith("layers.") for name in weights.lora)
    assert (weights.head, weights.num_labels) == ({}, 0)


@pytest.mark.parametrize(("rslora", "scaling"), [(False, 24 / 4), (True, 24 / 2)])
def test_the_scaling_is_folded_into_b(saved, rslora, scaling):
    config, tensors = saved(lora_alpha=24, use_rslora=rslora)
    weights = parsed(config, tensors)
    key = "base_model.model.bert.encoder.layer.0.attention.self.query"
    pair = weights.lora["encoder.layer.0.attention.self.query"]
    np.testing.assert_array_equal(pair.a, tensors[f"{key}.lora_A.weight"])
    np.testing.assert_allclose(pair.b, tensors[f"{key}.lora_B.weight"] * scaling, rtol=1e-6)


def test_half_precision_is_widened(saved):
    config, tensors = saved()
    weights = parsed(config, {key: tensor.astype(np.float16) for key, tensor in tensors.items()})
    assert {array.dtype for pair in weights.lora.values() for array in (pair.a, pair.b)} == {np.dtype("f4")}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "trained biases"),
        ({"bias": "lora_only"}, "trained biases"),
        ({"lora_bias": True}, "trained LoRA biases"),
        ({"init_lora_weights": "pissa"}, "'pissa' changes the base weights.*hub adapters import"),
        ({"init_lora_weights": "olora"}, "'olora' changes the base weights"),
        ({"targets": ["query", "word_embeddings"]}, "LoRA on embeddings"),
        ({"trainable_token_indices": [1, 2]}, "trained token embeddings"),
        (
            {"modules_to_save": ["pooler"], "targets": ["query"]},
            "'bert.pooler.dense.[a-z]+' was trained in full",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*embedding layers found in:UserWarning")
@pytest.mark.filterwarnings("ignore:.*have invalid shape:peft.utils.warning.PeftWarning")  # of a bias
def test_what_cannot_be_served_is_named(saved, settings, reason):
    with pytest.raises(UnsupportedAdapter, match=reason):
        parsed(*saved(**settings))


@pytest.mark.parametrize(
    "config", [IA3Config(task_type=TaskType.SEQ_CLS), PromptEncoderConfig(task_type=TaskType.SEQ_CLS)]
)
def test_other_methods_are_named(config, saved):
    with pytest.raises(UnsupportedAdapter, match=f"a {config.peft_type.value} adapter and only LoRA"):
        parsed(json.loads(json.dumps(config.to_dict(), default=list)), saved()[1])


def test_lora_on_the_head_is_refused(saved):
    config, tensors = saved(targets=["query"])
    tensors["base_model.model.classifier.lora_A.weight"] = np.zeros((4, 32), "f4")
    tensors["base_model.model.classifier.lora_B.weight"] = np.zeros((3, 4), "f4")
    with pytest.raises(UnsupportedAdapter, match="LoRA on 'classifier', outside the backbone 'bert'"):
        parsed(config, tensors)


QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stray.weight": np.ones(1, "f4")}, "'stray.weight' is not part of a PEFT adapter"),
        ({f"{QUERY}.lora_B.weight": None}, "only one of lora_A and lora_B"),
        ({f"{QUERY}.lora_A.weight": np.full((4, 32), np.nan, "f4")}, "NaN or infinite"),
        (
            {f"{QUERY}.lora_A.weight": np.ones((5, 32), "f4")},
            r"rank 4 by the config, but its lora_A is \(5, 32\)",
        ),
        ({f"{QUERY}.lora_B.weight": np.full((32, 4), 3e38, "f4")}, "overflows when scaled"),
        (
            {"base_model.model.classifier.weight": None},
            r"no sequence head with 3 outputs.*classifier.bias \(3,\)",
        ),
    ],
)
def test_malformed_tensors_are_refused(saved, change, reason):
    config, tensors = saved()
    tensors = {key: tensor for key, tensor in (tensors | change).items() if tensor is not None}
    with pytest.raises(BadAdapter, match=reason):
        parsed(config, tensors)


def test_a_head_with_other_labels_is_refused(saved):
    with pytest.raises(BadAdapter, match="no sequence head with 5 outputs"):
        parsed(*saved(), labels=5)


def test_an_adapter_without_lora_is_refused(saved):
    config, tensors = saved()
    with pytest.raises(BadAdapter, match="holds no LoRA tensors"):
        parsed(config, {key: tensor for key, tensor in tensors.items() if "lora" not in key})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"r": "4"}, "r for .* is '4'"),
        ({"r": 0}, "r for .* is 0"),
        ({"lora_alpha": None}, "lora_alpha for .* is None"),
        ({"lora_alpha": float("inf")}, "lora_alpha for .* is inf"),
        ({"rank_pattern": ["query"]}, "rank_pattern must map"),
        ({"alpha_pattern": {"(": 2}}, "not a regular expression"),
        ({"alpha_pattern": {"(a+)+": 2}}, "too complex"),
        ({"peft_type": None}, "only LoRA"),
        ({"some_future_option": True}, r"some_future_option \(some_future_option: True\) cannot be served"),
    ],
)
def test_malformed_configs_are_refused(saved, change, reason):
    config, tensors = saved()
    with pytest.raises(BadAdapter, match=reason):
        parsed(config | change, tensors)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


def test_no_config_makes_anything_but_an_adapter_or_a_refusal(saved):
    config, tensors = saved(targets=["query"])

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(st.sampled_from(sorted(config)), JSON, min_size=1, max_size=3))
    def check(change):
        try:
            weights = parsed(config | change, tensors)
        except BadAdapter as error:
            assert str(error)
        else:
            assert len(weights.lora) == 2

    check()
