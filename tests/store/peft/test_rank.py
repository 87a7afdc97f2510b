"""A rank or a head above the limit is refused from the header, before any weights are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub.api import HeadKind
from hub.errors import BadAdapter
from hub.store.card.folder import read_manifest
from hub.store.manifest import MAX_LABELS, BaseRef, Manifest, Serving
from hub.store.peft.rank import check_head, check_rank


def write(folder: Path, **shapes: tuple[int, ...]) -> Path:
    """Write a weights file whose data is a hole: nothing could read it without a lot of memory."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[f"base_model.model.layer.{name}"] = {
            "dtype": "F32",
            "shape": shape,
            "data_offsets": [end, end + size],
        }
        end += size
    text = json.dumps(header).encode()
    with (folder / "adapter_model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return folder


def test_a_rank_of_a_terabyte_is_refused_without_reading_it(tmp_path: Path) -> None:
    folder = write(tmp_path, **{"lora_A.weight": (500_000_000, 384), "lora_B.weight": (384, 500_000_000)})
    with pytest.raises(BadAdapter, match=r"rank 500,000,000.*limit is 256.*--merged.*serve\.max_rank"):
        check_rank(folder, 256)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("lora_A.weight", (257, 8)),
        ("lora_B.weight", (8, 257)),
        ("lora_A.default.weight", (257, 8)),
        ("lora_embedding_A", (257, 8)),
    ],
)
def test_both_factors_are_looked_at_under_any_name_that_peft_gives_them(
    tmp_path: Path, name: str, shape: tuple[int, int]
) -> None:
    folder = write(tmp_path, **{"lora_A.other.weight": (4, 8), name: shape})
    with pytest.raises(BadAdapter, match="rank 257"):
        check_rank(folder, 256)
    check_rank(folder, 257)


def test_a_head_is_not_taken_for_a_rank(tmp_path: Path) -> None:
    check_rank(write(tmp_path, **{"classifier.weight": (5000, 8), "lora_A.weight": (4, 5000)}), 4)


@pytest.mark.parametrize("name", ["classifier.weight", "score.modules_to_save.weight"])
def test_a_head_of_a_terabyte_is_refused_without_reading_it(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path, **{"lora_A.weight": (4, 8), name: (500_000_000, 384)})
    with pytest.raises(BadAdapter, match=r"500,000,000 labels.*limit is 20,000.*Divide the labels"):
        check_head(folder)


def test_a_head_of_ten_thousand_intents_is_taken(tmp_path: Path) -> None:
    check_head(write(tmp_path, **{"classifier.weight": (MAX_LABELS, 8), "classifier.bias": (MAX_LABELS,)}))
    assert MAX_LABELS >= 10_000


def test_trained_embeddings_are_no_head(tmp_path: Path) -> None:
    check_head(write(tmp_path, **{"embed_tokens.modules_to_save.weight": (250_002, 8)}))


def test_a_manifest_of_too_many_labels_is_refused(tmp_path: Path) -> None:
    labels = tuple(f"label {n}" for n in range(MAX_LABELS))
    base = BaseRef(name="b", source="b", fingerprint="f")
    serving = Serving(task="t", head=HeadKind.SEQUENCE, base=base, labels=labels)
    manifest = Manifest(serving=serving, created="", origin="trained").model_dump(mode="json")
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert read_manifest(tmp_path).serving.labels == labels
    manifest["serving"]["labels"].append("one more")
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BadAdapter, match=r"serving.labels: .*20,001 labels, and the limit is 20,000"):
        read_manifest(tmp_path)
