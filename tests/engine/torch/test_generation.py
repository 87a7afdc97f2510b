# ruff: noqa: TID253 - compares with transformers
"""Greedy text of several adapters in one batch is what PEFT generates for each prompt alone."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from transformers import AutoTokenizer, GenerationConfig

from hub.api import FinishReason, HeadKind, Row
from hub.bases.base import Base
from hub.engine.protocol import Engine, EngineRow
from hub.engine.torch.generate import output_of
from hub.errors import BadAdapter, BadRequest, EngineFailed, UnsupportedAdapter
from hub.testing.tiny_tokenizers import LLAMA, tiny_tokenizer
from tests.support import tiny


@pytest.fixture
def decoder(llama, engine_of):
    return engine_of(llama, "auto")


@pytest.fixture
def adapters(llama, trained):
    return [
        trained(llama, HeadKind.GENERATE, rank=4, seed=41),
        trained(llama, HeadKind.GENERATE, rank=8, seed=42),
        trained(llama, HeadKind.GENERATE, rank=1, seed=43, targets=["q_proj", "v_proj"], use_rslora=True),
    ]


def texts(engine, rows):
    return [output.text for output in engine.run(rows)]


def test_mixed_prompts_lengths_and_adapters(decoder, adapters, fill):
    fill(decoder, adapters)
    rows = [
        adapter.row(slot, length=3 + 7 * slot + 11 * seed, seed=seed, max_new_tokens=4 + 5 * slot + seed)
        for seed in (0, 1)
        for slot, adapter in enumerate(adapters, 1)
    ]
    expected = [adapters[row.slot - 1].alone_text(row.row) for row in rows]
    assert texts(decoder, rows) == expected
    assert len(set(expected)) == len(expected)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_the_layer_that_gives_the_tokens_is_slotted_too(llama, decoder, trained, adapters, fill):
    """PEFT leaves it out of all-linear, but it can be named."""
    settings = {"targets": ["q_proj", "v_proj", "lm_head"], "exclude_modules": ["v_proj"]}
    last = trained(llama, HeadKind.GENERATE, rank=4, seed=46, spread=0.3, **settings)
    assert "lm_head" in last.weights.layers
    fill(decoder, [last, adapters[0]])
    rows = [last.row(1, 9, max_new_tokens=8), adapters[0].row(2, 5, max_new_tokens=8)]
    expected = [last.alone_text(rows[0].row), adapters[0].alone_text(rows[1].row)]
    assert texts(decoder, rows) == expected


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
@pytest.mark.parametrize("family", ["t5", "bart"])
def test_an_output_layer_tied_to_the_embedding_is_slotted_in_two_stacks(base_of, trained, engine_of, family):
    base = base_of(family)
    adapter = trained(
        base, HeadKind.GENERATE, rank=4, seed=47, spread=0.5, targets=["lm_head"], exclude_modules=None
    )
    engine = engine_of(base, "torch", slots=1)
    engine.write(1, adapter.weights)
    row = adapter.row(1, 9, max_new_tokens=8)
    expected = adapter.alone_text(row.row)
    assert texts(engine, [row]) == [expected]
    with adapter.model.disable_adapter():
        assert adapter.alone_text(row.row) != expected


def test_slot_0_is_the_bare_base(llama, decoder, adapters, fill):
    fill(decoder, adapters)
    row = adapters[0].row(0, 10, max_new_tokens=8)
    with adapters[0].model.disable_adapter():
        expected = adapters[0].alone_text(row.row)
    assert texts(decoder, [row, adapters[0].row(1, 10, max_new_tokens=8)])[0] == expected


def test_each_row_ends_at_its_own_limit(llama, decoder, adapters, fill):
    fill(decoder, adapters)
    tokenizer = AutoTokenizer.from_pretrained(llama.path)
    prompt = adapters[0].row(1, 12, max_new_tokens=20)
    long, *shorter = texts(
        decoder, [prompt, *(replace(prompt, row=replace(prompt.row, max_new_tokens=n)) for n in (1, 5))]
    )
    assert len(tokenizer(long)["input_ids"]) > 5
    for text in shorter:
        assert len(text) < len(long)
        assert long.startswith(text.rstrip("\ufffd"))


def test_a_row_ends_at_any_end_token_of_the_base(llama, adapters, tmp_path, engine_of):
    """The base's saved settings ask for sampling and name an end token; only the end token counts."""
    rows = (adapters[0].row(1, 12, seed, max_new_tokens=16) for seed in range(20))
    row, whole, early = next(  # a character of one byte is one token
        (row, whole, character)
        for row in rows
        for whole in [adapters[0].alone_text(row.row)]
        for character in whole[1:-1]
        if character.isascii()
    )
    [end] = AutoTokenizer.from_pretrained(llama.path)(early)["input_ids"]
    base = replace(llama, path=shutil.copytree(llama.path, tmp_path / "base"))
    GenerationConfig(eos_token_id=[2, end], do_sample=True, temperature=9.0).save_pretrained(base.path)
    engine = engine_of(base, "auto", slots=1)
    engine.write(1, adapters[0].weights)
    [text] = texts(engine, [row])
    assert len(text) < len(whole)
    assert whole.startswith(text.rstrip("\ufffd"))


def test_a_row_ends_where_the_base_has_no_more_room(decoder, adapters, fill):
    fill(decoder, adapters)
    row = adapters[0].row(1, 250, max_new_tokens=100)
    limited = replace(row, row=replace(row.row, max_new_tokens=6))
    assert texts(decoder, [row]) == texts(decoder, [limited]) == [adapters[0].alone_text(limited.row)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (Row([5, 6]), "max_new_tokens must be 1 or more, not 0"),
        (Row([5] * 256, max_new_tokens=1), "256 tokens leaves no room for an answer"),
        (Row([10**6], max_new_tokens=1), "token ids outside the range of this base"),
    ],
)
def test_prompts_that_cannot_be_continued(decoder, row, reason):
    with pytest.raises(BadRequest, match=reason):
        decoder.run([EngineRow(row, 0, HeadKind.GENERATE)])


def test_a_decoder_scores_and_generates_in_one_batch(llama, trained, engine_of, fill):
    """Rows of every head, those that generate among them, come back in order."""
    adapters = [
        trained(llama, kind, labels=3 if kind in (HeadKind.SEQUENCE, HeadKind.TOKEN) else 0, seed=21, rank=2)
        for kind in tiny.head_kinds(llama)
    ]
    engine = engine_of(llama, "auto")
    fill(engine, adapters)
    rows = [
        adapter.row(slot, 4 + 3 * slot + turn, seed=turn, max_new_tokens=5)
        for turn in (0, 1)
        for slot, adapter in enumerate(adapters, 1)
    ]
    for row, output in zip(rows, engine.run(rows), strict=True):
        adapter = adapters[row.slot - 1]
        assert output.row is row.row
        if adapter.kind is HeadKind.GENERATE:
            assert output.text == adapter.alone_text(row.row)
        else:
            assert np.abs(output.values - adapter.alone(row.row)).max() <= 1e-4


def test_a_base_without_a_head_of_a_kind_refuses_its_adapters_and_rows(bert, trained, base_of, engine_of):
    token = trained(bert, HeadKind.TOKEN, labels=2, seed=21, rank=2)
    engine = engine_of(base_of("marian"), "auto")
    for call in (engine.check, lambda weights: engine.write(1, weights)):
        with pytest.raises(UnsupportedAdapter, match="has no token head to serve"):
            call(token.weights)
    with pytest.raises(EngineFailed, match="has no token head to serve"):
        engine.run([EngineRow(Row([7]), 0, HeadKind.TOKEN)])


def test_means_are_refused_on_a_base_whose_token_head_has_several_layers(trained, base_of, engine_of):
    base = base_of("modernbert")
    weights = replace(trained(base, HeadKind.TOKEN, labels=2, seed=21).weights, kind=HeadKind.SEQUENCE_MEAN)
    with pytest.raises(UnsupportedAdapter, match="more than one linear layer"):
        engine_of(base, "torch").check(weights)


def test_an_encoder_generates_nothing(bert, llama, trained, engine_of):
    engine = engine_of(bert, "torch")
    with pytest.raises(EngineFailed, match=r"generates no text\. It cannot run a generate row"):
        engine.run([EngineRow(Row([7], max_new_tokens=2), 0, HeadKind.GENERATE)])
    with pytest.raises(BadAdapter, match="It cannot serve a generate adapter"):
        engine.check(trained(llama, HeadKind.GENERATE, rank=4, seed=41).weights)


@pytest.mark.parametrize("family", ["t5", "bart", "marian"])
def test_two_stacks_answer_a_mix_of_adapters_and_the_bare_base(family, base_of, trained, engine_of, fill):
    """Texts of different lengths and limits; what one row may write says nothing of the others."""
    base = base_of(family)
    adapters = [trained(base, HeadKind.GENERATE, rank=rank, seed=rank) for rank in (2, 4)]
    engine = engine_of(base, "auto")
    fill(engine, adapters)
    rows = [
        adapters[n % 2].row(n % 2 + 1, 3 + 4 * n, seed=n, max_new_tokens=limit)
        for n, limit in enumerate((9, 1, 3, 17, 6))
    ]
    bare = adapters[0].row(0, 12, max_new_tokens=7)
    expected = [adapters[row.slot - 1].alone_text(row.row) for row in rows]
    with adapters[0].model.disable_adapter():
        expected.append(adapters[0].alone_text(bare.row))
    assert texts(engine, [*rows, bare]) == expected
    assert [texts(engine, [row])[0] for row in (*rows, bare)] == expected


def test_two_stacks_read_the_longest_text_and_write_no_more_than_there_is_room_for(
    base_of, trained, engine_of
):
    base = base_of("bart")
    adapter = trained(base, HeadKind.GENERATE, rank=2, seed=2)
    engine = engine_of(base, "auto")
    engine.write(1, adapter.weights)
    longest = adapter.row(1, base.max_length, max_new_tokens=2)
    assert texts(engine, [longest]) == [adapter.alone_text(longest.row)]
    endless = adapter.row(1, 5, max_new_tokens=10**6)
    room = replace(endless, row=replace(endless.row, max_new_tokens=base.max_length - 1))
    assert texts(engine, [endless]) == texts(engine, [room])
    with pytest.raises(BadRequest, match="max_new_tokens must be 1 or more"):
        engine.run([adapter.row(1, 5)])


def test_two_stacks_report_how_many_tokens_they_wrote_and_why_they_ended(base_of, trained, engine_of):
    base = base_of("bart")
    adapter = trained(base, HeadKind.GENERATE, rank=2, seed=2)
    engine = engine_of(base, "auto")
    engine.write(1, adapter.weights)
    (output,) = engine.run([adapter.row(1, 5, max_new_tokens=3)])
    assert (output.tokens, output.finish_reason) == (3, FinishReason.LENGTH)


@pytest.mark.parametrize(
    ("ids", "tokens", "reason"),
    [
        ([70, 71, 72], 3, FinishReason.LENGTH),
        ([70, 2, 0, 0], 2, FinishReason.STOP),
        ([70, 71, 1], 3, FinishReason.STOP),
        ([2], 1, FinishReason.STOP),
    ],
)
def test_tokens_are_counted_up_to_the_first_end_token(ids, tokens, reason):
    output = output_of(Row([5]), ids, {1, 2}, tiny_tokenizer(LLAMA))
    assert (output.tokens, output.finish_reason) == (tokens, reason)
    assert len(output.text) == sum(one > 2 for one in ids)


@pytest.mark.slow
def test_real_weights(smollm2: Base, trained, engine_of, fill):
    """Two adapters on SmolLM2, prompts of different lengths in one batch."""
    adapters = [
        trained(smollm2, HeadKind.GENERATE, rank=4, seed=seed, spread=0.02, targets=["q_proj", "v_proj"])
        for seed in (44, 45)
    ]
    engine: Engine = engine_of(smollm2, "auto", slots=2)
    fill(engine, adapters)
    tokenizer = AutoTokenizer.from_pretrained(smollm2.path)
    prompts = ["Paris is the capital of", "The three primary colours are red, green and"]
    rows = [
        EngineRow(Row(tokenizer(text)["input_ids"], max_new_tokens=6), slot, HeadKind.GENERATE)
        for slot, text in enumerate(prompts, 1)
    ]
    if engine.info().dtype == "float32":
        assert texts(engine, rows) == [adapters[row.slot - 1].alone_text(row.row) for row in rows]
    assert all(texts(engine, rows))
