"""A home of ours and a folder of plain adapters, with the same random weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from benchmarks.serve.contenders import EMBED
from hub.api import HeadKind
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.cli.screen.output import error_console
from hub.store.change import Deploy
from hub.store.importing import import_peft
from hub.store.store import Store

__all__ = ["DEPLOYMENTS", "prepare", "say"]

DEPLOYMENTS = 16  # unless more are asked for
RANK = 8
WEIGHTS = "adapter_model.safetensors"


def prepare(folder: Path, base: Base, deployments: int = DEPLOYMENTS) -> None:
    """Make the adapters, and a home of ours that has them deployed, and one that answers with vectors."""
    from transformers.utils import logging

    from tests.support.tiny import tiny_adapter

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    own = Bases(folder / "home").pull(str(base.path), base.name)
    say(f"{deployments} adapters")
    labels = ("negative", "positive")
    first = folder / "adapters" / "mood-0"
    tiny_adapter(own, first, kind=HeadKind.SEQUENCE, labels=labels, rank=RANK, seed=0)
    with Store(folder / "home") as store:
        for seed in range(deployments):
            name = f"mood-{seed}"
            adapter = first if seed == 0 else _other(first, folder / "adapters" / name, seed)
            version = import_peft(
                store, adapter, name, task="sentiment", head=HeadKind.SEQUENCE, base=own, labels=labels,
                max_length=64,
            )  # fmt: skip
            store.deploy(name, Deploy(version=version.ref, by="benchmark"))
        vectors = tiny_adapter(own, folder / EMBED, kind=HeadKind.EMBEDDING, labels=(), rank=RANK)
        version = import_peft(
            store, vectors, EMBED, task="similarity", head=HeadKind.EMBEDDING, base=own, max_length=64
        )
        store.deploy(EMBED, Deploy(version=version.ref, by="benchmark"))


def _other(adapter: Path, folder: Path, seed: int) -> Path:
    """Copy an adapter, with its weights in another random order."""
    shutil.copytree(adapter, folder)
    random = np.random.default_rng(seed)
    weights = load_file(adapter / WEIGHTS)
    save_file(
        {name: random.permuted(array.ravel()).reshape(array.shape) for name, array in weights.items()},
        folder / WEIGHTS,
    )
    return folder


def say(text: str) -> None:
    """Tell the person who waits what is being done."""
    error_console().print(f"[dim]{text}[/]")
