"""A probe tells an adapter that changes the base from one that was never trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from hub.api import HeadKind, Output, Row
from hub.engine.batch import distinct
from hub.engine.build import build_engine
from hub.engine.peft.format import parse
from hub.engine.protocol import EngineRow
from hub.errors import BadAdapter
from hub.serving.batching.probe import Probe
from tests.support.tiny import head_model, tiny_adapter, tiny_encoder

Edit = Callable[[str, np.ndarray], np.ndarray]
Probed = Callable[..., None]


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probed]:
    """Return a function that probes an adapter with no update but that of `edit`."""
    base = tiny_encoder(tmp_path_factory.mktemp("base"))
    own = dict(head_model(base, HeadKind.SEQUENCE, 2).named_parameters())
    engine = build_engine(base, kind="torch", slots=1, device="cpu", threads=1)
    probe = Probe(engine, Row([2, 9, 11, 3]))

    def of_base(name: str, tensor: np.ndarray) -> np.ndarray:
        module = name.removeprefix("base_model.model.").rpartition(".")[0].removesuffix(".base_layer")
        if "lora_B" in name:
            return tensor * 0
        if "ia3" in name:
            return tensor * 0 + 1
        if name.endswith("lora_magnitude_vector"):
            return own[f"{module}.weight"].detach().norm(dim=1).numpy()
        if name.endswith("base_layer.bias"):
            return own[f"{module}.bias"].detach().numpy()
        return tensor

    def run(edit: Edit, **settings: Any) -> None:
        folder = tiny_adapter(
            base, tmp_path_factory.mktemp("adapter"), kind=HeadKind.SEQUENCE, labels=("a", "b"), **settings
        )
        config = json.loads((folder / "adapter_config.json").read_text())
        tensors = load_file(folder / "adapter_model.safetensors")
        tensors = {name: edit(name, of_base(name, tensor)) for name, tensor in tensors.items()}
        weights = parse(config, tensors, kind=HeadKind.SEQUENCE, num_labels=2, sha256="0" * 64)
        engine.write(1, weights)
        try:
            probe.check(1, weights, "mood@1")
        finally:
            engine.clear(1)

    yield run
    engine.close()


@pytest.mark.parametrize(
    ("part", "settings"),
    [
        ("lora_B", {}),
        ("lora_magnitude_vector", {"use_dora": True}),
        ("base_layer.bias", {"bias": "lora_only"}),
        ("ia3_l", {"method": "ia3"}),
    ],
)
@pytest.mark.parametrize("trained", [True, False])
def test_an_adapter_is_refused_only_if_no_part_of_it_changes_the_base(
    probed: Probed, part: str, settings: dict[str, Any], trained: bool
) -> None:
    def edit(name: str, tensor: np.ndarray) -> np.ndarray:
        return tensor * 1.1 + 0.01 if trained and part in name else tensor

    with nullcontext() if trained else pytest.raises(BadAdapter, match="changes nothing"):
        probed(edit, **settings)


class CountingEngine:
    """Passes rows on to an engine, and counts them and the rows that its backbone runs."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.ran: list[int] = []

    def run(self, rows: Sequence[EngineRow], *, aside: bool = False) -> list[Output]:
        self.ran.append(len(distinct(rows)[0]))
        return self._engine.run(rows, aside=aside)


def test_an_adapter_that_changes_much_costs_one_row(tmp_path: Path) -> None:
    base = tiny_encoder(tmp_path / "base")
    engine = build_engine(base, kind="torch", slots=2, device="cpu", threads=1)
    counting: Any = CountingEngine(engine)
    probe = Probe(counting, Row([2, 9, 11, 3]))
    for slot in (1, 2):
        folder = tiny_adapter(base, tmp_path / str(slot), kind=HeadKind.SEQUENCE, labels=("a", "b"))
        config = json.loads((folder / "adapter_config.json").read_text())
        tensors = load_file(folder / "adapter_model.safetensors")
        large = {name: tensor * 50 if "lora_B" in name else tensor for name, tensor in tensors.items()}
        weights = parse(config, large, kind=HeadKind.SEQUENCE, num_labels=2, sha256=str(slot) * 64)
        engine.write(slot, weights)
        probe.check(slot, weights, f"mood@{slot}")
    engine.close()
    assert counting.ran == [1, 1, 1], "the first one also the bare base"


def test_two_heads_of_a_row_give_what_each_gives_alone(tmp_path: Path) -> None:
    base = tiny_encoder(tmp_path / "base")
    engine = build_engine(base, kind="torch", slots=1, device="cpu", threads=1)
    folder = tiny_adapter(base, tmp_path / "mood", kind=HeadKind.SEQUENCE, labels=("a", "b"))
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    engine.write(1, parse(config, tensors, kind=HeadKind.SEQUENCE, num_labels=2, sha256="1" * 64))
    one, other = Row([2, 9, 11, 3]), Row([2, 5, 3])
    rows = [
        EngineRow(other, 0, HeadKind.EMBEDDING),
        EngineRow(one, 1, HeadKind.SEQUENCE),
        EngineRow(one, 0, HeadKind.EMBEDDING),
        EngineRow(one, 1, HeadKind.EMBEDDING),
        EngineRow(one, 1, HeadKind.SEQUENCE),
    ]
    together = engine.run(rows)
    alone = [engine.run([row])[0] for row in rows]
    engine.close()
    for got, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(got.values, expected.values, atol=1e-6)
