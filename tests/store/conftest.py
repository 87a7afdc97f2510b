"""Small adapters, made without torch: PEFT's file format, numbers of our own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from hub.api import HeadKind
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.store.manifest import BaseRef, Serving
from hub.store.store import Store

LAYER = "encoder.layer.0.attention.self.query"
WIDTH = 8


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home)


@pytest.fixture
def small_base(tmp_path: Path, home: Path) -> Callable[..., Base]:
    """Return a puller of one-layer bases: `small_base("name", width=8)`."""

    def pull(name: str = "small", width: int = WIDTH) -> Base:
        folder = tmp_path / "bases-made" / name
        folder.mkdir(parents=True)
        save_file({f"{LAYER}.weight": np.ones((width, width), np.float32)}, folder / "model.safetensors")
        config = {"model_type": "bert", "architectures": ["BertModel"], "max_position_embeddings": 64}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "tokenizer.json").write_text("{}")
        return Bases(home).pull(str(folder), name)

    return pull


@pytest.fixture
def peft_folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of PEFT folders; `tensors` are put in beside or in place of its own."""

    def make(
        seed: int = 0,
        *,
        labels: int = 3,
        width: int = WIDTH,
        config: dict[str, Any] | None = None,
        tensors: dict[str, np.ndarray] | None = None,
    ) -> Path:
        folder = tmp_path / "adapters-made" / f"{seed}-{len(list(tmp_path.glob('adapters-made/*')))}"
        folder.mkdir(parents=True)
        numbers = np.random.default_rng(seed)
        made = {
            f"base_model.model.bert.{LAYER}.lora_A.weight": numbers.normal(size=(2, width)),
            f"base_model.model.bert.{LAYER}.lora_B.weight": numbers.normal(size=(width, 2)),
            "base_model.model.classifier.weight": numbers.normal(size=(labels, width)),
            "base_model.model.classifier.bias": numbers.normal(size=(labels,)),
        }
        made = {name: array.astype(np.float32) for name, array in made.items()} | (tensors or {})
        save_file(made, folder / "adapter_model.safetensors")
        settings = {
            "peft_type": "LORA",
            "task_type": "SEQ_CLS",
            "r": 2,
            "lora_alpha": 4,
            "target_modules": ["query"],
            "base_model_name_or_path": "/home/somebody/models/bert",
        }
        (folder / "adapter_config.json").write_text(json.dumps(settings | (config or {})))
        return folder

    return make


@pytest.fixture
def serving() -> Serving:
    return serving_for("classification")


def serving_for(task: str, fingerprint: str = "f" * 64) -> Serving:
    base = BaseRef(name="small", source="minilm", fingerprint=fingerprint)
    return Serving(task=task, head=HeadKind.SEQUENCE, base=base, labels=("a", "b", "c"))


@pytest.fixture
def stocked(store: Store, peft_folder, serving: Serving) -> Store:
    """Return a store with the versions x@1, x@2, x@3 and the version y@1 of another task."""
    for seed in (1, 2, 3):
        store.add("x", peft_folder(seed), serving, origin="trained")
    store.add("y", peft_folder(4), serving_for("sentiment"), origin="trained")
    return store
