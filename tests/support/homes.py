"""State folders with adapters in them, made without torch: for tests that use the fake engine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file

from hub.api import HeadKind
from hub.bases.base import Base
from hub.contract import PluginRef
from hub.store.manifest import BaseRef, Serving
from hub.store.records import Version
from hub.store.store import Store

if TYPE_CHECKING:
    from hub.engine.protocol import Array

__all__ = ["FakeHome", "add_version", "plain_adapter"]

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


Edit = Callable[[str, "Array"], "Array"]


class FakeHome:
    """A state folder with one base, to which adapters can be added."""

    def __init__(self, path: Path, base_folder: Path) -> None:
        self.path = path
        self.store = Store(path)
        self.base: Base = self.store.bases.pull(str(base_folder), base_folder.name)

    def add(
        self,
        name: str = "mood",
        seed: int = 0,
        *,
        task: str = "sentiment",
        kind: HeadKind = HeadKind.SEQUENCE,
        labels: Sequence[str] = ("negative", "positive"),
        settings: Mapping[str, Any] | None = None,
        plugin: PluginRef | None = None,
        edit: Edit | None = None,
    ) -> Version:
        """Store the next version of `name`: answers depend on `seed`; `edit` changes its tensors first."""
        with tempfile.TemporaryDirectory() as folder:
            adapter = plain_adapter(Path(folder), kind=kind, num_labels=len(labels), seed=seed)
            if edit:
                weights = adapter / "adapter_model.safetensors"
                save_file({key: edit(key, value) for key, value in load_file(weights).items()}, weights)
            made: dict[str, Any] = {"task": task, "head": kind, "labels": labels, "settings": settings}
            return add_version(self.store, self.base, name, adapter, plugin=plugin, **made)


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
    plugin: PluginRef | None = None,
    max_length: int = 64,
) -> Version:
    """Store the adapter in `folder` as the next version of `name`."""
    serving = Serving(
        task=task,
        head=head,
        base=BaseRef(name=base.name, source=base.source, fingerprint=base.fingerprint),
        labels=tuple(labels),
        settings=dict(settings or {}),
        max_length=min(max_length, base.max_length),
        contract=plugin.fingerprint if plugin else "",
    )
    return store.add(name, folder, serving, origin="imported", plugin=plugin)
