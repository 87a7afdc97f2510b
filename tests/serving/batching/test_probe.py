"""A probe tells an adapter that changes the base from one that was never trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from hub.api import HeadKind, Output, Row
from hub.engine.batch import distinct
from hub.engine.build import build_engine
from hub.engine.peft.format import parse
from hub.engine.protocol import EngineRow
from hub.errors import BadAdapter, BadRequest
from hub.serving.batching.probe import NewSlot, SlotProbe
from tests.support.tiny import head_model, tiny_adapter, tiny_encoder

Edit = Callable[[str, np.ndarray], np.ndarray]
Probed = Callable[..., None]

PROBE = Row([2, 9, 11, 3])


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probed]:
    """Return a function that probes an adapter with no update but that of `edit`."""
    base = tiny_encoder(tmp_path_factory.mktemp("base"))
    own = dict(head_model(base, HeadKind.SEQUENCE, 2).named_parameters())
    engine = build_engine(base, kind="torch", slots=1, device="cpu", threads=1)
    probe = SlotProbe(engine, PROBE)

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
    """Passes rows on to an engine, and counts those that its backbone runs in each forward."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.ran: list[int] = []

    def run(self, rows: Sequence[EngineRow], *, aside: bool = False) -> list[Output]:
        self.ran.append(len(distinct(rows)[0]))
        return self._engine.run(rows, aside=aside)


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Any]:
    """An engine with adapters in its slots 1 and 2 that change much, and `weights` as theirs."""
    base = tiny_encoder(tmp_path / "base")
    engine = build_engine(base, kind="torch", slots=2, device="cpu", threads=1)
    counting: Any = CountingEngine(engine)
    for slot in (1, 2):
        folder = tiny_adapter(base, tmp_path / str(slot), kind=HeadKind.SEQUENCE, labels=("a", "b"))
        config = json.loads((folder / "adapter_config.json").read_text())
        tensors = load_file(folder / "adapter_model.safetensors")
        large = {name: tensor * 50 if "lora_B" in name else tensor for name, tensor in tensors.items()}
        counting.weights = parse(config, large, kind=HeadKind.SEQUENCE, num_labels=2, sha256=str(slot) * 64)
        engine.write(slot, counting.weights)
    yield counting
    engine.close()


def test_an_adapter_that_changes_much_costs_one_row(counting: Any) -> None:
    probe = SlotProbe(counting, PROBE)
    for slot in (1, 2):
        probe.check(slot, counting.weights, f"mood@{slot}")
    assert counting.ran == [1, 1, 1], "the first one also the bare base"


def new_slot(counting: Any) -> NewSlot:
    base_worker: Any = SimpleNamespace(engine=counting, probe=SlotProbe(counting, PROBE))
    base_worker.probe.check(2, counting.weights, "mood@2")
    counting.ran.clear()
    return NewSlot(base_worker, 1, counting.weights, "mood@1")


def test_the_first_rows_of_a_slot_run_beside_its_probe(counting: Any) -> None:
    slot, rows = new_slot(counting), [Row([2, 5, 3]), Row([2, 7, 3])]
    first = slot.run(rows, HeadKind.SEQUENCE)
    again = slot.run(rows, HeadKind.SEQUENCE)
    slot.probe()
    assert counting.ran == [3, 2]
    for got, expected in zip(first, again, strict=True):
        assert got.row is expected.row
        np.testing.assert_allclose(got.values, expected.values, atol=1e-6)


def test_a_slot_in_which_no_row_ran_is_probed(counting: Any) -> None:
    slot = new_slot(counting)
    with pytest.raises(BadRequest, match="no tokens"):
        slot.run([Row([])], HeadKind.SEQUENCE)
    slot.probe()
    assert counting.ran == [2, 1]


def test_an_unsound_slot_is_refused_with_its_first_rows(counting: Any) -> None:
    slot = new_slot(counting)
    counting.weights.full["classifier.bias"][:] = np.inf
    counting._engine.write(1, counting.weights)
    with pytest.raises(BadAdapter, match="NaN or infinity"):
        slot.run([Row([2, 5, 3])], HeadKind.SEQUENCE)


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
