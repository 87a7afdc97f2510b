# ruff: noqa: TID253 - builds models
"""Nothing of the engine is computed on another device than the base's, and no value is read back.

The base is on the device "meta", whose tensors have a shape and no values: torch refuses to compute with
tensors of two devices, and to read a value. So what goes wrong here would fail on a GPU, or wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedModel, masking_utils

from hub.api import HeadKind, Pooling
from hub.bases.base import BaseKind
from hub.engine.generate.open import open_decoding
from hub.engine.generate.prefix import PrefixCache
from hub.engine.generate.rows import GeneratingRow, TokenCounts
from hub.engine.generate.sampling import BaseRules
from hub.engine.protocol import GenerationLimits
from hub.engine.tokenizer import load_tokenizer
from hub.engine.torch.backbone import TorchBackbone
from hub.engine.torch.heads import HEADED, HeadSlots, Hidden, pool_rows
from hub.engine.torch.loading import base_tensors, load_model, takes_whole_mask
from hub.engine.torch.placement import Placement
from hub.engine.torch.stacks import Stacks
from hub.engine.torch.tensors import BatchTensors, unpacked
from tests.engine.conftest import random_row
from tests.support import tiny
from tests.support.device import OneDevice

META = torch.device("meta")


def move(model: nn.Module) -> None:
    """Give a model weights on the device, which have no values."""
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                weight = torch.empty(value.shape, dtype=value.dtype, device=META)
                module._parameters[name] = nn.Parameter(weight, requires_grad=False)
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = torch.empty(value.shape, dtype=value.dtype, device=META)


def backbone_of(model: PreTrainedModel, slots: int = 3) -> TorchBackbone:
    move(model)
    return TorchBackbone(model, slots)


def heads_of(base, kind: HeadKind, model: PreTrainedModel) -> dict[HeadKind, HeadSlots]:
    if kind not in HEADED:
        return {}
    pooler = getattr(model, "pooler", None)
    return {kind: HeadSlots(kind, model.config, 3, torch.device("cpu"), pooler, base_tensors(base))}


def move_heads(heads: Iterable[HeadSlots]) -> None:
    for head in heads:
        move(head._model)
        head._stacks = Stacks(3, META, torch.float32, publish=head._publish, own=head._own)


def ask_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep transformers from asking each mask once whether it masks anything, which waits for a GPU."""
    monkeypatch.setattr(masking_utils, "is_tracing", lambda tensor=None: True)


def batch(rows: int = 3, tokens: int = 7) -> BatchTensors:
    ids = torch.ones(rows, tokens, dtype=torch.int64, device=META)
    return BatchTensors(ids, ids.clone(), ids * 0, ids[:, 0].clone())


@pytest.mark.parametrize("family", [*tiny.ENCODERS, *tiny.DECODERS, *tiny.ENCODER_DECODERS])
def test_a_forward_stays_on_the_device(family, base_of, trained, monkeypatch) -> None:
    base = base_of(family)
    kind = tiny.head_kinds(base)[0]
    labels = 0 if kind is HeadKind.GENERATE else 3
    adapters = [
        trained(base, kind, labels=labels, seed=1, **asked)
        for asked in ({"rank": 8}, {"use_dora": True}, {"method": "ia3"}, {"rank": 2})
    ]
    model = load_model(base, torch.device("cpu"))
    heads = heads_of(base, kind, model)
    reference = TorchBackbone(model, 3)
    placement = Placement(reference, heads)
    placed = [placement.place(adapter.weights) for adapter in adapters]
    with torch.no_grad(), OneDevice():
        backbone = backbone_of(model)
        move_heads(heads.values())
        backbone._whole_mask = takes_whole_mask(backbone._stack) and base.kind is not BaseKind.DECODER
        if not backbone._whole_mask or base.kind is BaseKind.ENCODER_DECODER:
            ask_no_mask(monkeypatch)
        for slot, one in zip((1, 2, 3, 1), placed, strict=True):
            backbone.write(slot, one.backbone)
            for head in heads.values():
                head.write(slot, one.head)
        rows = batch()
        hidden = backbone.run(rows, decode=True)
        assert hidden.states.device == META and hidden.states.shape[:2] == (3, 7)
        for head in heads.values():
            if base.kind is not BaseKind.ENCODER_DECODER:  # whose head counts the end tokens on the host
                assert head.run(hidden, rows.input_ids, rows.mask, rows.slots).device == META
        pooled = pool_rows(hidden.states, rows.mask, [Pooling.CLS, Pooling.MEAN, Pooling.LAST])
        assert pooled.device == META
        if reference.packs:
            model.pooler = None  # as in an engine, where it is a head's
            bins = rows.as_packed()._replace(slots=torch.ones(3, 2, dtype=torch.int64, device=META))
            where = torch.zeros(5, 7, dtype=torch.int64, device=META)
            assert unpacked(backbone.run(bins).states, where).shape[:2] == (5, 7)
        backbone.write(1, {})


@pytest.mark.parametrize("family", [*tiny.DECODERS, *tiny.ENCODER_DECODERS])
def test_prefill_and_steps_of_generation_stay_on_the_device(family, base_of, monkeypatch) -> None:
    base = base_of(family)
    if base.kind is BaseKind.ENCODER_DECODER:
        ask_no_mask(monkeypatch)
    tokenizer, two = load_tokenizer(base), base.kind is BaseKind.ENCODER_DECODER
    asked = [random_row(base, length, seed=length, max_new_tokens=9) for length in (5, 40)]
    rows = [
        GeneratingRow(row, [0] if two else row.input_ids, 0, 9, lambda text: None, lambda end: None)
        for row in asked
    ]
    model = load_model(base, torch.device("cpu"))
    with torch.no_grad(), OneDevice():
        backbone = backbone_of(model)
        limits, prefixes = GenerationLimits(), PrefixCache(10**9)
        decoding = open_decoding(backbone.model, backbone.select, tokenizer, limits, prefixes, TokenCounts())
        for row in rows:
            decoding.add(row)
        decoding._admit()
        live, decoding._prefilling = decoding._prefilling, []
        assert decoding._logits(live, 0, None).device == META
        decoding._live = live
        for one in live:
            one.row.tokens.append(7)
        logits = decoding._logits(live, 0, None)
        assert logits.device == META and len(logits) == 2
        decoding._arena.copy([0], [1], 20)
        decoding._arena.reserve(9, 200, 32)
        if not two:
            decoding._arena.write(1, decoding._arena.read(0, 0, 5))


def test_the_rules_of_a_base_are_on_the_device_of_the_logits() -> None:
    config = GenerationConfig(min_length=4, suppress_tokens=[3, 4])
    suppress, shortest = BaseRules.of(config, [2], torch.device("meta")).processors
    assert suppress.suppress_tokens.device.type == shortest.eos_token_id.device.type == "meta"


@pytest.mark.parametrize(
    "compute",
    [
        lambda there, here: Hidden(there).rows(here),
        lambda there, here: there[:, here],
        lambda there, here: there + here[:, None],
        lambda there, here: torch.bmm(there, torch.zeros(2, 4, 5)),
        lambda there, here: there.masked_fill(torch.zeros(4, dtype=torch.bool), 0.0),
        lambda there, here: bool(there.all()),
    ],
)
def test_what_would_fail_on_a_gpu_fails_here(compute) -> None:
    with OneDevice(), pytest.raises((RuntimeError, NotImplementedError)):
        compute(torch.zeros(2, 3, 4, device=META), torch.tensor([0, 1]))
