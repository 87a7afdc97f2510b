"""State folders with a made-up base and adapter, for servers on the fake engine; nothing here needs torch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from hub.api import HeadKind, InputKind, TaskSpec
from hub.bases.base import Base
from hub.registry.host import Registry
from hub.store.change import Deploy
from hub.store.manifest import BaseRef, Serving
from hub.store.records import Version
from hub.store.store import Store

__all__ = ["deploy_made_up", "made_up_base", "model_type_of", "plain_adapter"]

HIDDEN = 32
_LENGTH = 256  # tokens
MODULES = {
    "bert": "bert.encoder.layer.0.attention.self.query",
    "llama": "model.layers.0.self_attn.q_proj",
    "vit": "vit.layers.0.attention.q_proj",
}
_SIDE, _PATCH = 24, 8  # pixels of an image and of a patch
_PROCESSOR = {
    "size": {"height": _SIDE, "width": _SIDE},
    "resample": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
_SIZES = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": _LENGTH,
}
_HEADS = {
    HeadKind.SEQUENCE: ("classifier", "SEQ_CLS"),
    HeadKind.TOKEN: ("classifier", "TOKEN_CLS"),
    HeadKind.SPAN: ("qa_outputs", "QUESTION_ANS"),
    HeadKind.EMBEDDING: ("", "FEATURE_EXTRACTION"),
    HeadKind.GENERATE: ("", "CAUSAL_LM"),
}


def made_up_base(folder: Path, model_type: str) -> Path:
    """Write a base of type "bert", "llama" or "vit" with few weights; return its folder.

    The first two have a real tokenizer, the last the settings of an image processor.
    """
    if model_type == "vit":
        return _made_up_vit(folder)
    from hub.testing.tiny_tokenizers import BERT, LLAMA, tiny_tokenizer  # imports transformers

    tokenizer = tiny_tokenizer(BERT if model_type == "bert" else LLAMA, _LENGTH)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    config = {"model_type": model_type, "vocab_size": len(tokenizer), **_SIZES}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    module = MODULES[model_type].removeprefix("bert.")
    words = "embeddings.word_embeddings" if model_type == "bert" else "model.embed_tokens"
    weights = {f"{module}.weight": np.zeros((HIDDEN, HIDDEN), np.float32)}
    weights[f"{words}.weight"] = np.zeros((len(tokenizer), HIDDEN), np.float32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _made_up_vit(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "vit", "image_size": _SIDE, "patch_size": _PATCH, **_SIZES}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(_PROCESSOR), encoding="utf-8")
    weights = {f"{MODULES['vit'].removeprefix('vit.')}.weight": np.zeros((HIDDEN, HIDDEN), np.float32)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def model_type_of(spec: TaskSpec) -> str:
    """Return the type of the made-up base that suits a task."""
    if spec.input is InputKind.IMAGE:
        return "vit"
    return "llama" if spec.head is HeadKind.GENERATE else "bert"


def deploy_made_up(
    home: Path,
    registry: Registry,
    spec: TaskSpec,
    *,
    labels: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Version:
    """Store an adapter of a task with random weights, and deploy it by the name of the task."""
    model_type = model_type_of(spec)
    store = Store(home)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        base = store.bases.pull(str(made_up_base(place / "base", model_type)), "made-up")
        module = MODULES[model_type]
        adapter = plain_adapter(place / "adapter", kind=spec.head, num_labels=len(labels), module=module)
        task = registry.task(spec.name).task
        serving = _serving(registry, spec, base, labels, dict(settings or {}), task.max_length)
        plugin = registry.plugin_of(spec.name)
        version = store.add(spec.name, adapter, serving, origin="imported", plugin=plugin)
    store.deploy(spec.name, Deploy(version=str(version.ref), by="hub.testing"))
    store.close()
    return version


def _serving(
    registry: Registry,
    spec: TaskSpec,
    base: Base,
    labels: Sequence[str],
    settings: dict[str, Any],
    max_length: int,
) -> Serving:
    return Serving(
        task=spec.name,
        head=spec.head,
        base=BaseRef(name=base.name, source=base.source, fingerprint=base.fingerprint),
        labels=tuple(labels),
        settings=settings,
        max_length=min(max_length, base.max_length),
        contract=registry.plugin_of(spec.name).fingerprint,
        image=base.image,
    )


def plain_adapter(
    folder: Path,
    *,
    kind: HeadKind = HeadKind.SEQUENCE,
    num_labels: int = 2,
    seed: int = 0,
    hidden: int = HIDDEN,
    module: str = MODULES["bert"],
) -> Path:
    """Write a rank-2 LoRA of one layer and a head, as PEFT would, with numbers drawn from `seed`."""
    random = np.random.default_rng(seed)
    head, task_type = _HEADS[kind.layered]
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
