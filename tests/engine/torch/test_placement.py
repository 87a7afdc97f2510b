"""Where an adapter's arrays land on a base, and what lands nowhere is refused by name with a way out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hub.api import HeadKind
from hub.engine.protocol import LayerUpdate
from hub.errors import BadAdapter, UnsupportedAdapter
from tests.support import tiny

WAY_OUT = "ask for a merged copy of its own .serve: merged in the recipe, --merged at import."


@pytest.fixture
def place(bert, engine_of):
    return engine_of(bert, "torch", slots=1)._placement.place


@pytest.fixture
def sequence(bert, trained):
    return trained(bert, HeadKind.SEQUENCE, labels=3, seed=61, targets=["query"]).weights


def ones(*shape):
    return np.ones(shape, np.float32)


def test_a_backbone_layer_is_found_with_and_without_the_prefix_of_its_head(place, sequence):
    bare = {path.removeprefix("bert."): update for path, update in sequence.layers.items()}
    for layers in (sequence.layers, bare):
        placed = place(replace(sequence, layers=layers))
        assert placed.backbone.keys() == bare.keys()
        assert placed.head.keys() == {"classifier"}


def test_a_decoder_is_found_under_every_head(base_of, trained, engine_of):
    """PEFT has a name for the same layer under each head; here all are the path in the causal model."""
    base = base_of("llama")
    place = engine_of(base, "torch", slots=1)._placement.place
    found = []
    for kind in tiny.head_kinds(base):
        labels = 3 if kind in (HeadKind.SEQUENCE, HeadKind.TOKEN) else 0
        weights = trained(base, kind, labels=labels, seed=62, targets=["q_proj"]).weights
        found.append(frozenset(place(weights).backbone))
    assert set(found) == {frozenset(f"model.layers.{n}.self_attn.q_proj" for n in (0, 1))}


def test_lora_is_stored_transposed_and_dora_as_a_scale(bert, place, trained):
    """The scale is magnitude / |W + b a|, over inputs; the bias is not scaled (arXiv:2402.09353)."""
    weights = trained(bert, HeadKind.TOKEN, labels=2, seed=63, use_dora=True, targets=["query"]).weights
    path = "bert.encoder.layer.0.attention.self.query"
    update = weights.layers[path]
    layer = trained(bert, HeadKind.TOKEN, labels=2, seed=63, use_dora=True, targets=["query"])
    linear = layer.model.base_model.model.get_submodule(path).base_layer
    weight, bias = linear.weight.detach().numpy(), linear.bias.detach().numpy()
    parts = place(weights).backbone[path.removeprefix("bert.")]
    scale = update.magnitude / np.linalg.norm(weight + update.b @ update.a, axis=1)
    np.testing.assert_allclose(parts["a"].T, update.a)
    np.testing.assert_allclose(parts["output_scale"], scale, rtol=1e-5)
    np.testing.assert_allclose(parts["b"].T, update.b * scale[:, None], rtol=1e-5)
    np.testing.assert_allclose(parts["shift"], (1 - scale) * bias, atol=1e-6)
    shifted = replace(weights, full={**weights.full, f"{path}.bias": bias + 1})
    np.testing.assert_allclose(
        place(shifted).backbone[path.removeprefix("bert.")]["shift"], (1 - scale) * bias + 1, atol=1e-6
    )


def test_a_trained_bias_becomes_a_shift_of_the_base(bert, place, trained):
    adapter = trained(bert, HeadKind.SEQUENCE, labels=3, seed=64, bias="all", targets=["query"])
    placed = place(adapter.weights)
    own = dict(adapter.model.base_model.model.named_parameters())
    for path, parts in placed.backbone.items():
        names = [f"bert.{path}.bias", f"bert.{path}.base_layer.bias"]
        trained_bias = next(own[name] for name in names if name in own).detach()
        with_shift = placed.backbone[path]["shift"]
        assert with_shift.shape == trained_bias.shape
        assert parts["shift"].abs().max() > 0
    assert any("LayerNorm" in path for path in placed.backbone)
    assert set(placed.head) == {"classifier", "bert.pooler.dense"}
    assert set(placed.head["bert.pooler.dense"]) == {"shift"}
    assert set(placed.head["classifier"]) == {"weight", "bias"}


def test_a_pooler_that_the_head_does_not_read_is_left_out(bert, trained, place):
    embedding = trained(bert, HeadKind.EMBEDDING, seed=65, modules_to_save=["pooler"], targets=["query"])
    assert any(name.startswith("pooler.") for name in embedding.weights.full)
    placed = place(embedding.weights)
    assert all("pooler" not in path for path in placed.backbone)
    assert placed.head == {}


@pytest.mark.parametrize("name", ["classifier", "bert.encoder.layer.9.x"])
def test_layers_that_no_slot_holds(place, sequence, name):
    update = LayerUpdate(a=ones(4, 32), b=ones(3, 4))
    error, reason = (
        (UnsupportedAdapter, "'classifier' is a new layer of the head.*name it in modules_to_save")
        if name == "classifier"
        else (BadAdapter, f"has no linear layer '{name}' that a slot can change")
    )
    with pytest.raises(error, match=reason):
        place(replace(sequence, layers={**sequence.layers, name: update}))


def test_a_layer_of_another_type_is_named_with_a_way_out(place, sequence):
    layers = {**sequence.layers, "bert.embeddings.word_embeddings": LayerUpdate(a=ones(4, 32), b=ones(32, 4))}
    with pytest.raises(UnsupportedAdapter, match=f"word_embeddings' .* is of type Embedding.*{WAY_OUT}"):
        place(replace(sequence, layers=layers))


@pytest.mark.parametrize(
    ("full", "reason"),
    [
        ("encoder.layer.1.output.dense.weight", "in the backbone is possible for biases only"),
        ("encoder.layer.1.output.LayerNorm.weight", "in the backbone is possible for biases only"),
        ("embeddings.word_embeddings.weight", "belongs neither to a sequence head nor to a layer"),
    ],
)
def test_what_was_trained_in_full_and_has_no_slot(place, sequence, full, reason):
    with pytest.raises(
        UnsupportedAdapter, match=f"'bert.{full.rpartition('.')[0]}' was .*{reason}.*{WAY_OUT}"
    ):
        place(replace(sequence, full={**sequence.full, f"bert.{full}": ones(32, 32)}))


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (LayerUpdate(a=ones(4, 31), b=ones(32, 4)), "maps 32 to 32 values, but .* maps 31 to 32"),
        (LayerUpdate(a=ones(4, 32), b=ones(33, 4)), "maps 32 to 32 values, but .* maps 32 to 33"),
        (LayerUpdate(output_scale=ones(31)), "maps 32 to 32 values, but .* maps 32 to 31"),
        (LayerUpdate(input_scale=ones(48)), "maps 32 to 32 values, but .* maps 48 to 32"),
    ],
)
def test_updates_of_another_shape(place, sequence, update, reason):
    with pytest.raises(BadAdapter, match=reason):
        place(replace(sequence, layers={"bert.encoder.layer.0.attention.self.query": update}))


@pytest.mark.parametrize("part", ["output_scale", "shift", "input_scale", "a", "extra"])
def test_a_head_layer_has_no_parameter_of_another_name(bert, trained, engine_of, fill, sequence, part):
    """A slot has parts of such names, which an adapter with more labels would meet in its own scores."""
    other = trained(bert, HeadKind.SEQUENCE, labels=5, seed=68, targets=["query"])
    engine = engine_of(bert, "torch", slots=2)
    fill(engine, [other])
    odd = replace(sequence, full={**sequence.full, f"classifier.{part}": ones(3)})
    for refuse in (engine.check, lambda weights: engine.write(2, weights)):
        with pytest.raises(BadAdapter, match=f"'classifier' of the head has no parameter '{part}'"):
            refuse(odd)
    row = other.row(1, 5)
    [output] = engine.run([row])
    np.testing.assert_allclose(output.values, other.alone(row.row), atol=1e-5)


@pytest.mark.parametrize("update", [LayerUpdate(output_scale=ones(32)), LayerUpdate(input_scale=ones(32))])
def test_a_norm_takes_no_update(place, sequence, update):
    with pytest.raises(BadAdapter, match="LayerNorm' of the base is not linear"):
        place(replace(sequence, layers={"bert.encoder.layer.0.output.LayerNorm": update}))


def test_the_base_s_own_weight_saved_beside_lora_on_it_is_no_hindrance(place, bert, trained, sequence):
    path = "bert.encoder.layer.1.output.dense"
    own = trained(bert, HeadKind.SEQUENCE, labels=3, seed=61, targets=["query"]).model
    weight = own.base_model.model.get_submodule(path).weight.detach().numpy()
    with_own = replace(sequence, full={**sequence.full, f"{path}.weight": weight})
    assert place(with_own).backbone.keys() == place(sequence).backbone.keys()
    with pytest.raises(UnsupportedAdapter, match="in the backbone is possible for biases only"):
        place(replace(sequence, full={**sequence.full, f"{path}.weight": weight * 1.01}))


def test_a_bias_of_another_shape_or_of_a_layer_without_one(place, sequence, base_of, trained, engine_of):
    path = "bert.encoder.layer.0.attention.self.query"
    with pytest.raises(BadAdapter, match=rf"{path}' of the base has no bias of shape \(31,\)"):
        place(replace(sequence, full={**sequence.full, f"{path}.bias": ones(31)}))
    llama = base_of("llama")
    generate = trained(llama, HeadKind.GENERATE, seed=66, targets=["q_proj"]).weights
    engine = engine_of(llama, "torch", slots=1)
    with pytest.raises(BadAdapter, match=r"q_proj' of the base has no bias of shape \(32,\)"):
        engine.check(replace(generate, full={"model.layers.0.self_attn.q_proj.bias": ones(32)}))


def test_the_shared_norm_of_deberta_is_named(base_of, trained, engine_of):
    """It works on the table of relative positions, which all rows share."""
    base = base_of("deberta-v2")
    engine = engine_of(base, "torch", slots=1)
    adapter = trained(base, HeadKind.TOKEN, labels=2, seed=67, bias="all", targets=["query_proj"])
    with pytest.raises(UnsupportedAdapter, match=rf"'deberta.encoder.LayerNorm' was .*{WAY_OUT}"):
        engine.check(adapter.weights)
    kept = {n: a for n, a in adapter.weights.full.items() if n != "deberta.encoder.LayerNorm.bias"}
    engine.check(replace(adapter.weights, full=kept))


def test_merged_parameters_that_the_base_does_not_have(place, bert, engine_of, sequence):
    engine = engine_of(bert, "torch", slots=1)
    full = {**sequence.full, "bert.encoder.layer.9.output.dense.weight": ones(32, 48)}
    with pytest.raises(BadAdapter, match=r"no parameter bert.encoder.layer.9.output.dense.weight"):
        engine.check(replace(sequence, layers={}, full=full, merged=True))
