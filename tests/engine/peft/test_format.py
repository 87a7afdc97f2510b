# ruff: noqa: TID253 - saves with PEFT
"""What PEFT saves is read whole, or refused with a reason."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import BOFTConfig, LoHaConfig, PrefixTuningConfig, PromptEncoderConfig, TaskType
from safetensors.numpy import load_file

from hub.api import HeadKind
from hub.engine.peft.allowed import METHODS
from hub.engine.peft.config import MERGEABLE
from hub.engine.peft.format import outputs_of, parse
from hub.engine.peft.model import fresh_adapter
from hub.engine.protocol import LayerUpdate
from hub.errors import BadAdapter, UnsupportedAdapter
from tests.support.tiny import head_model, tiny_adapter

LAYERS = [
    *(f"encoder.layer.{n}.attention.self.{name}" for n in (0, 1) for name in ("query", "key", "value")),
    *(f"encoder.layer.{n}.attention.output.dense" for n in (0, 1)),
    *(f"encoder.layer.{n}.intermediate.dense" for n in (0, 1)),
    *(f"encoder.layer.{n}.output.dense" for n in (0, 1)),
]
QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"


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


def under(prefix, layers):
    return {f"{prefix}.{layer}" for layer in layers}


@pytest.mark.parametrize(
    ("kind", "full", "labels", "layers"),
    [
        (
            HeadKind.SEQUENCE,
            {"classifier.weight": (3, 32), "classifier.bias": (3,)},
            3,
            under("bert", [*LAYERS, "pooler.dense"]),
        ),
        (HeadKind.TOKEN, {"classifier.weight": (3, 32), "classifier.bias": (3,)}, 3, under("bert", LAYERS)),
        (HeadKind.SPAN, {"qa_outputs.weight": (2, 32), "qa_outputs.bias": (2,)}, 2, under("bert", LAYERS)),
        (HeadKind.EMBEDDING, {}, 0, {*LAYERS, "pooler.dense"}),
    ],
)
def test_every_kind_of_encoder_adapter(saved, kind, full, labels, layers):
    """Layers and parameters keep the paths they had in the model that PEFT wrapped."""
    config, tensors = saved(kind)
    weights = parsed(config, tensors, kind)
    assert weights.kind is kind
    assert weights.num_labels == labels
    assert {name: array.shape for name, array in weights.full.items()} == full
    assert set(weights.layers) == layers
    assert weights.rank == 4
    assert all(len(update.arrays) == 2 and update.changes for update in weights.layers.values())
    assert weights.nbytes == sum(4 * tensor.size for tensor in tensors.values())
    assert (weights.merged, weights.int8) == (False, False)


def test_a_decoder_adapter(saved, llama):
    weights = parsed(*saved(HeadKind.GENERATE, base=llama), HeadKind.GENERATE)
    assert {name.rpartition(".")[2] for name in weights.layers} == {
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    }
    assert all(name.startswith("model.layers.") for name in weights.layers)
    assert (weights.full, weights.num_labels) == ({}, 0)


def test_an_encoder_decoder_adapter(saved, base_of):
    weights = parsed(*saved(HeadKind.GENERATE, base=base_of("t5")), HeadKind.GENERATE)
    assert {name.partition(".")[0] for name in weights.layers} == {"encoder", "decoder"}
    assert any(".EncDecAttention." in name for name in weights.layers)
    assert (weights.full, weights.num_labels) == ({}, 0)


@pytest.mark.parametrize(("rslora", "scaling"), [(False, 24 / 4), (True, 24 / 2)])
def test_the_scaling_is_folded_into_b(saved, rslora, scaling):
    config, tensors = saved(lora_alpha=24, use_rslora=rslora)
    weights = parsed(config, tensors)
    key = "base_model.model.bert.encoder.layer.0.attention.self.query"
    pair = weights.layers["bert.encoder.layer.0.attention.self.query"]
    np.testing.assert_array_equal(pair.a, tensors[f"{key}.lora_A.weight"])
    np.testing.assert_allclose(pair.b, tensors[f"{key}.lora_B.weight"] * scaling, rtol=1e-6)


def test_half_precision_is_widened(saved):
    config, tensors = saved()
    weights = parsed(config, {key: tensor.astype(np.float16) for key, tensor in tensors.items()})
    arrays = [array for update in weights.layers.values() for array in update.arrays]
    assert {array.dtype for array in [*arrays, *weights.full.values()]} == {np.dtype("f4")}


def test_dora_has_a_magnitude_for_each_output(saved):
    config, tensors = saved(use_dora=True, targets=["query", "intermediate.dense"])
    weights = parsed(config, tensors)
    assert len(weights.layers) == 4
    for path, update in weights.layers.items():
        np.testing.assert_array_equal(
            update.magnitude, tensors[f"base_model.model.{path}.lora_magnitude_vector"]
        )
        assert update.magnitude.shape == (len(update.b),) == ((48 if "intermediate" in path else 32),)


@pytest.mark.parametrize("bias", ["lora_only", "all"])
def test_biases_trained_beside_lora_have_the_names_the_base_has_for_them(saved, bert, bias):
    """With "all", PEFT saves those of the head's copies too; with "lora_only", one for each target."""
    config, tensors = saved(bias=bias, targets=["query", "value", "intermediate.dense"], spread=0.5)
    weights = parsed(config, tensors)
    model = head_model(bert, HeadKind.SEQUENCE, 3)
    biases = {name: value for name, value in weights.full.items() if not name.startswith("classifier.")}
    own = dict(model.named_parameters())
    assert biases.keys() <= own.keys()
    assert all(name.endswith(".bias") for name in biases)
    wanted = {name for name in own if name.endswith(".bias") and not name.startswith("classifier.")}
    if bias == "lora_only":
        wanted = {name for name in wanted if name.removesuffix(".bias") in weights.layers}
    assert biases.keys() == wanted
    for name, value in biases.items():
        assert np.abs(value - own[name].detach().numpy()).max() > 0.1
    assert weights.full["classifier.weight"].shape == (3, 32)


def test_a_module_trained_in_full_keeps_its_parameters_names(saved):
    weights = parsed(*saved(modules_to_save=["pooler"], targets=["query"]))
    assert {name: array.shape for name, array in weights.full.items()} == {
        "bert.pooler.dense.weight": (32, 32),
        "bert.pooler.dense.bias": (32,),
        "classifier.weight": (3, 32),
        "classifier.bias": (3,),
    }


def test_ia3_scales_inputs_of_feed_forward_layers_and_outputs_of_the_others(saved):
    config, tensors = saved(
        method="ia3", targets=["query", "output.dense"], feedforward_modules=["output.dense"]
    )
    weights = parsed(config, tensors)
    assert weights.rank == 0
    query = weights.layers["bert.encoder.layer.0.attention.self.query"]
    np.testing.assert_array_equal(query.output_scale, tensors[f"{QUERY}.ia3_l"][:, 0])
    dense = weights.layers["bert.encoder.layer.1.output.dense"]
    assert dense.input_scale.shape == (48,)
    assert dense.changes
    assert [len(update.arrays) for update in weights.layers.values()] == [1] * len(weights.layers)


def test_an_update_that_changes_nothing_says_so():
    ones, zeros = np.ones(4, "f4"), np.zeros((4, 2), "f4")
    assert not LayerUpdate().changes
    assert not LayerUpdate(a=np.ones((2, 4), "f4"), b=zeros).changes
    assert not LayerUpdate(input_scale=ones, output_scale=ones).changes
    assert LayerUpdate(a=zeros.T, b=zeros + 1).changes
    assert LayerUpdate(output_scale=ones * 2).changes
    assert LayerUpdate(input_scale=ones * 2).changes


def test_a_magnitude_or_a_bias_may_be_a_change_that_only_the_base_shows(saved):
    def changes(edit=lambda key, tensor: tensor, **settings):
        config, tensors = saved(**settings)
        weights = parsed(config, {key: edit(key, tensor) for key, tensor in tensors.items()})
        return weights.changes, weights.changes_any_base

    def without_b(key, tensor):
        return tensor * 0 if "lora_B" in key else tensor

    assert changes() == (True, True)
    assert changes(without_b) == (False, False)  # a trained head is no change of the base
    assert changes(without_b, use_dora=True) == (True, False)
    assert changes(without_b, bias="lora_only") == (True, False)
    assert changes(method="ia3") == (True, True)
    assert changes(lambda key, tensor: tensor * 0 + 1 if "ia3" in key else tensor, method="ia3") == (
        False,
        False,
    )


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"lora_bias": True}, "trained LoRA biases"),
        ({"init_lora_weights": "pissa"}, "'pissa' changes the base weights.*hub adapters import"),
        ({"init_lora_weights": "olora"}, "'olora' changes the base weights"),
        ({"targets": ["query", "word_embeddings"]}, "LoRA on embeddings"),
        ({"trainable_token_indices": [1, 2]}, "trained token embeddings"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*embedding layers found in:UserWarning")
@pytest.mark.filterwarnings("ignore:.*have invalid shape:peft.utils.warning.PeftWarning")  # of a bias
def test_what_cannot_be_served_is_named(saved, settings, reason):
    with pytest.raises(UnsupportedAdapter, match=reason) as caught:
        parsed(*saved(**settings))
    assert "ask for a merged copy of its own (serve: merged in the recipe, --merged at import)" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("config", "merges"),
    [
        (LoHaConfig(task_type=TaskType.SEQ_CLS), True),
        (PromptEncoderConfig(task_type=TaskType.SEQ_CLS), False),
        (PrefixTuningConfig(task_type=TaskType.SEQ_CLS), False),
        (BOFTConfig(task_type=TaskType.SEQ_CLS), False),
    ],
)
def test_other_methods_are_named_and_a_merged_copy_is_offered_where_there_is_one(config, merges, saved):
    what = f"a {config.peft_type.value} adapter, which does not fit in a slot; LoRA .* and IA3 do"
    with pytest.raises(UnsupportedAdapter, match=what) as caught:
        parsed(json.loads(json.dumps(config.to_dict(), default=list)), saved()[1])
    assert ("--merged" in str(caught.value)) is merges
    assert (config.peft_type.value in METHODS) is merges


def test_the_methods_that_are_offered_a_merged_copy_are_those_that_merge():
    assert frozenset(METHODS) == MERGEABLE


@pytest.mark.parametrize(
    "settings", [{"layer_replication": [[0, 2], [1, 2]]}, {"target_parameters": ["query.weight"]}]
)
def test_what_no_merged_copy_can_serve_is_refused_without_offering_one(saved, bert, settings):
    config, tensors = saved()
    with pytest.raises(UnsupportedAdapter, match=f"{next(iter(settings))}.*Train again without it") as caught:
        parsed(config | settings, tensors)
    assert "--merged" not in str(caught.value)
    with pytest.raises(UnsupportedAdapter, match="cannot be merged"):
        fresh_adapter(head_model(bert, HeadKind.SEQUENCE, 3), config | settings, tensors)


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
        ({"base_model.model.classifier.weight": None}, "no sequence head with 3 outputs.*none at all"),
        ({f"{QUERY}.lora_magnitude_vector": np.ones(32, "f4")}, "use_dora and the presence of a magnitude"),
        ({f"{QUERY}.lora_A.weight": np.ones((4, 32, 1), "f4")}, "not on a linear layer"),
        ({f"{QUERY}.lora_E": np.ones((4, 1), "f4")}, "LoRA variant that does not fit in a slot.*--merged"),
    ],
)
def test_malformed_tensors_are_refused(saved, change, reason):
    config, tensors = saved()
    tensors = {key: tensor for key, tensor in (tensors | change).items() if tensor is not None}
    with pytest.raises(BadAdapter, match=reason):
        parsed(config, tensors)


@pytest.mark.parametrize(
    ("vector", "reason"),
    [(None, "use_dora and the presence of a magnitude"), (np.ones(31, "f4"), "32 outputs, but a magnitude")],
)
def test_dora_without_its_magnitudes_is_refused(saved, vector, reason):
    config, tensors = saved(use_dora=True)
    tensors.pop(f"{QUERY}.lora_magnitude_vector")
    with pytest.raises(BadAdapter, match=reason):
        parsed(config, tensors | ({} if vector is None else {f"{QUERY}.lora_magnitude_vector": vector}))


@pytest.mark.parametrize("shape", [(32,), (2, 16), (1, 1, 32)])
def test_ia3_that_is_not_of_a_linear_layer_is_refused(saved, shape):
    config, tensors = saved(method="ia3", targets=["query"], feedforward_modules=[])
    with pytest.raises(UnsupportedAdapter, match="not on a linear layer"):
        parsed(config, tensors | {f"{QUERY}.ia3_l": np.ones(shape, "f4")})


def test_a_head_with_other_labels_is_refused(saved):
    with pytest.raises(BadAdapter, match="no sequence head with 5 outputs"):
        parsed(*saved(), labels=5)


def test_an_adapter_without_lora_is_refused(saved):
    config, tensors = saved()
    with pytest.raises(BadAdapter, match="holds no LoRA or IA3 tensors"):
        parsed(config, {key: tensor for key, tensor in tensors.items() if "lora" not in key})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"r": "4"}, "r for .* is '4'"),
        ({"r": 0}, "r for .* is 0"),
        ({"lora_alpha": None}, "lora_alpha for .* is None"),
        ({"lora_alpha": float("inf")}, "lora_alpha for .* is inf"),
        ({"rank_pattern": ["query"]}, "rank_pattern must map"),
        ({"alpha_pattern": {"(": 2}}, "missing \\)"),
        ({"alpha_pattern": {r"(a)\1": 2}}, "cannot be matched in linear time"),
        ({"target_modules": "(?=query)query"}, "cannot be matched in linear time"),
        ({"modules_to_save": ["(.*?)classifier"]}, "names of modules"),
        ({"peft_type": None}, "nameless adapter, which does not fit in a slot"),
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
            assert len(weights.layers) == 2

    check()


def test_outputs_of_each_kind():
    assert {kind: outputs_of(kind, 7) for kind in HeadKind} == {
        HeadKind.SEQUENCE: 7,
        HeadKind.SEQUENCE_MEAN: 7,
        HeadKind.TOKEN: 7,
        HeadKind.SPAN: 2,
        HeadKind.EMBEDDING: 0,
        HeadKind.GENERATE: 0,
    }
