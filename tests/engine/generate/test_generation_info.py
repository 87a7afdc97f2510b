"""What an engine tells about its texts in progress and their tokens."""

from __future__ import annotations

import pytest

from hub.api import HeadKind
from hub.engine.generate.prefix import BLOCK_TOKENS
from hub.engine.protocol import GenerationInfo
from tests.support.waiting import until

CACHED = {"llama": 2 * BLOCK_TOKENS, "bart": 0}  # an encoder-decoder computes every source


@pytest.fixture(params=CACHED)
def engine_and_adapter(request, base_of, trained, engine_of, fill):
    base = base_of(request.param)
    adapter = trained(base, HeadKind.GENERATE, rank=4, seed=61, spread=0.3)
    engine = engine_of(base, "torch")
    fill(engine, [adapter])
    return engine, adapter, CACHED[request.param]


def test_texts_in_progress_and_their_tokens_are_counted(engine_and_adapter) -> None:
    engine, adapter, cached = engine_and_adapter
    assert engine.info().generation == GenerationInfo()
    row = adapter.row(1, 2 * BLOCK_TOKENS + 1, 0, max_new_tokens=12)
    seen, outputs = [], []
    engine.generate(row, lambda piece: seen.append(engine.info().generation), outputs.append)
    assert until(lambda: outputs, 30)
    assert seen[-1].running == 1 and 0 < seen[-1].memory < 1, "as the step before left it"
    assert until(lambda: engine.info().generation.running == 0, 30)
    engine.run([row])
    assert until(lambda: engine.info().generation.memory == 0, 30), "the memory is free again"
    info = engine.info().generation
    assert info.prompt_tokens == 2 * len(row.row.input_ids)
    assert info.generated_tokens == 2 * outputs[0].tokens
    assert (info.cached_tokens, info.running, info.waiting) == (cached, 0, 0)
