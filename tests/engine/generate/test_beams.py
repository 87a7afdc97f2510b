# ruff: noqa: TID253 - compares with transformers
"""Beam search beside other rows gives the text that `generate` of transformers finds alone."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig

from hub.api import FinishReason, HeadKind, Row, Sampling
from hub.engine.generate.beams import BeamSearch
from hub.engine.protocol import EngineRow, GenerationLimits
from hub.errors import BadSampling, EngineFailed, Overloaded
from tests.engine.conftest import tokenizer_of
from tests.engine.generate.conftest import Writer, Written, few_families
from tests.support.profiles import seeds, thorough

TOKENS = 24
ROWS = 32 if thorough() else 20


def beam_row(writer: Writer, number: int, beams: int, **sampling) -> EngineRow:
    """A row whose end token is likely enough for texts of many lengths."""
    chance = random.Random(number)
    bias = {tokenizer_of(writer.adapters[0].base.path).eos_token_id: chance.uniform(0, 3)}
    return writer.row(
        chance.randint(1, 3),
        chance.randint(1, 120),
        number,
        chance.randint(1, TOKENS),
        num_beams=beams,
        **{"logit_bias": bias, **sampling},
    )


def expect(writer: Writer, row: EngineRow, **settings) -> list[int]:
    if bias := row.row.sampling.logit_bias:
        settings["sequence_bias"] = [[[token], value] for token, value in bias.items()]
    return writer.adapters[row.slot - 1].alone_ids(row.row, **settings)


def check(writer: Writer, written: Written, **settings) -> int:
    """Check a text with its count of tokens, and that it came in one piece; return the count."""
    done, ids = written.wait(), expect(writer, written.row, **settings)
    tokenizer = tokenizer_of(writer.adapters[0].base.path)
    assert (done.tokens, done.text) == (len(ids), tokenizer.decode(ids, skip_special_tokens=True))
    assert done.finish_reason is (
        FinishReason.STOP if ids[-1] == tokenizer.eos_token_id else FinishReason.LENGTH
    )
    assert len(written.pieces) <= 1
    return len(ids)


PENALTIES = (-1.0, 0.0, 0.7, 1.0, 2.0)


@pytest.mark.parametrize("seed", seeds(3))
def test_beams_equal_transformers_alone_whatever_runs_beside_them(writer, seed) -> None:
    chance = random.Random(seed)
    begun: list[tuple[Written, bool]] = []
    for number in range(ROWS):
        beams = chance.choice([1, 1, 2, 3, 4, 5, 8])
        if beams > 1:
            row = beam_row(writer, 100 * seed + number, beams, length_penalty=chance.choice(PENALTIES))
        else:
            sampling = chance.choice([{}, {"temperature": 1.0, "seed": number}])
            row = writer.row(1 + number % 3, chance.randint(1, 120), number, 40, **sampling)
        written, generating = writer.begin(row)
        begun.append((written, chance.random() < 0.15))
        if begun[-1][1]:
            generating.cancel()
        if chance.random() < 0.2:  # the next rows join later
            chance.choice(begun)[0].join()
    lengths = set()
    for written, cancelled in begun:
        sampling = written.row.row.sampling
        if cancelled:
            written.wait()
        elif sampling.temperature:
            assert written.wait().text == writer.alone(written.row).text
        elif sampling.num_beams == 1:
            assert written.wait().text == writer.expected(written.row)
        else:
            lengths.add(check(writer, written))
    assert len(lengths) > 3


RULES = {
    "llama": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "bad_words_ids": [[12], [204, 81]]},
    "bart": {"forced_bos_token_id": 0, "min_length": 6, "suppress_tokens": [214, 155]},
    "marian": {"renormalize_logits": True, "bad_words_ids": [[7], [238], [164, 87]]},
    "t5": {"repetition_penalty": 1.5, "renormalize_logits": True},
}
NOT_FOLLOWED = {"num_beams": 6, "early_stopping": True, "length_penalty": 0.3}


@pytest.fixture
def ruled(request, base_of, trained, engine_of, fill, tmp_path) -> Writer:
    """A writer on a base with rules of its own."""
    base = base_of(request.param)
    adapters = [trained(base, HeadKind.GENERATE, rank=rank, seed=60 + rank, spread=0.3) for rank in (1, 4, 8)]
    copy = replace(base, path=shutil.copytree(base.path, tmp_path / "base"))
    saved = GenerationConfig.from_pretrained(base.path)
    saved.update(**RULES[request.param], **NOT_FOLLOWED)
    saved.save_pretrained(copy.path)
    engine = engine_of(copy, "torch")
    fill(engine, adapters)
    return Writer(engine, adapters)


@pytest.mark.parametrize(("ruled", "family"), [(name, name) for name in RULES], indirect=["ruled"])
def test_the_rules_of_the_base_hold_for_each_beam_and_its_beams_are_no_default(ruled, family) -> None:
    rows = [
        ruled.row(1 + number % 3, 5 + number, number, 12, num_beams=2 + number % 4) for number in range(8)
    ]
    rows.append(replace(rows[0], row=replace(rows[0].row, sampling=Sampling())))
    own = replace(rows[1].row.sampling, repetition_penalty=2.0)
    rows.append(replace(rows[1], row=replace(rows[1].row, sampling=own)))
    begun = [ruled.begin(row)[0] for row in rows]
    plain = 0
    for written in begun:
        own = written.row.row.sampling.repetition_penalty
        settings = RULES[family] | ({"repetition_penalty": own} if own else {})
        if written.row.row.sampling.num_beams == 1:
            assert written.wait().tokens == len(expect(ruled, written.row, **settings))
            continue
        check(ruled, written, **settings)
        plain += expect(ruled, written.row) == expect(ruled, written.row, **settings)
    assert plain < len(rows) // 2


@few_families
def test_a_beam_ends_at_a_stop_string(writer) -> None:
    tokenizer = tokenizer_of(writer.adapters[0].base.path)
    reasons = set()
    for number in range(8):
        row = beam_row(writer, 40 + number, 2 + number % 4)
        row = replace(row, row=replace(row.row, max_new_tokens=TOKENS))
        whole = writer.alone(row).text
        stop = next((letter for letter in whole[1:] if letter.isascii() and letter.isalnum()), "x")
        row = replace(row, row=replace(row.row, sampling=replace(row.row.sampling, stop=(stop, "\n\n"))))
        done = writer.alone(row)
        ids = expect(writer, row, stop_strings=[stop, "\n\n"], tokenizer=tokenizer)
        text = tokenizer.decode(ids, skip_special_tokens=True)
        assert done.text == text.split(stop)[0].split("\n\n")[0]
        reasons.add(done.finish_reason if stop in text else None)
    assert FinishReason.STOP in reasons


@few_families
@pytest.mark.parametrize("tokens", [1, 4])
def test_a_step_that_fails_fails_all_beams_of_the_row_that_is_the_cause(writer, monkeypatch, tokens) -> None:
    from hub.engine.generate.decoding import Decoding

    rows = [beam_row(writer, number, 1 + number % 4, logit_bias={}) for number in range(6)]
    rows = [replace(row, row=replace(row.row, max_new_tokens=12)) for row in rows]
    guilty = rows[2].row
    logits = Decoding._logits

    def fail(self, live, first, budget):
        if any(one.row.row is guilty and len(one.row.tokens) == tokens for one in live[1:] or live):
            raise RuntimeError("an index is out of range")
        return logits(self, live, first, budget)

    monkeypatch.setattr(Decoding, "_logits", fail)
    begun = [writer.begin(row)[0] for row in rows]
    with pytest.raises(EngineFailed, match="RuntimeError"):
        begun[2].wait()
    for written in (*begun[:2], *begun[3:]):
        assert written.wait().tokens == len(expect(writer, written.row))


@few_families
def test_cancelled_beams_leave_together_and_without_a_text(writer, monkeypatch) -> None:
    from hub.engine.generate.decoding import Decoding

    rows = [
        writer.row(1 + number % 3, 9 + number, number, 12, num_beams=1 + number % 4) for number in range(7)
    ]
    logits = Decoding._logits

    def cancel(self, live, first, budget):
        for one in live:
            if one.row.row in (rows[1].row, rows[3].row) and len(one.row.tokens) == 3:
                one.members[0].row.cancel()
        return logits(self, live, first, budget)

    monkeypatch.setattr(Decoding, "_logits", cancel)
    begun = [writer.begin(row)[0] for row in rows]
    for number, written in enumerate(begun):
        if number in (1, 3):
            done = written.wait()
            assert (done.text, done.finish_reason) == ("", None) and done.tokens < 12
        else:
            assert written.wait().tokens == len(expect(writer, written.row))


@few_families
def test_a_choice_that_fails_fails_its_row_only(writer, monkeypatch) -> None:
    rows = [beam_row(writer, number, 2 + number, length_penalty=0.1 * number) for number in range(4)]
    step = BeamSearch.step

    def fail(self, log_probs, stops):
        if self._beams == 4:
            log_probs = log_probs * torch.nan
        return step(self, log_probs, stops)

    monkeypatch.setattr(BeamSearch, "step", fail)
    begun = [writer.begin(row)[0] for row in rows]
    with pytest.raises(EngineFailed, match="EngineFailed"):
        begun[2].wait()
    for number in (0, 1, 3):
        check(writer, begun[number])


@few_families
def test_a_long_prompt_is_taken_in_parts_and_its_beams_join_after_the_last(writer, monkeypatch) -> None:
    from hub.engine.generate import decoding

    monkeypatch.setitem(decoding.PREFILL_TOKENS, "cpu", 16)
    rows = [writer.row(1, length, number, 20, num_beams=3) for number, length in enumerate((150, 5, 90, 33))]
    for _ in range(2):  # the second time with the cached prefixes of the first
        begun = [writer.begin(row)[0] for row in rows]
        for written in begun:
            check(writer, written)


@pytest.mark.parametrize(("family", "nbytes"), [("llama", 100_000), ("bart", 400_000)])
def test_beams_that_do_not_fit_wait_and_those_that_never_fit_are_refused(
    base_of, trained, engine_of, fill, family, nbytes
) -> None:
    base = base_of(family)
    adapters = [trained(base, HeadKind.GENERATE, rank=4, seed=60, spread=0.3)]
    engine = engine_of(base, "torch", generation=GenerationLimits(5, nbytes))
    fill(engine, adapters)
    small = Writer(engine, adapters)
    rows = [small.row(1, 4 + number, number, 6, num_beams=1 + number % 5) for number in range(12)]
    begun = [small.begin(row)[0] for row in rows]
    with pytest.raises(BadSampling, match=r"num_beams is 6, .* 5 texts or beams .*serve\.generate_rows"):
        small.alone(small.row(1, 5, 0, 5, num_beams=6))
    with pytest.raises(Overloaded, match=r"serve\.generate_mb.* or beams"):
        small.alone(small.row(1, 120, 0, 60, num_beams=5))
    for written in begun:
        assert written.wait().tokens == len(expect(small, written.row))


@pytest.mark.parametrize("penalty", [-5.0, 5.0])
def test_a_text_is_found_with_any_length_penalty(penalty) -> None:
    """With a large negative one the scores of transformers fall below those of its empty places."""
    search = BeamSearch(2, penalty, 300, ends=[0])
    log_probs = torch.tensor([[-90.0, -1.0, -2.0]])
    while not search.done:
        search.step(log_probs.expand(len(search.running), 3), lambda parent, token: False)
    assert search.best.tokens == [1] * 300


def test_stop_strings_in_most_continuations_leave_the_beams_that_go_on() -> None:
    search = BeamSearch(3, 1.0, 3, ends=[0])
    log_probs = torch.tensor([[-9.0, -1.0, -2.0, -3.0, -4.0]])
    parents = search.step(log_probs, lambda parent, token: token != 3)
    assert [one.tokens for one in search.running] == [[3]] * 3 and parents == [0, 0, 0]
    search.step(log_probs.expand(3, 5), lambda parent, token: True)
    assert search.done and search.best.tokens == [1]


def test_a_text_that_ends_below_the_best_extensions_is_not_kept() -> None:
    search = BeamSearch(2, 2.0, 10, ends=[0, 3])
    steps = [[-1.0, -4.0, -6.0, -5.0], [-50.0, -16.0, -50.0, -50.0], *[[-50.0, 0.0, -50.0, -50.0]] * 8]
    for scores in steps:  # were [3] kept, the search would end with [0] after the second step
        assert not search.done
        search.step(torch.tensor([scores] * len(search.running)), lambda parent, token: False)
    assert search.done and search.best.tokens == [1] * 10


@pytest.mark.parametrize("writer", ["llama"], indirect=True)
def test_a_prompt_that_continues_an_answer_of_beams_reads_no_other_beam(writer) -> None:
    rows = [writer.row(1 + number, 27, number, 70, num_beams=8) for number in range(3)]
    # 96 of the 97 tokens are stored: whole blocks of the prefix cache, the last beams' columns included.
    for written in [writer.begin(row)[0] for row in rows]:
        check(writer, written)
    for row in rows:
        continued = [*row.row.input_ids, *expect(writer, row)]
        plain = replace(row.row, input_ids=continued, sampling=Sampling(), max_new_tokens=20)
        assert writer.alone(replace(row, row=plain)).text == writer.expected(replace(row, row=plain))


@pytest.mark.parametrize(
    "setting", [{"num_beams": 2}, {"temperature": 0.5}, {"stop": ("x",)}, {"logit_bias": {3: 1.0}}]
)
def test_a_base_that_is_not_decoded_in_the_loop_refuses_sampling_settings(
    llama, tmp_path, engine_of, setting
) -> None:
    base = replace(llama, path=shutil.copytree(llama.path, tmp_path / "base"))
    GenerationConfig(begin_suppress_tokens=[5]).save_pretrained(base.path)
    engine = engine_of(base, "torch", slots=1)
    assert not engine.streams
    row = Row([6, 7], max_new_tokens=2)
    with pytest.raises(BadSampling, match="the most likely tokens only"):
        engine.run([EngineRow(replace(row, sampling=Sampling(**setting)), 0, HeadKind.GENERATE)])
    seeded = replace(row, sampling=Sampling(seed=3))  # changes nothing without a temperature
    assert engine.run([EngineRow(seeded, 0, HeadKind.GENERATE)])[0].tokens == 2
