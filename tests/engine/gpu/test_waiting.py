# ruff: noqa: TID253 - needs CUDA
"""The hot path does not wait for the GPU, except for the answers themselves."""

from __future__ import annotations

import pytest
import torch

from hub.api import HeadKind
from hub.engine.batch import collate
from hub.engine.torch.heads import HEADED
from hub.engine.torch.loading import takes_whole_mask
from hub.engine.torch.tensors import BatchTensors
from tests.engine.gpu.test_exactness import TOLERANCE
from tests.engine.test_families import assert_exact
from tests.support.device import waits_for

pytestmark = pytest.mark.gpu

# ModernBERT and T5 ask their masks whether there is padding, and decoders theirs when rows are scored.
ENCODERS = ["bert", "roberta", "xlm-roberta", "distilbert", "electra", "deberta-v2"]


@pytest.fixture
def engine(on_gpu):
    """Build an engine that prepares masks as on a GPU, wherever it runs."""

    def make(base):
        engine = on_gpu(base)
        reference = engine._backbones.reference
        reference._whole_mask = takes_whole_mask(reference._stack)
        return engine

    return make


@pytest.mark.parametrize("family", ENCODERS)
def test_a_forward_of_any_head_waits_for_nothing(family, base_of, trained, engine, fill, device) -> None:
    base = base_of(family)
    adapters = [trained(base, kind, labels=3, seed=70) for kind in HEADED]
    adapters.append(trained(base, HeadKind.EMBEDDING, seed=70))
    engine = engine(base)
    fill(engine, adapters)
    rows = [adapter.row(slot, 5 + slot) for slot, adapter in enumerate(adapters, 1)]
    assert_exact(engine, adapters, rows, tolerance=TOLERANCE)
    batch = collate(rows, engine._limits, engine._pad)
    with torch.inference_mode(), waits_for(device) as waits:
        tensors = BatchTensors.of(batch, device)
        hidden = engine._backbones.run(tensors, frozenset(batch.slots.tolist()))
        for index, adapter in enumerate(adapters):
            engine._values(adapter.kind, tensors, hidden, [index], rows)
    assert waits == []


def test_answers_are_copied_back_once_for_each_kind(bert, trained, engine, fill, device) -> None:
    adapters = [trained(bert, kind, labels=3, seed=70) for kind in HEADED]
    engine = engine(bert)
    fill(engine, adapters)
    rows = [adapter.row(slot, 5 + slot) for slot, adapter in enumerate(adapters, 1)] * 4
    engine.run(rows)
    with waits_for(device) as waits:
        engine.run(rows)
    assert len(waits) <= len(HEADED)


@pytest.mark.parametrize("family", ["llama", "bart"])
def test_a_step_of_generation_waits_for_its_tokens_alone(
    family, base_of, trained, on_gpu, fill, device
) -> None:
    base, tokens = base_of(family), 24
    adapters = [trained(base, HeadKind.GENERATE, rank=rank, seed=60 + rank, spread=0.3) for rank in (1, 4)]
    engine = on_gpu(base)
    fill(engine, adapters)
    rows = [adapters[n % 2].row(1 + n % 2, 9, n, max_new_tokens=tokens) for n in range(8)]
    expected = [output.text for output in engine.run(rows)]
    with waits_for(device) as waits:
        assert [output.text for output in engine.run(rows)] == expected
    # One a step and a prefill. Rows may be admitted in turns of their own, and the encoder's mask asks once.
    assert len(waits) <= tokens + 4 * len(rows)
