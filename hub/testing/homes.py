"""State folders with adapters in them, made without torch: for tests that use the fake engine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from hub.api import HeadKind
from hub.bases.base import Base
from hub.store.manifest import BaseRef, Serving
from hub.store.records import Version
from hub.store.store import Store

__all__ = ["add_version", "plain_adapter"]

_HEADS = {
    HeadKind.SEQUENCE: ("classifier", "SEQ_CLS"),
    HeadKind.TOKEN: ("classifier", "TOKEN_CLS"),
    HeadKind.SPAN: ("qa_outputs", "QUESTION_ANS"),
    HeadKind.EMBEDDING: ("", "FEATURE_EXTRACTION"),
    HeadKind.GENERATE: ("", "CAUSAL_LM"),
}


def plain_adapter(
    folder: Path,
    *,
    kind: HeadKind = HeadKind.SEQUENCE,
    num_labels: int = 2,
    seed: int = 0,
    hidden: int = 32,
    module: str = "bert.encoder.layer.0.attention.self.query",
) -> Path:
    """Write a rank-2 LoRA of one layer and a head, as PEFT would, with numbers drawn from `seed`."""
    random = np.random.default_rng(seed)
    head, task_type = _HEADS[kind]
    shapes: dict[str, tuple[int, ...]] = {
        f"{module}.lora_A.weight": (2, hidden),
        f"{module}.lora_B.weight": (hidden, 2),
    }
    if head:
        outputs = 2 if kind is HeadKind.SPAN else num_labels
        shapes |= {f"{head}.weight": (outputs, hidden), f"{head}.bias": (outputs,)}
    folder.mkdir(parents=True, exist_ok=True)
    config = {"peft_type": "LORA", "task_type": task_type, "r": 2, "lora_alpha": 4}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = {
        f"base_model.model.{name}": random.standard_normal(shape, dtype=np.float32)
        for name, shape in shapes.items()
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def add_version(
    store: Store,
    base: Base,
    name: str,
    folder: Path,
    *,
    task: str = "sentiment",
    head: HeadKind = HeadKind.SEQUENCE,
    labels: Sequence[str] = ("negative", "positive"),
    settings: Mapping[str, Any] | None = None,
) -> Version:
    """Store the adapter in `folder` as the next version of `name`."""
    serving = Serving(
        task=task,
        head=head,
        base=BaseRef(name=base.name, source=base.source, fingerprint=base.fingerprint),
        labels=tuple(labels),
        settings=dict(settings or {}),
        max_length=min(64, base.max_length),
    )
    return store.add(name, folder, serving, origin="imported")
