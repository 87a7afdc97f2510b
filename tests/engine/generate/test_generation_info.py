"""What an engine tells about its texts in progress and their tokens."""

from __future__ import annotations

from queue import SimpleQueue

import pytest

from hub.api import HeadKind, Output
from hub.engine.generate.arena import column_bytes, decoder_layers
from hub.engine.generate.prefix import BLOCK_TOKENS
from hub.engine.protocol import GenerationInfo, GenerationLimits
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


def test_long_sources_and_long_answers_share_the_memory_of_an_encoder_decoder(
    base_of, trained, engine_of, fill
) -> None:
    """Each row has room for the longest source and for the longest answer, whichever rows these are of."""
    base = base_of("bart")
    adapter = trained(base, HeadKind.GENERATE, rank=4, seed=61, spread=0.3)
    model = adapter.model.base_model.model
    column = column_bytes(model.config, decoder_layers(model), model.dtype)
    engine = engine_of(base, "torch", generation=GenerationLimits(8, 4 * 520 * column))
    fill(engine, [adapter])
    sizes = [(200, 8), (8, 200)] * 4
    rows = [
        adapter.row(1, source, number, max_new_tokens=answer) for number, (source, answer) in enumerate(sizes)
    ]
    seen: list[float] = []
    outputs: SimpleQueue[Output] = SimpleQueue()
    for row in rows:
        engine.generate(row, lambda piece: seen.append(engine.info().generation.memory), outputs.put)
    texts = {id(output.row): output.text for output in (outputs.get(timeout=60) for _ in rows)}
    assert 0.9 < max(seen) <= 1, "columns are rounded up to a multiple of 64 within the limit"
    assert [texts[id(row.row)] for row in rows] == [adapter.alone_text(row.row) for row in rows]
