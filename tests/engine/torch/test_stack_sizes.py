# ruff: noqa: TID253 - stacks are tensors
"""Stacks are as large as the adapters in their slots need, and become smaller when those have left."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from hub.engine.torch.stack_sizes import PATIENCE, SHRINK_AT
from hub.engine.torch.stacks import Parts, Stacks

WIDE, OUT, SLOTS = 6, 4, 3


def make(slots: int = SLOTS) -> Stacks:
    return Stacks(
        slots,
        torch.device("cpu"),
        torch.float32,
        publish=lambda layer, parts: None,
        own=lambda layer, part: None,
    )


def pair(rank: int, fill: float = 1.0) -> dict[str, Tensor]:
    return {"a": torch.full((WIDE, rank), fill), "b": torch.full((rank, OUT), fill)}


def numbers(stacks: Stacks, layer: str = "x") -> int:
    return sum(stack.numel() for stack in stacks.layers[layer].present.values())


def of_rank(rank: int) -> int:
    return (SLOTS + 1) * rank * (WIDE + OUT)


def test_a_layer_costs_its_own_rank_and_not_the_largest_of_all_layers() -> None:
    stacks = make()
    stacks.write(1, {"x": pair(64), "y": pair(2)})
    assert (numbers(stacks, "x"), numbers(stacks, "y")) == (of_rank(64), of_rank(2))
    assert stacks.slot_bytes == 4 * (64 + 2) * (WIDE + OUT)


def test_a_slot_that_is_cleared_gives_its_rank_back() -> None:
    stacks = make()
    stacks.write(1, {"x": pair(2, 5.0)})
    stacks.write(2, {"x": pair(64)})
    assert numbers(stacks) == of_rank(64)
    stacks.write(2, {})
    assert numbers(stacks) == of_rank(2)
    a = stacks.layers["x"].a
    assert a is not None
    assert (a[1] == 5).all()
    assert not a[2].any()


def test_a_layer_that_no_slot_touches_keeps_a_stack_of_rank_one_for_exported_graphs() -> None:
    stacks = make()
    stacks.write(1, {"x": pair(64)})
    stacks.write(1, {})
    assert numbers(stacks) == of_rank(1)
    assert not any(stack.any() for stack in stacks.layers["x"].present.values())


def test_a_head_with_many_labels_gives_them_back() -> None:
    stacks = make()
    stacks.write(1, {"head": {"weight": torch.ones(500, WIDE), "bias": torch.ones(500)}})
    stacks.write(2, {"head": {"weight": torch.ones(3, WIDE), "bias": torch.ones(3)}})
    stacks.write(1, {})
    assert numbers(stacks, "head") == (SLOTS + 1) * 3 * (WIDE + 1)


def test_an_eviction_lets_a_stack_shrink_only_after_several_writes() -> None:
    """The adapter may be loaded again soon: otherwise two that take turns would resize at each load."""
    stacks = make()
    stacks.write(1, {"x": pair(64)})
    for _ in range(PATIENCE - 1):
        stacks.write(1, {"x": pair(2)})
        assert numbers(stacks) == of_rank(64)
    stacks.write(1, {"x": pair(64)})
    for _ in range(PATIENCE - 1):
        stacks.write(1, {"x": pair(2)})
    assert numbers(stacks) == of_rank(64)
    stacks.write(1, {"x": pair(2)})
    assert numbers(stacks) == of_rank(2)


def test_a_stack_that_is_a_little_too_large_stays() -> None:
    stacks = make()
    stacks.write(1, {"x": pair(8)})
    stacks.write(2, {"x": pair(8 * SHRINK_AT - 1)})
    before = stacks.layers
    stacks.write(2, {})
    assert stacks.layers is before


def test_a_forward_that_began_before_a_stack_shrank_reads_what_was_there() -> None:
    stacks = make()
    stacks.write(1, {"x": pair(2, 5.0)})
    stacks.write(2, {"x": pair(64)})
    old = stacks.layers["x"]
    stacks.write(2, {})
    stacks.write(3, {"x": pair(2, 7.0)})
    assert old.a is not None
    assert (old.a[1, :, :2] == 5).all()
    assert not old.a[3].any()


@pytest.mark.parametrize("fails_at", ["x", "y"])
def test_a_write_for_which_memory_runs_out_keeps_no_stack(
    monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    stacks = make()
    stacks.write(1, {"x": pair(2, 5.0)})
    before = stacks.layers
    real = Stacks._stack

    def fail(self: Stacks, layer: str, part: str, value: Tensor, old: Tensor | None) -> Tensor:
        if layer == fails_at and part == "b":
            raise MemoryError
        return real(self, layer, part, value, old)

    monkeypatch.setattr(Stacks, "_stack", fail)
    values: Mapping[str, Mapping[str, Tensor]] = {"x": pair(64), "y": pair(64)}
    with pytest.raises(MemoryError):
        stacks.write(2, values)
    assert stacks.layers is before
    stacks.write(2, {})
    assert numbers(stacks) == of_rank(2)
    assert set(stacks.layers["x"].present) == set(Parts._fields[:2])


@pytest.mark.parametrize("step", ["_fill", "_shrunk"])
def test_what_a_failed_write_did_not_store_is_stored_by_the_next_one_of_these_sizes(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    stacks = make()
    stacks.write(1, {"x": pair(2, 5.0)})

    def fail(self: Stacks, *args: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Stacks, step, fail)
    with pytest.raises(MemoryError):
        stacks.write(2, {"x": pair(2, 6.0), "y": pair(2, 6.0)})
    monkeypatch.undo()
    stacks.write(3, {"x": pair(2, 7.0), "y": pair(2, 7.0)})
    assert (stacks.layers["x"].present["b"][3] == 7).all()
    assert (stacks.layers["y"].present["b"][3] == 7).all()
