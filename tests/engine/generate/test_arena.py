# ruff: noqa: TID253 - reads tensors
"""The memory of generating rows stays where it is while it is large enough, as CUDA graphs need it."""

from __future__ import annotations

import torch

from hub.engine.generate.arena import Arena


def addresses(arena: Arena) -> list[int]:
    return [tensor.data_ptr() for layer in arena.cache.layers for tensor in layer.tensors]


def store(arena: Arena, row: int, start: int, states: torch.Tensor) -> None:
    arena.set_window(row, [start], [states.shape[2]])
    for layer in arena.cache.layers:
        layer.update(states, states)


def test_rows_that_join_move_and_leave_within_what_is_reserved_move_no_memory() -> None:
    arena = Arena(2, torch.device("cpu"))
    arena.reserve(4, 100, 4)
    states = torch.randn(1, 2, 3, 8)
    store(arena, 0, 0, states)
    places = addresses(arena)
    for row, start in ((1, 0), (0, 3), (3, 0)):
        store(arena, row, start, states)
        arena.copy([row], [2])
        arena.write(1, torch.randn(4, 2, 32, 8))
        arena.reserve(3, 90, 4)
        assert addresses(arena) == places
    arena.reserve(4, 200, 4)
    assert addresses(arena) != places
