# ruff: noqa: TID253 - stacks are tensors
"""Stacks hold each slot's arrays apart, whatever else is written, grown or read meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hub.engine.torch.slotted import SlotContext, SlotLinear, SlotNorm
from hub.engine.torch.stacks import Parts, Stacks

WIDE, OUT = 6, 4
OWN = {("own", "weight"): torch.arange(24.0).reshape(OUT, WIDE), ("own", "bias"): torch.arange(4.0)}


class Watched(Stacks):
    """Stacks that remember what they published."""

    def __init__(self, slots: int = 3, dtype: torch.dtype = torch.float32) -> None:
        self.published: dict[str, Parts] = {}
        super().__init__(
            slots,
            torch.device("cpu"),
            dtype,
            publish=self.published.__setitem__,
            own=lambda layer, part: OWN.get((layer, part)),
        )


def pair(rank: int, fill: float = 1.0) -> dict[str, Tensor]:
    return {"a": torch.full((WIDE, rank), fill), "b": torch.full((rank, OUT), fill)}


def test_there_is_nothing_before_the_first_write() -> None:
    stacks = Watched()
    assert stacks.layers == {} == stacks.published
    assert stacks.slot_bytes == 0


def test_a_write_fills_its_slot_and_leaves_the_others_neutral() -> None:
    stacks = Watched()
    scale = torch.full((OUT,), 3.0)
    stacks.write(2, {"x": {**pair(2), "output_scale": scale, "shift": scale}})
    parts = stacks.layers["x"]
    assert set(parts.present) == {"a", "b", "output_scale", "shift"}
    for name, value in {**pair(2), "output_scale": scale, "shift": scale}.items():
        stack = parts.present[name]
        assert len(stack) == 4
        assert torch.equal(stack[2], value)
        for slot in (0, 1, 3):
            assert (stack[slot] == (1 if name == "output_scale" else 0)).all()
    assert stacks.published == dict(stacks.layers)
    assert stacks.slot_bytes == 4 * (2 * WIDE + 2 * OUT + 2 * OUT)


def test_slots_without_a_weight_of_their_own_have_the_layers() -> None:
    stacks = Watched()
    weight, bias = torch.full((OUT, WIDE), -1.0), torch.full((OUT,), -2.0)
    stacks.write(1, {"own": {"weight": weight, "bias": bias}, "new": {"weight": weight}})
    own, new = stacks.layers["own"].present, stacks.layers["new"].present
    for slot in (0, 2, 3):
        assert torch.equal(own["weight"][slot], OWN["own", "weight"])
        assert torch.equal(own["bias"][slot], OWN["own", "bias"])
        assert not new["weight"][slot].any()
    assert torch.equal(own["weight"][1], weight)
    stacks.write(1, {})
    assert torch.equal(own["weight"][1], OWN["own", "weight"])
    assert torch.equal(own["bias"][1], OWN["own", "bias"])
    assert not stacks.layers["new"].present["weight"].any()


def test_a_larger_rank_keeps_what_the_others_hold_and_a_smaller_one_is_padded() -> None:
    stacks = Watched()
    stacks.write(1, {"x": pair(2, 5.0)})
    stacks.write(2, {"x": pair(4, 7.0)})
    stacks.write(3, {"x": pair(1, 9.0)})
    a, b = stacks.layers["x"].a, stacks.layers["x"].b
    assert a.shape == (4, WIDE, 4)
    assert b.shape == (4, 4, OUT)
    for slot, rank, value in ((1, 2, 5.0), (2, 4, 7.0), (3, 1, 9.0)):
        assert (a[slot, :, :rank] == value).all()
        assert not a[slot, :, rank:].any()
        assert not b[slot, rank:].any()


def test_a_smaller_adapter_leaves_nothing_of_the_larger_one_before_it() -> None:
    stacks = Watched()
    scale = torch.full((OUT,), 3.0)
    stacks.write(1, {"x": {**pair(4, 5.0), "output_scale": scale}, "y": {"shift": scale}})
    stacks.write(1, {"x": pair(2, 6.0)})
    parts = stacks.layers["x"]
    assert (parts.a[1, :, :2] == 6).all()
    assert not parts.a[1, :, 2:].any()
    assert not parts.b[1, 2:].any()
    assert (parts.output_scale[1] == 1).all()
    assert not stacks.layers["y"].shift[1].any()


def test_a_part_may_come_after_its_layer_and_a_layer_after_the_slots() -> None:
    stacks = Watched()
    stacks.write(1, {"x": pair(2, 5.0)})
    a = stacks.layers["x"].a
    shift = torch.full((OUT,), 4.0)
    stacks.write(2, {"x": {"shift": shift}, "y": {"input_scale": torch.full((WIDE,), 2.0)}})
    parts = stacks.layers["x"]
    assert parts.a is a, "a stack that has room is not made again"
    assert (parts.a[1] == 5).all()
    assert not parts.a[2].any()
    assert not parts.shift[1].any()
    assert torch.equal(parts.shift[2], shift)
    scale = stacks.layers["y"].input_scale
    assert (scale[1] == 1).all()
    assert (scale[2] == 2).all()


def test_only_layers_that_grew_are_published_and_the_mapping_is_replaced() -> None:
    """onnxruntime's bindings are renewed when, and only when, the mapping is another one."""
    stacks = Watched()
    stacks.write(1, {"x": pair(2), "y": pair(2)})
    before = stacks.layers
    stacks.published.clear()
    stacks.write(2, {"x": pair(2)})
    stacks.write(3, {})
    assert stacks.layers is before
    assert stacks.published == {}
    stacks.write(2, {"x": pair(3)})
    assert stacks.layers is not before
    assert stacks.published == {"x": stacks.layers["x"]}
    assert stacks.layers["y"] is before["y"]
    assert before["x"].a.shape[2] == 2


def test_a_forward_that_began_before_a_stack_grew_reads_what_was_there() -> None:
    stacks = Watched()
    stacks.write(1, {"x": pair(2, 5.0)})
    old = stacks.layers["x"]
    stacks.write(2, {"x": pair(4, 7.0)})
    stacks.write(3, {"x": pair(4, 8.0)})
    assert (old.a[1] == 5).all()
    assert not old.a[2].any()
    assert not old.a[3].any()


def test_the_dtype_is_that_of_the_stacks() -> None:
    stacks = Watched(dtype=torch.bfloat16)
    stacks.write(1, {"x": pair(2, 1 / 3)})
    assert stacks.layers["x"].a.dtype is torch.bfloat16
    assert stacks.layers["x"].a[1, 0, 0].item() == pytest.approx(1 / 3, rel=0.01)


PARTS = ("a", "b", "input_scale", "output_scale", "shift")


@st.composite
def adapters(draw: st.DrawFn) -> dict[str, dict[str, Tensor]]:
    """Some layers with some parts, each filled with one number."""
    values: dict[str, dict[str, Tensor]] = {}
    for layer in draw(st.sets(st.sampled_from("xyz"))):
        rank = draw(st.integers(1, 4))
        shapes = {"a": (WIDE, rank), "b": (rank, OUT), "input_scale": (WIDE,)}
        chosen = draw(st.sets(st.sampled_from(PARTS), min_size=1))
        values[layer] = {
            part: torch.full(shapes.get(part, (OUT,)), float(draw(st.integers(2, 99)))) for part in chosen
        }
    return values


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 3), adapters()), max_size=12))
def test_after_any_writes_each_slot_holds_its_last_adapter_alone(
    writes: list[tuple[int, Mapping[str, Mapping[str, Tensor]]]],
) -> None:
    stacks = Watched()
    last: dict[int, Mapping[str, Mapping[str, Tensor]]] = {}
    for slot, values in writes:
        stacks.write(slot, values)
        last[slot] = values
    assert stacks.published == dict(stacks.layers)
    for layer, parts in stacks.layers.items():
        for part, stack in parts.present.items():
            for slot in range(4):
                expected = torch.full_like(stack[slot], 1.0 if part.endswith("scale") else 0.0)
                value = last.get(slot, {}).get(layer, {}).get(part)
                if value is not None:
                    expected[tuple(slice(size) for size in value.shape)] = value
                assert torch.equal(stack[slot], expected), (layer, part, slot)


def test_writes_while_a_layer_runs_do_not_change_the_rows_of_other_slots() -> None:
    """Slot 1 is read while slots 2 and 3 are rewritten: ranks grow, parts and neutral values come and go."""
    context = SlotContext()
    layer = SlotLinear(nn.Linear(WIDE, OUT), context)
    layer.requires_grad_(False)

    def publish(name: str, parts: Parts) -> None:
        layer.parts = parts

    stacks = Stacks(3, torch.device("cpu"), torch.float32, publish=publish, own=lambda layer, part: None)
    stacks.write(1, {"x": pair(2, 0.5)})
    context.slots = torch.tensor([1, 0, 1])
    x = torch.randn(3, 5, WIDE)
    plain = nn.functional.linear(x, layer.weight, layer.bias)
    expected = plain + torch.tensor([1.0, 0, 1])[:, None, None] * (x @ pair(2, 0.5)["a"]) @ pair(2, 0.5)["b"]
    stop = threading.Event()

    def write() -> None:
        rank = 1
        while not stop.is_set():
            rank = rank % 40 + 1
            extra = {"shift": torch.full((OUT,), 9.0), "output_scale": torch.full((OUT,), 9.0)}
            stacks.write(2, {"x": {**pair(rank, 3.0), **extra}})
            stacks.write(3, {"x": extra})
            stacks.write(2, {})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(400):
            torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
    finally:
        stop.set()
        writer.join()


def test_a_slotted_layer_computes_the_formula_of_its_parts() -> None:
    """y = output_scale * (W (input_scale * x) + bias) + shift + b (a x) for each row of 2 or 3 axes."""
    torch.manual_seed(0)
    context, linear = SlotContext(), nn.Linear(WIDE, OUT).requires_grad_(False)
    layer = SlotLinear(linear, context)
    parts = Parts(
        a=torch.randn(3, WIDE, 2),
        b=torch.randn(3, 2, OUT),
        input_scale=torch.randn(3, WIDE),
        output_scale=torch.randn(3, OUT),
        shift=torch.randn(3, OUT),
    )
    layer.parts = parts
    slots = [2, 0, 1, 2]
    context.slots = torch.tensor(slots)
    x = torch.randn(4, 5, WIDE)
    for got, row, slot in zip(layer(x), x, slots, strict=True):
        own = linear(row * parts.input_scale[slot]) * parts.output_scale[slot]
        torch.testing.assert_close(got, own + parts.shift[slot] + row @ parts.a[slot] @ parts.b[slot])
    torch.testing.assert_close(layer(x[:, 0]), layer(x)[:, 0])
    shared = layer(x[:1])  # as DeBERTa gives its relative positions: one for all rows
    torch.testing.assert_close(shared.as_subclass(Tensor), layer(x[:1].expand(4, -1, -1)))
    assert shared.repeat(4, 1, 1).shape == (4, 5, OUT)
    alone = layer(x)
    places = torch.tensor([[0, 0, 1, 1, 2], [2, 1, 0, 0, 0]])  # tokens of several rows in a sequence
    context.select(torch.tensor([[2, 0, 1], [1, 2, 0]]), places)
    packed = layer(torch.stack((x[[0, 0, 1, 1, 2], range(5)], x[[1, 0, 2, 2, 2], range(5)])))
    torch.testing.assert_close(packed[0], alone[[0, 0, 1, 1, 2], range(5)])
    torch.testing.assert_close(packed[1], alone[[1, 0, 2, 2, 2], range(5)])


def test_a_slotted_layer_without_weights_has_those_of_the_slots() -> None:
    torch.manual_seed(0)
    context = SlotContext()
    context.slots = torch.tensor([1, 0])
    weight, bias, x = torch.randn(2, OUT, WIDE), torch.randn(2, OUT), torch.randn(2, 3, WIDE)
    linear = SlotLinear(nn.Linear(WIDE, OUT), context, own=False)
    linear.parts = Parts(weight=weight, bias=bias)
    expected = torch.stack([nn.functional.linear(x[i], weight[s], bias[s]) for i, s in enumerate((1, 0))])
    torch.testing.assert_close(linear(x), expected)
    norm = SlotNorm(nn.LayerNorm(WIDE), context, own=False)
    norm.parts = Parts(weight=weight[:, 0], bias=weight[:, 1])
    expected = torch.stack(
        [nn.functional.layer_norm(x[i], (WIDE,), weight[s, 0], weight[s, 1]) for i, s in enumerate((1, 0))]
    )
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(norm(x[:, 0]), expected[:, 0])
