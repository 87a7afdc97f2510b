"""Adapters on tiny bases in a store, each made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hub.api import HeadKind
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.store.importing import import_peft
from hub.store.records import Version
from hub.store.store import Store
from tests.support.profiles import thorough

LABELS = ("billing", "bug", "how to")
TASKS = {HeadKind.SEQUENCE: "classification", HeadKind.SPAN: "qa", HeadKind.GENERATE: "translation"}


def heads_of(families: Sequence[str]) -> list[tuple[str, HeadKind]]:
    """Two heads for each family, in turn, so that each head comes with several; all in a thorough run."""
    count = 4 if thorough() else 2
    heads = (HeadKind.SEQUENCE, HeadKind.SPAN, HeadKind.TOKEN, HeadKind.EMBEDDING)
    return [(name, heads[(at + n) % 4]) for at, name in enumerate(families) for n in range(count)]


@dataclass(frozen=True)
class Made:
    """A store with one version in it, and that version as plain PEFT saved it."""

    store: Store
    version: Version
    base: Base
    adapter: Path


Maker = Callable[..., Made]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """Make an adapter on a tiny base and import it; the same arguments give the same one."""
    from tests.support import tiny

    kept: dict[str, Made] = {}

    def make(kind: HeadKind, model_type: str = "bert", settings: object = None, **lora: object) -> Made:
        if "method" in lora and not hasattr(tiny, "ENCODERS"):
            pytest.skip("NOT TESTED: tests.support.tiny makes LoRA adapters alone.")
        key = repr((kind, model_type, settings, lora))
        if key not in kept:
            folder = tmp_path_factory.mktemp("made")
            store = Store(folder / "home")
            base = Bases(store.home).pull(str(_base(tiny, folder / "tiny", model_type).path))
            labels = LABELS if kind.layered in (HeadKind.SEQUENCE, HeadKind.TOKEN) else ()
            adapter = tiny.tiny_adapter(base, folder / "adapter", kind=kind, labels=labels, **lora)
            version = import_peft(
                store,
                adapter,
                "made",
                task=TASKS.get(kind.declared, "third-party"),
                head=kind,
                base=base,
                labels=labels,
                settings=settings,
                max_length=48,
            )
            kept[key] = Made(store, version, base, adapter)
        return kept[key]

    return make


def _base(tiny: Any, folder: Path, model_type: str) -> Base:
    if model_type == "bert":
        return tiny.tiny_encoder(folder)
    if model_type == "llama":
        return tiny.tiny_decoder(folder)
    if not hasattr(tiny, "ENCODERS"):
        pytest.skip(f"NOT TESTED: tests.support.tiny makes no {model_type}.")
    makers = (
        (tiny.tiny_encoder, tiny.ENCODERS),
        (tiny.tiny_decoder, tiny.DECODERS),
        (tiny.tiny_encoder_decoder, tiny.ENCODER_DECODERS),
    )
    return next(make(folder, model_type) for make, types in makers if model_type in types)
