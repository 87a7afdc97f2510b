# ruff: noqa: TID253 - compares with transformers
"""Greedy text of several adapters in one batch is what PEFT generates for each prompt alone."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from transformers import AutoTokenizer, GenerationConfig

from hub.api import HeadKind, Row
from hub.bases.base import Base
from hub.engine.build import build_engine
from hub.engine.protocol import Engine, EngineRow
from hub.errors import BadAdapter, BadRequest, EngineFailed


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


def test_a_row_ends_at_any_end_token_of_the_base(llama, adapters, tmp_path):
    """The base's saved settings ask for sampling and name an end token; only the end token counts."""
    row = adapters[0].row(1, 12, max_new_tokens=16)
    whole = adapters[0].alone_text(row.row)
    early = next(character for character in whole[1:-1] if character.isascii())  # one byte, so one token
    [end] = AutoTokenizer.from_pretrained(llama.path)(early)["input_ids"]
    base = replace(llama, path=shutil.copytree(llama.path, tmp_path / "base"))
    GenerationConfig(eos_token_id=[2, end], do_sample=True, temperature=9.0).save_pretrained(base.path)
    engine = build_engine(base, slots=1, device="cpu")
    engine.write(1, adapters[0].weights)
    [text] = texts(engine, [row])
    assert len(text) < len(whole)
    assert whole.startswith(text.rstrip("\ufffd"))
    engine.close()


def test_a_row_ends_where_the_base_has_no_more_room(decoder, adapters, fill):
    fill(decoder, adapters)
    row = adapters[0].row(1, 250, max_new_tokens=100)
    limited = replace(row, row=replace(row.row, max_new_tokens=6))
    assert texts(decoder, [row]) == texts(decoder, [limited]) == [adapters[0].alone_text(limited.row)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (Row([5, 6]), "max_new_tokens must be 1 or more, not 0"),
        (Row([5] * 256, max_new_tokens=1), "256 tokens leaves no room to answer"),
        (Row([10**6], max_new_tokens=1), "token ids that this base does not know"),
    ],
)
def test_prompts_that_cannot_be_continued(decoder, row, reason):
    with pytest.raises(BadRequest, match=reason):
        decoder.run([EngineRow(row, 0, HeadKind.GENERATE)])


def test_a_decoder_scores_nothing(bert, trained, decoder):
    with pytest.raises(EngineFailed, match="It cannot run a sequence row"):
        decoder.run([EngineRow(Row([1]), 0, HeadKind.SEQUENCE)])
    with pytest.raises(BadAdapter, match="It cannot serve a sequence adapter"):
        decoder.check(trained(bert, HeadKind.SEQUENCE, labels=2, seed=21, rank=2).weights)


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
