# ruff: noqa: TID253 - compares with torch and PEFT
"""Bases that read images: any mix of adapters in one forward answers as PEFT does with each image alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageClassification

from hub.api import HeadKind, Pooling, Row
from hub.bases.base import BaseKind
from hub.bases.inspect import layer_shapes
from hub.engine.build import build_engine
from hub.engine.peft.load import weights_of
from hub.engine.protocol import EngineRow
from hub.engine.tokenizer import load_tokenizer
from hub.errors import BadBase, BadConfig, BadRequest, EngineFailed, UnsupportedAdapter
from hub.store.content.weights import read_adapter
from tests.engine.conftest import bare_embedding, bare_model, random_row
from tests.support import tiny

TOLERANCE = 1e-4
METHODS = {
    "all linear layers": {},
    "attention and the layer after it": {"targets": ["q_proj", "k_proj", "v_proj", "o_proj"], "rank": 2},
    "feed-forward": {"targets": ["fc1", "fc2"], "rank": 6},
    "rank by layer": {"targets": ["q_proj", "v_proj"], "rank_pattern": {"q_proj": 2, "v_proj": 7}},
    "rslora": {"use_rslora": True, "rank": 8},
    "dora": {"use_dora": True, "rank": 3},
    "bias lora_only": {"bias": "lora_only"},
    "ia3": {"method": "ia3"},
}


def served(base, trained):
    adapters = {
        f"sequence: {name}": trained(base, HeadKind.SEQUENCE, labels=2 + number, seed=number, **asked)
        for number, (name, asked) in enumerate(METHODS.items())
    }
    return adapters | {"embedding": trained(base, HeadKind.EMBEDDING, seed=90)}


@pytest.mark.parametrize("family", tiny.VISION)
@pytest.mark.parametrize("kind", ["torch", "auto"])
def test_all_methods_in_one_forward(family, kind, base_of, trained, engine_of, fill, watch) -> None:
    base = base_of(family)
    assert base.kind is BaseKind.VISION
    named = served(base, trained)
    adapters = list(named.values())
    engine = engine_of(base, kind, slots=len(adapters))
    for adapter in adapters:
        engine.check(adapter.weights)
    fill(engine, adapters)
    ran = watch(engine)
    rows = [adapter.row(slot, 0, seed) for seed in (1, 2) for slot, adapter in enumerate(adapters, 1)]
    off = {}
    for row, output in zip(rows, engine.run(rows), strict=True):
        expected = adapters[row.slot - 1].alone(row.row)
        assert output.values.shape == expected.shape
        off[list(named)[row.slot - 1]] = float(np.abs(output.values - expected).max())
    assert max(off.values()) <= TOLERANCE, off
    assert ran == ["torch float32"]
    with adapters[0].model.disable_adapter():
        bare = adapters[0].alone(rows[0].row)
    assert np.abs(bare - adapters[0].alone(rows[0].row)).max() > 0.01


def test_an_emptied_slot_is_the_bare_base_and_a_slot_written_anew_its_new_adapter(
    base_of, trained, engine_of, fill
) -> None:
    base = base_of("vit")
    old, new = (trained(base, HeadKind.SEQUENCE, labels=3, seed=seed) for seed in (1, 2))
    engine = engine_of(base, "torch", slots=2)
    fill(engine, [old, old])
    row = random_row(base, 0, seed=4)
    engine.write(2, new.weights)
    first, second = engine.run([EngineRow(row, slot, HeadKind.SEQUENCE) for slot in (1, 2)])
    np.testing.assert_allclose(first.values, old.alone(row), atol=TOLERANCE)
    np.testing.assert_allclose(second.values, new.alone(row), atol=TOLERANCE)
    engine.clear(1)
    for slot in (0, 1):
        [output] = engine.run([EngineRow(row, slot, HeadKind.EMBEDDING)])
        np.testing.assert_allclose(output.values, bare_embedding(base, row), atol=TOLERANCE)


def test_each_image_has_its_own_pooling(base_of, trained, engine_of, fill) -> None:
    base = base_of("deit")
    adapter = trained(base, HeadKind.EMBEDDING, seed=90)
    engine = engine_of(base, "torch", slots=1)
    fill(engine, [adapter])
    rows = [replace(random_row(base, 0, seed=5), pooling=one) for one in (*Pooling, None)]
    for row, output in zip(
        rows, engine.run([EngineRow(row, 1, HeadKind.EMBEDDING) for row in rows]), strict=True
    ):
        np.testing.assert_allclose(output.values, adapter.alone(row), atol=TOLERANCE)


def test_a_merged_adapter_answers_as_peft_does(base_of, trained, engine_of, tmp_path) -> None:
    base = base_of("vit")
    folder = tiny.tiny_adapter(
        base, tmp_path / "adapter", kind=HeadKind.SEQUENCE, labels=("a", "b", "c"), seed=3, use_dora=True
    )
    files = read_adapter(folder)
    weights = weights_of(
        base, files.config, files.tensors, kind=HeadKind.SEQUENCE, num_labels=3, sha256="1", merged=True
    )
    beside = trained(base, HeadKind.SEQUENCE, labels=2, seed=0)
    engine = engine_of(base, "torch", slots=2)
    engine.write(1, weights)
    engine.write(2, beside.weights)
    row = random_row(base, 0, seed=6)
    first, second = engine.run([EngineRow(row, slot, HeadKind.SEQUENCE) for slot in (1, 2)])
    alone = tiny.peft_model(base, folder, HeadKind.SEQUENCE, 3)
    with torch.inference_mode():
        expected = alone(pixel_values=torch.from_numpy(row.pixel_values)[None]).logits[0].numpy()
    np.testing.assert_allclose(first.values, expected, atol=TOLERANCE)
    np.testing.assert_allclose(second.values, beside.alone(row), atol=TOLERANCE)


def test_a_base_that_was_published_with_a_classifier_of_its_own_takes_adapters_with_another(
    base_of, trained, engine_of, fill, tmp_path
) -> None:
    """As google/vit-base-patch16-224 has 1000 labels; the layers are those of a bare base under a prefix."""
    bare = base_of("vit")
    folder = tmp_path / "published"
    model = AutoModelForImageClassification.from_pretrained(bare.path, num_labels=9)
    model.save_pretrained(folder)
    shutil.copyfile(bare.path / "preprocessor_config.json", folder / "preprocessor_config.json")
    base = replace(bare, path=folder)
    adapter = trained(bare, HeadKind.SEQUENCE, labels=2, seed=0)
    engine = engine_of(base, "torch", slots=1)
    fill(engine, [adapter])
    row = adapter.row(1, 0, seed=7)
    [output] = engine.run([row])
    np.testing.assert_allclose(output.values, adapter.alone(row.row), atol=TOLERANCE)


def test_a_dinov2_with_gates_is_served_though_its_file_fuses_two_layers(
    trained, engine_of, fill, tmp_path
) -> None:
    """As facebook/dinov2-giant: `weights_in` of the file is `gate_proj` and `up_proj` of the model."""
    base = tiny.tiny_vision(tmp_path / "giant", "dinov2", use_swiglu_ffn=True)
    adapter = trained(base, HeadKind.SEQUENCE, labels=2, seed=0)
    changed = {name.rpartition(".")[2] for name in adapter.weights.layers}
    assert {"gate_proj", "up_proj", "down_proj"} <= changed
    engine = engine_of(base, "torch", slots=1)
    fill(engine, [adapter])
    row = adapter.row(1, 0, seed=7)
    [output] = engine.run([row])
    np.testing.assert_allclose(output.values, adapter.alone(row.row), atol=TOLERANCE)
    assert {name for name in layer_shapes(base) if "mlp" in name} == {
        name for name in bare_model(base.path).state_dict() if "mlp" in name
    }


def test_rows_that_are_no_image_of_this_base_are_refused_and_the_next_is_served(
    base_of, trained, engine_of, fill
) -> None:
    base = base_of("vit")
    adapter = trained(base, HeadKind.SEQUENCE, labels=2, seed=0)
    engine = engine_of(base, "torch", slots=1)
    fill(engine, [adapter])
    good = adapter.row(1, 0)
    small = np.zeros((3, 8, 8), np.float32)
    for row in (
        Row([0] * base.max_length),
        replace(good.row, pixel_values=small),
        replace(good.row, input_ids=[0]),
    ):
        with pytest.raises(BadRequest, match=r"takes images of shape \(3, 16, 20\), in rows of 21 tokens"):
            engine.run([good, EngineRow(row, 1, HeadKind.SEQUENCE)])
    [output] = engine.run([good])
    np.testing.assert_allclose(output.values, adapter.alone(good.row), atol=TOLERANCE)


def test_a_base_that_reads_text_refuses_images(bert, base_of, engine_of) -> None:
    image = random_row(base_of("vit"), 0)
    with pytest.raises(EngineFailed, match="reads text"):
        engine_of(bert, "torch").run([EngineRow(image, 0, HeadKind.EMBEDDING)])


def test_heads_that_read_tokens_are_refused(base_of, trained, engine_of, bert) -> None:
    engine = engine_of(base_of("vit"), "torch", slots=1)
    for kind in (HeadKind.TOKEN, HeadKind.SPAN):
        with pytest.raises(UnsupportedAdapter, match=f"no {kind} head to serve"):
            engine.check(trained(bert, kind, labels=2, seed=1).weights)


def test_biases_of_the_patches_fit_in_no_slot(base_of, trained, engine_of) -> None:
    base = base_of("vit")
    weights = trained(base, HeadKind.SEQUENCE, labels=2, seed=0, bias="all").weights
    with pytest.raises(UnsupportedAdapter, match=r"patch_embeddings.*serve: merged in the recipe"):
        engine_of(base, "torch", slots=1).check(weights)


@pytest.mark.parametrize("kind", ["onnx", "onnx-int8", "openvino"])
def test_engines_of_graphs_refuse_the_base(kind, base_of) -> None:
    with pytest.raises(BadConfig, match=r"of kind vision\. Use torch"):
        build_engine(base_of("vit"), kind=kind, slots=1)


def test_there_is_no_tokenizer(base_of) -> None:
    tokenizer = load_tokenizer(base_of("vit"))
    assert len(tokenizer) == 0
    with pytest.raises(BadBase, match="reads images and has no tokenizer"):
        tokenizer("A text.")


def test_the_settings_of_the_image_processor_are_part_of_the_fingerprint(base_of, tmp_path) -> None:
    from hub.bases.fingerprint import fingerprint

    base = base_of("vit")
    folder = shutil.copytree(base.path, tmp_path / "copy")
    assert fingerprint(folder) == base.fingerprint
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"image_mean": [0, 0, 0]}))
    assert fingerprint(folder) != base.fingerprint
