# ruff: noqa: TID253 - reads tensors
"""A prompt that begins as an earlier text of its version computes only the rest, and is answered alike."""

from __future__ import annotations

from dataclasses import replace
from queue import Queue

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hub.api import HeadKind, Output
from hub.engine.generate.prefix import BLOCK_TOKENS, PrefixCache
from hub.engine.protocol import EngineRow, GenerationLimits

BLOCK_BYTES = 2 * BLOCK_TOKENS * 4


def states_of(tokens):
    """The tokens themselves as keys and values, so that a test sees whose they are."""
    return lambda start, stop: torch.tensor(tokens[start:stop], dtype=torch.float32).expand(2, 1, -1)[
        ..., None
    ]


def found(cache: PrefixCache, version: str, tokens: list[int]) -> list[int]:
    return [int(value) for states in cache.find(version, tokens) for value in states[0, 0, :, 0]]


def test_the_longest_common_beginning_in_whole_blocks_is_found() -> None:
    cache = PrefixCache(100 * BLOCK_BYTES)
    tokens = list(range(5 * BLOCK_TOKENS + 7))
    cache.store("a", tokens, states_of(tokens))
    assert len(cache) == 5
    assert found(cache, "a", tokens) == tokens[: 5 * BLOCK_TOKENS]
    other = [*tokens[: 3 * BLOCK_TOKENS + 1], *range(900, 1000)]
    assert found(cache, "a", other) == tokens[: 3 * BLOCK_TOKENS]
    assert found(cache, "a", tokens[: BLOCK_TOKENS - 1]) == []


def test_versions_share_no_block_and_a_block_in_the_middle_begins_no_text() -> None:
    cache = PrefixCache(100 * BLOCK_BYTES)
    tokens = list(range(2 * BLOCK_TOKENS))
    cache.store("a", tokens, states_of(tokens))
    assert found(cache, "b", tokens) == []
    assert found(cache, "a", tokens[BLOCK_TOKENS:]) == []


def test_a_text_that_does_not_fit_is_cached_in_part_and_without_memory_nothing_is() -> None:
    tokens = list(range(9 * BLOCK_TOKENS))
    cache = PrefixCache(4 * BLOCK_BYTES)
    cache.store("a", tokens, states_of(tokens))
    assert found(cache, "a", tokens) == tokens[: 4 * BLOCK_TOKENS]
    nothing = PrefixCache(0)
    nothing.store("a", tokens, states_of(tokens))
    assert found(nothing, "a", tokens) == [] and not len(nothing)


TEXTS = st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.integers(0, 2), max_size=6)), max_size=30)


@given(texts=TEXTS, blocks=st.integers(0, 7))
def test_the_memory_is_bounded_and_what_is_found_belongs_to_the_tokens(texts, blocks) -> None:
    cache = PrefixCache(blocks * BLOCK_BYTES)
    for version, digits in texts:
        tokens = [digit for digit in digits for _ in range(BLOCK_TOKENS)]
        cache.store(version, tokens, states_of([value + 10 * (version == "b") for value in tokens]))
        assert cache.nbytes == len(cache) * BLOCK_BYTES <= blocks * BLOCK_BYTES
        kept = cache.find(version, tokens)
        assert len(kept) == min(len(digits), blocks)
        for digit, states in zip(digits, kept, strict=False):
            assert bool((states == digit + 10 * (version == "b")).all())


@pytest.fixture(params=["llama", "qwen2"])
def hub_of_two(request, base_of, trained, engine_of, fill):
    base = base_of(request.param)
    adapters = [trained(base, HeadKind.GENERATE, rank=4, seed=seed, spread=0.3) for seed in (71, 72)]
    engine = engine_of(base, "torch")
    fill(engine, adapters)
    return engine, adapters


def generate(engine, row: EngineRow) -> Output:
    ended: Queue[Output] = Queue()
    engine.generate(row, lambda text: None, ended.put)
    return ended.get(timeout=60)


def test_cached_and_computed_prompts_are_answered_as_peft_answers(hub_of_two) -> None:
    engine, adapters = hub_of_two
    long = adapters[0].row(1, 150, 0, max_new_tokens=12)
    first = generate(engine, long)
    again = generate(engine, long)
    assert (first.cached_tokens, again.cached_tokens) == (0, 128)
    assert first.text == again.text == adapters[0].alone_text(long.row)
    tail = adapters[0].row(1, 20, 1).row.input_ids
    branch = replace(long, row=replace(long.row, input_ids=[*long.row.input_ids[:100], *tail]))
    beside = [generate(engine, branch), generate(engine, replace(branch, slot=2))]
    assert [output.cached_tokens for output in beside] == [96, 0]
    assert [output.text for output in beside] == [adapter.alone_text(branch.row) for adapter in adapters]


def test_another_version_in_the_same_slot_begins_anew(hub_of_two) -> None:
    engine, adapters = hub_of_two
    row = adapters[0].row(1, 120, 3, max_new_tokens=10)
    generate(engine, row)
    engine.clear(1)
    engine.write(1, adapters[1].weights)
    swapped = generate(engine, row)
    assert swapped.cached_tokens == 0 and swapped.text == adapters[1].alone_text(row.row)


def test_the_answer_of_a_turn_is_cached_for_the_next_one(hub_of_two) -> None:
    engine, adapters = hub_of_two
    row = adapters[0].row(1, 60, 4, max_new_tokens=80)
    done = generate(engine, row)
    ids = adapters[0].alone_ids(row.row)
    turn = replace(row, row=replace(row.row, input_ids=[*row.row.input_ids, *ids, 9, 8, 7], max_new_tokens=6))
    following = generate(engine, turn)
    assert following.cached_tokens == (60 + done.tokens - 1) // BLOCK_TOKENS * BLOCK_TOKENS > 60
    assert following.text == adapters[0].alone_text(turn.row)


def test_prompts_that_begin_alike_at_once_are_exact(hub_of_two, engine_of) -> None:
    engine, adapters = hub_of_two
    shared = adapters[0].row(1, 64, 5).row.input_ids
    rows = [
        replace(row, row=replace(row.row, input_ids=[*shared, *row.row.input_ids]))
        for number in range(12)
        for row in [adapters[number % 2].row(1 + number % 2, 3 + 5 * number, number, max_new_tokens=8)]
    ]
    ended: list[Queue[Output]] = [Queue() for _ in rows]
    for row, queue in zip(rows, ended, strict=True):
        engine.generate(row, lambda text: None, queue.put)
    outputs = [queue.get(timeout=60) for queue in ended]
    assert [o.text for o in outputs] == [adapters[row.slot - 1].alone_text(row.row) for row in rows]
    assert sum(output.cached_tokens for output in outputs) >= 64


def test_without_memory_for_beginnings_every_prompt_is_computed(base_of, trained, engine_of, fill) -> None:
    base = base_of("llama")
    adapter = trained(base, HeadKind.GENERATE, rank=4, seed=71, spread=0.3)
    engine = engine_of(base, "torch", generation=GenerationLimits(4, 10_000_000, 0))
    fill(engine, [adapter])
    row = adapter.row(1, 100, 0, max_new_tokens=5)
    assert [generate(engine, row).cached_tokens for _ in range(2)] == [0, 0]
