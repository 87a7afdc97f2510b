"""Rows that join, leave and are cancelled in any order write what each writes alone."""

from __future__ import annotations

import random
import threading
from queue import SimpleQueue

import pytest

from hub.api import FinishReason, HeadKind, Output
from hub.engine.protocol import GenerationLimits
from hub.errors import BadRequest, HubError, Overloaded
from tests.engine.generate.conftest import Writer, few_families
from tests.support.profiles import seeds


@pytest.mark.parametrize("seed", seeds(3))
def test_greedy_rows_equal_peft_alone_whatever_runs_beside_them(writer, seed) -> None:
    chance = random.Random(seed)
    rows = [
        writer.row(chance.randint(1, 3), chance.randint(1, 120), number, chance.randint(1, 40))
        for number in range(24)
    ]
    begun = []
    for number, row in enumerate(rows):
        written, generating = writer.begin(row)
        if number % 5 == 4:
            generating.cancel()
        begun.append((written, generating))
    for written, generating in begun:
        done = written.wait()
        if not generating.cancelled:
            assert done.text == writer.expected(written.row)
            assert done.tokens <= written.row.row.max_new_tokens
            assert done.finish_reason is not None


SETTINGS = [
    {"temperature": 1.0, "seed": 1},
    {"temperature": 0.7, "seed": 2, "top_k": 5},
    {"temperature": 1.3, "seed": 3, "top_p": 0.8},
    {"temperature": 1.0, "seed": 4, "min_p": 0.1},
    {"temperature": 0.9, "seed": 5, "top_k": 50, "top_p": 0.95, "min_p": 0.02, "repetition_penalty": 1.3},
    {"temperature": 2.0, "seed": 6, "logit_bias": {40: 5.0, 41: -100.0}},
    {},
]


@few_families
def test_a_sampled_row_equals_itself_alone_with_its_seed(writer) -> None:
    rows = [
        writer.row(1 + number % 3, 5 + 7 * number, number, 25, **settings)
        for number, settings in enumerate(SETTINGS * 2)
    ]
    alone = [writer.alone(row).text for row in rows]
    together = [writer.begin(row)[0] for row in rows]
    assert [written.wait().text for written in together] == alone
    assert len(set(alone)) > len(SETTINGS)


@few_families
def test_another_seed_writes_another_text_and_no_seed_a_new_one(writer) -> None:
    texts = [
        writer.alone(writer.row(1, 9, 0, 20, temperature=1.5, seed=seed)).text
        for seed in (1, 1, 2, None, None)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 4


@few_families
def test_a_stop_string_ends_a_row_and_is_not_part_of_it(writer) -> None:
    whole = writer.alone(writer.row(2, 11, 3, 30)).text
    assert len(whole) > 6
    stop = whole[3:5]
    row = writer.row(2, 11, 3, 30, stop=(stop, "never written"))
    done = writer.alone(row)
    assert done.text == whole[: whole.index(stop)]
    assert done.finish_reason is FinishReason.STOP


@few_families
def test_a_cancelled_row_frees_its_place_within_a_step(writer) -> None:
    first_piece = threading.Event()
    ended: SimpleQueue[Output | HubError] = SimpleQueue()
    generating = writer.engine.generate(
        writer.row(1, 20, 0, 200, temperature=1.0, seed=1), lambda text: first_piece.set(), ended.put
    )
    assert first_piece.wait(30)
    generating.cancel()
    output = ended.get(timeout=30)
    assert isinstance(output, Output) and output.finish_reason is None
    assert output.tokens < 200


@few_families
def test_a_step_that_fails_fails_only_the_row_that_is_the_cause(writer, monkeypatch) -> None:
    from hub.engine.generate.decoding import Decoding

    rows = [writer.row(1 + number % 3, 10 + number, number, 12) for number in range(6)]
    expected = [writer.expected(row) for row in rows]
    guilty = rows[2].row
    logits = Decoding._logits

    def fail(self, live, first, budget):
        if any(one.row.row is guilty and len(one.row.tokens) == 4 for one in live):
            raise RuntimeError("an index is out of range")
        return logits(self, live, first, budget)

    monkeypatch.setattr(Decoding, "_logits", fail)
    begun = [writer.begin(row)[0] for row in rows]
    for number, written in enumerate(begun):
        if number == 2:
            with pytest.raises(HubError, match="RuntimeError"):
                written.wait()
        else:
            assert written.wait().text == expected[number]


@few_families
def test_a_long_prompt_is_taken_in_parts_while_others_write(writer, monkeypatch) -> None:
    from hub.engine.generate import decoding

    monkeypatch.setitem(decoding.PREFILL_TOKENS, "cpu", 16)
    rows = [
        writer.row(1, 5, 0, 40),
        writer.row(2, 150, 1, 10),
        writer.row(3, 7, 2, 30),
        writer.row(1, 90, 3, 9),
    ]
    begun = [writer.begin(row)[0] for row in rows]
    assert [written.wait().text for written in begun] == [writer.expected(row) for row in rows]


@pytest.mark.parametrize("seed", seeds(4))
def test_rows_of_any_length_are_exact_where_few_fit_in_a_piece_of_prefill(writer, monkeypatch, seed) -> None:
    from hub.engine.generate import decoding

    monkeypatch.setitem(decoding.PREFILL_TOKENS, "cpu", 24)
    chance = random.Random(seed)
    rows = [
        writer.row(
            chance.randint(1, 3),
            chance.choice([chance.randint(1, 12), chance.randint(20, 140)]),
            number,
            chance.choice([1, 1, 2, 15]),
            num_beams=chance.choice([1, 1, 3]),
        )
        for number in range(30)
    ]
    begun = []
    for row in rows:
        written, generating = writer.begin(row)
        if chance.random() < 0.2:
            generating.cancel()
        begun.append((written, generating))
    for written, generating in begun:
        done = written.wait()
        if not generating.cancelled:
            assert done.text == writer.expected(written.row)


@few_families
def test_short_prompts_are_computed_before_long_ones(writer, monkeypatch) -> None:
    from hub.engine.generate import decoding

    monkeypatch.setitem(decoding.PREFILL_TOKENS, "cpu", 64)
    order: list[int] = []
    forward = decoding.Decoding._forward

    def watch(self, rows, first, budget=None):
        if budget:
            order.extend(len(live.row.row.input_ids) for live in rows)
        forward(self, rows, first, budget)

    monkeypatch.setattr(decoding.Decoding, "_forward", watch)
    lengths = [60, 4, 30, 9, 50, 5]
    loop = writer.engine._texts._loop
    with loop._changed:  # the rows are received together
        rows = [writer.row(1 + n % 3, length, n, 3) for n, length in enumerate(lengths)]
        begun = [writer.begin(row)[0] for row in rows]
    assert [written.wait().text for written in begun] == [writer.expected(row) for row in rows]
    assert order == sorted(lengths)


@few_families
def test_a_bias_on_a_token_that_the_base_lacks_is_refused(writer) -> None:
    with pytest.raises(BadRequest, match="logit_bias names token 1000000"):
        writer.begin(writer.row(1, 5, 0, 5, logit_bias={1_000_000: 1.0}))


@pytest.mark.parametrize(("family", "nbytes"), [("llama", 40_000), ("bart", 140_000)])
def test_more_rows_than_fit_wait_and_one_that_never_fits_is_refused(
    base_of, trained, engine_of, fill, family, nbytes
) -> None:
    base = base_of(family)
    adapters = [trained(base, HeadKind.GENERATE, rank=4, seed=60, spread=0.3)]
    engine = engine_of(base, "torch", generation=GenerationLimits(3, nbytes))
    fill(engine, adapters)
    small = Writer(engine, adapters)
    rows = [small.row(1, 4 + number, number, 6 + number % 5) for number in range(12)]
    begun = [small.begin(row)[0] for row in rows]
    with pytest.raises(Overloaded, match=r"serve\.generate_mb"):
        small.alone(small.row(1, 250, 0, 100))
    assert [written.wait().text for written in begun] == [small.expected(row) for row in rows]
