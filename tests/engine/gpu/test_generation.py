# ruff: noqa: TID253 - needs CUDA
"""On a GPU rows generate what they generate on the CPU: beams, seeds, rules of the base, cached prompts."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace

import pytest
from transformers import GenerationConfig

from hub.api import HeadKind
from hub.generation.response_format import ChoiceFormat
from tests.engine.generate.conftest import Writer

pytestmark = pytest.mark.gpu

FAMILIES = ["llama", "qwen2", "bart", "marian", "t5"]
# Processors of transformers that hold tensors of their own, and others.
RULES = {
    "min_length": 6,
    "suppress_tokens": [214, 155],
    "bad_words_ids": [[12], [204, 81]],
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 2,
}


def adapters_of(base, trained):
    return [trained(base, HeadKind.GENERATE, rank=rank, seed=60 + rank, spread=0.3) for rank in (1, 4, 8)]


@pytest.fixture(params=FAMILIES)
def pair(request, base_of, trained, on_gpu, engine_of, fill):
    """A writer on the GPU and one on the CPU, on the same base and adapters."""
    base = base_of(request.param)
    adapters = adapters_of(base, trained)
    engines = on_gpu(base), engine_of(base, "torch")
    for engine in engines:
        fill(engine, adapters)
    return tuple(Writer(engine, adapters) for engine in engines)


def test_rows_that_join_and_leave_write_what_peft_writes(pair) -> None:
    writer, _ = pair
    chance = random.Random(1)
    rows = [
        writer.row(
            chance.randint(1, 3), chance.randint(1, 90), number, chance.randint(1, 30), num_beams=beams
        )
        for number, beams in enumerate([1, 1, 2, 1, 3, 1] * 3)
    ]
    begun = [writer.begin(row) for row in rows]
    begun[4][1].cancel()
    for (written, generating), row in zip(begun, rows, strict=True):
        output = written.wait()
        if not generating.cancelled:
            assert output.text == writer.expected(row)


def test_sampled_rows_are_those_of_the_cpu(pair) -> None:
    """The random numbers are drawn on the host, so that a seed gives one text everywhere."""
    settings = [
        {"temperature": 1.0, "seed": 1},
        {"temperature": 0.7, "seed": 2, "top_k": 5, "logit_bias": {40: 5.0, 41: -100.0}},
        {"temperature": 0.9, "seed": 5, "top_p": 0.8, "min_p": 0.02, "repetition_penalty": 1.3},
        {"response_format": ChoiceFormat(type="choice", choices=("yes", "no"))},
    ]
    texts = []
    for writer in pair:
        rows = [writer.row(1 + n % 3, 5 + 7 * n, n, 12, **one) for n, one in enumerate(settings)]
        begun = [writer.begin(row)[0] for row in rows]
        texts.append([written.wait().text for written in begun])
    assert texts[0] == texts[1]
    assert texts[0][-1] in ("yes", "no")


@pytest.mark.parametrize("family", ["llama", "bart"])
def test_rules_of_the_base_hold(family, base_of, trained, on_gpu, engine_of, fill, tmp_path) -> None:
    base = base_of(family)
    adapters = adapters_of(base, trained)
    copy = replace(base, path=shutil.copytree(base.path, tmp_path / "base"))
    saved = GenerationConfig.from_pretrained(base.path)
    saved.update(**RULES)
    saved.save_pretrained(copy.path)
    texts = []
    for engine in (on_gpu(copy), engine_of(copy, "torch")):
        fill(engine, adapters)
        writer = Writer(engine, adapters)
        rows = [writer.row(1 + n % 3, 6 + n, n, 12, num_beams=1 + n % 3) for n in range(6)]
        texts.append([writer.begin(row)[0].wait().text for row in rows])
    assert texts[0] == texts[1]


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_prompt_that_was_cached_is_answered_as_before(family, base_of, trained, on_gpu, fill) -> None:
    base = base_of(family)
    adapters = adapters_of(base, trained)
    engine = on_gpu(base)
    fill(engine, adapters)
    writer = Writer(engine, adapters)
    row = writer.row(2, 130, 3, 8)
    first, again = writer.alone(row), writer.alone(row)
    beside = [writer.begin(one)[0] for one in (row, writer.row(1, 130, 3, 8), writer.row(2, 70, 9, 8))]
    texts = [written.wait().text for written in beside]
    assert (first.cached_tokens, again.cached_tokens) == (0, 128)
    assert first.text == again.text == texts[0] == writer.expected(row)
    assert texts[1:] == [writer.expected(written.row) for written in beside[1:]]
