"""Adapters of ViTs that PEFT saved under transformers 4, whose models had other names of modules."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch  # noqa: TID253
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from hub.api import HeadKind
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.bases.inspect import module_name
from hub.cli.main import app
from hub.config import find_home
from hub.errors import BadAdapter, BadBase, BaseMismatch
from hub.imports.vit_names import with_current_names
from hub.store.content.weights import AdapterFiles, read_adapter, write_adapter
from hub.store.store import Store
from tests.support.tiny import VISION, peft_model, tiny_adapter, tiny_encoder, tiny_vision

LABELS = ("cat", "dog")
ATTENTION = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
}
FEED_FORWARD = {"mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}
OLD = {
    "vit": {".layers.": ".encoder.layer."} | ATTENTION | FEED_FORWARD,
    "deit": {".layers.": ".encoder.layer."} | ATTENTION | FEED_FORWARD,
    "dinov2": ATTENTION,
}
QUERY_VALUE = ("q_proj", "v_proj")
METHODS = {
    "lora": ({"targets": QUERY_VALUE}, {"target_modules": ["query", "value"]}),
    "lora of all layers": ({}, {"target_modules": "all-linear"}),
    "dora": ({"targets": QUERY_VALUE, "use_dora": True}, {"target_modules": ["value", "query"]}),
    "biases": (
        {"targets": QUERY_VALUE, "bias": "lora_only"},
        {"target_modules": r".*\.attention\.(query|value)"},
    ),
    "ranks": (
        {"targets": QUERY_VALUE, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}},
        {
            "target_modules": ["query", "value"],
            "rank_pattern": {"query": 2},
            "alpha_pattern": {r"attention\.value": 3},
        },
    ),
    "ia3": (
        {"method": "ia3", "targets": ("k_proj", "v_proj")},
        {"target_modules": ["key", "value"], "feedforward_modules": []},
    ),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Base]:
    folder = tmp_path_factory.mktemp("bases")
    return {model_type: tiny_vision(folder / model_type, model_type) for model_type in VISION}


def made(base: Base, folder: Path, method: str) -> tuple[Path, Path]:
    """Write an adapter as PEFT does now, and as it did under transformers 4; return both folders."""
    settings, config = METHODS[method]
    new = tiny_adapter(base, folder / "new", kind=HeadKind.SEQUENCE, labels=LABELS, seed=3, **settings)
    files = read_adapter(new)
    old = folder / "old"
    old.mkdir()
    tensors = {in_version_4(name, base.model_type): tensor for name, tensor in files.tensors.items()}
    assert tensors.keys() != files.tensors.keys()
    write_adapter(old, AdapterFiles({**files.config, **config}, tensors))
    return new, old


def in_version_4(name: str, model_type: str) -> str:
    for now, before in OLD[model_type].items():
        name = name.replace(now, before)
    return name


def scores(base: Base, folder: Path) -> np.ndarray:
    """The scores, [2, C], that plain PEFT gives two images."""
    assert base.image
    pixels = np.random.default_rng(0).standard_normal((2, *base.image.shape)).astype(np.float32)
    with torch.inference_mode():
        found = peft_model(base, folder, HeadKind.SEQUENCE, len(LABELS))(
            pixel_values=torch.from_numpy(pixels)
        )
    return found.logits.numpy()


@pytest.mark.parametrize("model_type", sorted(VISION))
@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_of_transformers_4_is_stored_as_the_same_one_of_transformers_5(
    bases: dict[str, Base], tmp_path: Path, model_type: str, method: str
) -> None:
    base = bases[model_type]
    new, old = made(base, tmp_path, method)
    Bases(find_home()).pull(str(base.path))
    described = ("--task", "image-classification", "--base", base.name, "--labels", ",".join(LABELS))
    done = CliRunner().invoke(app, ["adapters", "import", str(old), "photos", *described])
    assert done.exit_code == 0, done.exception
    assert "Renamed its modules" in done.output
    store = Store(find_home())
    stored, saved = read_adapter(store.get("photos@1").path), read_adapter(new)
    assert stored.tensors.keys() == saved.tensors.keys()
    assert all(np.array_equal(stored.tensors[name], saved.tensors[name]) for name in saved.tensors)
    np.testing.assert_allclose(scores(base, store.get("photos@1").path), scores(base, new), atol=1e-6)


def test_what_has_the_current_names_or_reads_text_is_left_as_it_is(
    bases: dict[str, Base], tmp_path: Path
) -> None:
    new, old = made(bases["vit"], tmp_path, "lora")
    files = read_adapter(new)
    assert with_current_names(files, bases["vit"]) is files
    text = tiny_encoder(tmp_path / "bert")
    assert with_current_names(before := read_adapter(old), text) is before


def test_an_adapter_with_both_names_of_one_tensor_is_refused(bases: dict[str, Base], tmp_path: Path) -> None:
    new, old = made(bases["vit"], tmp_path, "lora")
    files, others = read_adapter(new), read_adapter(old).tensors
    both = AdapterFiles(files.config, {**files.tensors, **{name: others[name] * 2 for name in others}})
    with pytest.raises(BadAdapter, match="are names of the same tensor"):
        with_current_names(both, bases["vit"])


def test_a_base_with_both_names_of_one_weight_is_refused(bases: dict[str, Base], tmp_path: Path) -> None:
    folder = tmp_path / "vit"
    shutil.copytree(bases["vit"].path, folder)
    weights = load_file(folder / "model.safetensors")
    old = next(name for name in weights if "encoder.layer" in name)
    save_file({**weights, module_name(old, "vit"): weights[old] * 2}, folder / "model.safetensors")
    with pytest.raises(BadBase, match="are names of the same tensor"):
        Bases(find_home()).pull(str(folder))


def test_layers_that_the_base_does_not_have_are_still_refused(bases: dict[str, Base], tmp_path: Path) -> None:
    _, old = made(bases["vit"], tmp_path, "lora")
    files = read_adapter(old)
    moved = {name.replace("layer.1.", "layer.7."): tensor for name, tensor in files.tensors.items()}
    write_adapter(old, AdapterFiles(files.config, moved))
    Bases(find_home()).pull(str(bases["vit"].path))
    described = ("--task", "image-classification", "--base", "vit", "--labels", ",".join(LABELS))
    refused = CliRunner().invoke(app, ["adapters", "import", str(old), "photos", *described])
    assert isinstance(refused.exception, BaseMismatch)
    assert "layers.7" in str(refused.exception)


def test_an_update_of_two_fused_layers_is_refused(tmp_path: Path) -> None:
    base = tiny_vision(tmp_path / "giant", "dinov2", use_swiglu_ffn=True)
    folder = tiny_adapter(
        base, tmp_path / "new", kind=HeadKind.SEQUENCE, labels=LABELS, targets=("up_proj", "down_proj")
    )
    files = read_adapter(folder)
    fused = {
        name.replace("up_proj", "weights_in").replace("down_proj", "weights_out"): tensor
        for name, tensor in files.tensors.items()
    }
    config = {**files.config, "target_modules": ["weights_in", "weights_out"]}
    write_adapter(folder, AdapterFiles(config, fused))
    Bases(find_home()).pull(str(base.path))
    described = ("--task", "image-classification", "--base", "giant", "--labels", ",".join(LABELS))
    refused = CliRunner().invoke(app, ["adapters", "import", str(folder), "photos", *described])
    assert isinstance(refused.exception, BaseMismatch)
    assert "weights_in" in str(refused.exception)


def test_the_config_names_modules_that_are_there(bases: dict[str, Base], tmp_path: Path) -> None:
    _, old = made(bases["vit"], tmp_path, "ranks")
    config = with_current_names(read_adapter(old), bases["vit"]).config
    assert config["target_modules"] == [
        f"vit.layers.{layer}.attention.{name}" for layer in range(2) for name in QUERY_VALUE
    ]
    assert config["rank_pattern"] == {rf"^vit\.layers\.{layer}\.attention\.q_proj": 2 for layer in range(2)}
    assert json.loads(json.dumps(config)) == config
