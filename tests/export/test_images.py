# ruff: noqa: TID253 - loads what was exported with onnxruntime, transformers and PEFT
"""Exports of versions that read images compute, without the hub, what the adapter on its base does."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import peft
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageClassification

from hub.api import HeadKind
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.engine.tokenizer import load_tokenizer
from hub.errors import ExportFailed
from hub.evaluation.predict import forward_rows
from hub.export import parity
from hub.export.export import export_version
from hub.export.formats import Format, Precision
from hub.registry.host import Registry
from hub.store.importing import import_peft
from hub.store.store import Store
from tests.support.tiny import VISION, peft_model, tiny_adapter, tiny_vision

LABELS = ("cat", "dog", "owl")
FILES = {
    "onnx": {"model.onnx"},
    "safetensors-merged": {"model.safetensors", "config.json"},
}


@dataclass(frozen=True)
class Made:
    """A store with `photos@1`, and that version as plain PEFT saved it."""

    store: Store
    base: Base
    adapter: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """Make a version on a tiny base of a type, once."""
    kept: dict[str, Made] = {}

    def make(model_type: str) -> Made:
        if model_type not in kept:
            folder = tmp_path_factory.mktemp("images")
            store = Store(folder / "home")
            base = Bases(store.home).pull(str(tiny_vision(folder / model_type, model_type).path))
            adapter = tiny_adapter(base, folder / "adapter", kind=HeadKind.SEQUENCE, labels=LABELS)
            import_peft(
                store,
                adapter,
                "photos",
                task="image-classification",
                head=HeadKind.SEQUENCE,
                base=base,
                labels=LABELS,
                settings={},
                max_length=4096,
            )
            kept[model_type] = Made(store, base, adapter)
        return kept[model_type]

    return make


def alone(one: Made, pixels: np.ndarray) -> np.ndarray:
    """Return the scores [B, C] of images by plain PEFT."""
    assert one.base.image
    model = peft_model(one.base, one.adapter, HeadKind.SEQUENCE, len(LABELS))
    rows = [one.base.image.row(each) for each in pixels]
    outputs = forward_rows(model, load_tokenizer(one.base), HeadKind.SEQUENCE, rows)
    return np.stack([output.values for output in outputs])


def pixels_of(one: Made) -> np.ndarray:
    assert one.base.image
    return np.random.default_rng(7).standard_normal((3, *one.base.image.shape)).astype(np.float32)


def photo(one: Made, folder: Path) -> np.ndarray:
    """Write photo.jpg to `folder`; return it as the task makes it, [1, 3, H, W]."""
    colours = np.random.default_rng(3).integers(0, 256, (37, 52, 3), np.uint8)
    Image.fromarray(colours).save(folder / "photo.jpg", quality=95)
    sent = base64.b64encode((folder / "photo.jpg").read_bytes()).decode()
    loaded = Registry.load().task("image-classification")
    (row,) = loaded.task.encode(
        loaded.request(image=sent), load_tokenizer(one.base), one.store.get("photos@1").info
    )
    assert row.pixel_values is not None
    return row.pixel_values[None]


def readme_code(folder: Path) -> str:
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert code
    return code[1]


def run_readme(folder: Path, show: str) -> np.ndarray:
    """Run the README's code in a fresh process there; return what the expression `show` gives."""
    command = [
        sys.executable,
        "-c",
        f"{readme_code(folder)}\nimport json\nprint(json.dumps({show}.tolist()))",
    ]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return np.array(json.loads(done.stdout))


@pytest.mark.parametrize("model_type", sorted(VISION))
@pytest.mark.parametrize("form", [Format.ONNX, Format.MERGED])
def test_every_family_computes_what_peft_does(made, tmp_path: Path, model_type: str, form: Format) -> None:
    one = made(model_type)
    exported = export_version(one.store, "photos", tmp_path / "out", form)
    assert exported.parity is not None
    assert exported.parity.total.max_difference <= 1e-4
    assert one.base.image
    sizes = [(each.rows, each.tokens) for each in exported.parity.batches]
    assert sizes == [(rows, one.base.image.tokens) for rows in (1, 2, 5, 16)]
    assert exported.parity.total.decisions == 1 + 2 + 5 + 16
    names = {path.name for path in (tmp_path / "out").iterdir()}
    shared = {"preprocessor_config.json", "task.json", "parity.json", "README.md"}
    assert names == shared | FILES[form.value]
    pixels = pixels_of(one)
    if form is Format.ONNX:
        session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
        (asked,) = session.get_inputs()
        assert (asked.name, asked.shape) == ("pixel_values", ["batch", *pixels.shape[1:]])
        (found,) = session.run(["logits"], {"pixel_values": pixels})
    else:
        model = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
        assert model.config.id2label == dict(enumerate(LABELS))
        with torch.inference_mode():
            found = model(pixel_values=torch.from_numpy(pixels)).logits.numpy()
    np.testing.assert_allclose(found, alone(one, pixels), atol=1e-4)


@pytest.mark.parametrize("model_type", sorted(VISION))
def test_the_readme_of_a_graph_answers_for_a_file_what_the_hub_does(
    made, tmp_path: Path, model_type: str
) -> None:
    """A ViT is resized, a DeiT also cropped, a DINOv2 resized by its shorter side."""
    one = made(model_type)
    export_version(one.store, "photos", tmp_path / "out", Format.ONNX)
    pixels = photo(one, tmp_path / "out")
    np.testing.assert_allclose(run_readme(tmp_path / "out", "logits"), alone(one, pixels), atol=1e-3)
    task = json.loads((tmp_path / "out" / "task.json").read_text())
    assert task["labels"] == list(LABELS)
    assert (task["image"]["height"], task["image"]["width"]) == pixels.shape[2:]


def test_the_readme_of_a_merged_folder_answers_for_a_file_what_the_hub_does(
    made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made("vit")
    export_version(one.store, "photos", tmp_path / "out", Format.MERGED)
    pixels = photo(one, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    left: dict[str, Any] = {}
    exec(readme_code(tmp_path / "out"), left)  # it imports torch and transformers, which takes seconds
    found = left["outputs"].logits.detach().numpy()
    np.testing.assert_allclose(found, alone(one, pixels), atol=0.05)  # its processor resizes in its own way


def test_a_graph_in_int8_passes_the_gate_of_int8(made, tmp_path: Path) -> None:
    one = made("vit")
    exported = export_version(one.store, "photos", tmp_path / "out", Format.ONNX, precision=Precision.INT8)
    assert exported.parity is not None and exported.parity.total.cosine >= parity.MIN_INT8_COSINE
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    pixels = pixels_of(one)
    (found,) = session.run(["logits"], {"pixel_values": pixels})
    difference = np.abs(found - alone(one, pixels)).max()
    assert 1e-5 < difference < 0.5


def test_a_graph_that_differs_leaves_nothing(made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "TOLERANCE", -1.0)
    with pytest.raises(ExportFailed, match="differs from PEFT"):
        export_version(made("vit").store, "photos", tmp_path / "out", Format.ONNX)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT 0.21
def test_the_adapter_alone_is_loaded_by_peft_on_its_base(made, tmp_path: Path) -> None:
    one = made("vit")
    exported = export_version(one.store, "photos", tmp_path / "out", Format.PEFT)
    assert exported.parity is None
    base = AutoModelForImageClassification.from_pretrained(one.base.path, num_labels=3)
    model = peft.PeftModel.from_pretrained(base, tmp_path / "out").eval()
    pixels = pixels_of(one)
    with torch.inference_mode():
        found = model(pixel_values=torch.from_numpy(pixels)).logits.numpy()
    np.testing.assert_allclose(found, alone(one, pixels), atol=1e-5)
