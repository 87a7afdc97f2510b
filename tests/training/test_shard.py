# ruff: noqa: TID253 - computes losses of tiny models
"""The parts of a batch have together the loss and the gradient of the whole batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

from hub.api import HeadKind
from hub.errors import BadPlugin
from hub.training.fit.batches import collator, pad_alike
from hub.training.fit.loss import Loss
from hub.training.fit.model import load_base
from hub.training.shard import Shard
from tests.support.tiny import tiny_decoder, tiny_encoder
from tests.training.fit.test_accumulate import LABELS, WEIGHTS, rows_of

HEADS = [HeadKind.SEQUENCE, HeadKind.TOKEN, HeadKind.SPAN, HeadKind.GENERATE]


def gradient(model: Any, losses: list[Tensor]) -> Tensor:
    model.zero_grad()
    torch.stack(losses).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def loss_of(model: Any, loss: Loss, batch: Mapping[str, Tensor], *share: Any) -> Tensor:
    found: Tensor = loss(model, dict(batch), *share)[0]
    return found


@pytest.mark.parametrize("rows", [8, 1], ids=["more rows than processes", "fewer"])
@pytest.mark.parametrize("kind", HEADS)
def test_the_parts_of_three_processes_are_the_whole_batches(
    kind: HeadKind, rows: int, tmp_path: Path
) -> None:
    base = (tiny_decoder if kind is HeadKind.GENERATE else tiny_encoder)(tmp_path / "base")
    model = load_base(base, kind, LABELS, dropout=0.0)
    weights = WEIGHTS if kind in (HeadKind.SEQUENCE, HeadKind.TOKEN) else None
    loss = Loss(kind, weights=weights, l1=0.001)
    every, collate = rows_of(kind), collator(0)
    batches = [collate(every[:rows]), collate(every[rows : rows + 3] or every[:3])]
    if kind is HeadKind.SPAN:
        batches = pad_alike(batches, 0)
    whole = [
        loss_of(model, loss, batch, share) for batch, share in zip(batches, loss.shares(batches), strict=True)
    ]
    parts = [
        loss_of(model, loss, part, share) / 3
        for rank in range(3)
        for part, share in Shard(rank, 3).parts(batches, loss)
    ]
    assert torch.stack(parts).sum().item() == pytest.approx(torch.stack(whole).sum().item(), abs=1e-5)
    assert torch.allclose(gradient(model, parts), gradient(model, [
        loss_of(model, loss, batch, share) for batch, share in zip(batches, loss.shares(batches), strict=True)
    ]), atol=1e-5)  # fmt: skip


@pytest.fixture
def broadcast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads stand for two processes."""
    sent: list[Any] = []
    ready = threading.Event()

    def pass_on(found: list[Any]) -> None:
        if threading.current_thread() is threading.main_thread():
            sent[:] = found
            ready.set()
        else:
            assert ready.wait(30)
            found[:] = sent

    monkeypatch.setattr(distributed, "broadcast_object_list", pass_on)


def both(compute: Callable[[], dict[str, float]]) -> tuple[Any, Any]:
    """Return what the first and the second process have agreed on, or the error that they raise."""
    results: list[Any] = []

    def agree(rank: int) -> None:
        try:
            results.append(Shard(rank, 2).agreed(compute))
        except BadPlugin as error:
            results.append(str(error))

    other = threading.Thread(target=agree, args=(1,))
    other.start()
    agree(0)
    other.join(30)
    return results[0], results[1]


def test_the_first_process_computes_for_all(broadcast: None) -> None:
    computed = []

    def compute() -> dict[str, float]:
        computed.append(threading.current_thread())
        return {"accuracy": 0.5}

    assert both(compute) == ({"accuracy": 0.5}, {"accuracy": 0.5})
    assert computed == [threading.main_thread()]


def test_its_error_ends_all(broadcast: None) -> None:
    def compute() -> dict[str, float]:
        raise BadPlugin("its metric fails")

    assert both(compute) == ("its metric fails", "its metric fails")
