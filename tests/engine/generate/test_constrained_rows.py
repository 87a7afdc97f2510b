# ruff: noqa: TID253 - compares with transformers
"""Rows with a response format decode beside other rows, which it does not change."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from llguidance import LLParserLimits
from transformers import AutoTokenizer
from transformers.generation.logits_process import SuppressTokensLogitsProcessor

from hub.api import FinishReason, HeadKind, Output
from hub.engine import slot_engine
from hub.engine.generate import constraints, grammar
from hub.engine.generate.constraints import Constraints
from hub.engine.generate.sampling import BaseRules, Chooser
from hub.engine.protocol import EngineRow
from hub.errors import BadSampling, HubError
from hub.generation.sampling import GREEDY, SamplingFields
from hub.testing.tiny_tokenizers import LLAMA, tiny_tokenizer
from tests.engine.generate.test_constraints import CHOICES, schemas
from tests.support.profiles import thorough

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "bc"]}, "maxItems": 3},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
YES_NO = {"type": "choice", "choices": ["yes", "yes, but", "no"]}


def json_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"schema": schema}}


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    monkeypatch.setattr(constraints, "rehearse", lambda grammar: None)


class Writer:
    """An engine with two adapters, and how their rows are written."""

    def __init__(self, engine, adapters) -> None:
        self.engine, self.adapters = engine, adapters

    def row(self, slot: int, number: int, tokens: int = 200, **fields) -> EngineRow:
        row = self.adapters[slot - 1].row(slot, 5 + number, number, max_new_tokens=tokens)
        return replace(row, row=replace(row.row, sampling=SamplingFields(**fields).sampling))

    def begin(self, row: EngineRow, on_text=lambda piece: None):
        ended: SimpleQueue[Output | HubError] = SimpleQueue()
        return ended, self.engine.generate(row, on_text, ended.put)

    def together(self, rows) -> list[Output]:
        begun = [self.begin(row) for row in rows]
        outcomes = [ended.get(timeout=60) for ended, _ in begun]
        for outcome in outcomes:
            if isinstance(outcome, HubError):
                raise outcome
        return outcomes


@pytest.fixture
def writer_of(base_of, trained, engine_of, fill):
    def make(family: str) -> Writer:
        base = base_of(family)
        adapters = [
            trained(base, HeadKind.GENERATE, rank=rank, seed=60 + rank, spread=0.3) for rank in (1, 4)
        ]
        engine = engine_of(base, "torch")
        fill(engine, adapters)
        return Writer(engine, adapters)

    return make


@pytest.fixture(params=["llama", "t5"])
def writer(request, writer_of):
    return writer_of(request.param)


def test_answers_that_stop_are_valid_json_and_choices_are_exact(writer) -> None:
    stopped = []

    @settings(max_examples=12 if thorough() else 6, deadline=None)
    @given(st.lists(schemas, min_size=2, max_size=2), CHOICES, st.integers(0, 99))
    def check(asked: list[dict[str, Any]], choices: list[str], seed: int) -> None:
        rows = [
            writer.row(1, seed % 7, response_format=json_of(asked[0])),
            writer.row(2, seed % 5, response_format=json_of(asked[1]), temperature=1.0, seed=seed),
            writer.row(1, 3, response_format={"type": "choice", "choices": choices}),
            writer.row(2, 2, response_format={"type": "choice", "choices": choices}, temperature=1.0),
        ]
        outputs = writer.together(rows)
        for schema, output in zip(asked, outputs, strict=False):
            stopped.append(output.finish_reason is FinishReason.STOP)
            if stopped[-1]:
                Draft202012Validator(schema).validate(json.loads(output.text))
        assert all(output.text in choices for output in outputs[2:])
        assert {output.finish_reason for output in outputs[2:]} == {FinishReason.STOP}

    check()
    assert sum(stopped) > 0.5 * len(stopped)


@pytest.mark.parametrize("family", ["llama", "bart"])
def test_rows_without_a_format_write_the_same_beside_rows_with_one(writer_of, family) -> None:
    writer = writer_of(family)
    free = [
        writer.row(1, 3, 40),
        writer.row(2, 9, 30, temperature=1.0, seed=4),
        writer.row(1, 6, 20, response_format={"type": "text"}),
    ]
    bound = [
        writer.row(2, 4, response_format=json_of(PERSON), temperature=1.0, seed=1),
        writer.row(1, 8, response_format=YES_NO),
    ]
    alone = [writer.together([row])[0] for row in (*free, *bound)]
    together = writer.together([free[0], bound[0], free[1], bound[1], free[2]])
    assert [together[at].text for at in (0, 2, 4, 1, 3)] == [output.text for output in alone]
    assert writer.adapters[0].alone_text(free[0].row) == alone[0].text
    Draft202012Validator(PERSON).validate(json.loads(alone[3].text))
    assert alone[4].text in YES_NO["choices"]


def test_a_bias_and_sampling_settings_choose_among_the_allowed_tokens(writer) -> None:
    def answers(**settings) -> set[str]:
        rows = [
            writer.row(1, 4, response_format=YES_NO, temperature=5.0, seed=seed, **settings)
            for seed in range(24)
        ]
        return {output.text for output in writer.together(rows)}

    (token,) = AutoTokenizer.from_pretrained(writer.adapters[0].base.path)("n", add_special_tokens=False)[
        "input_ids"
    ]
    assert answers() == set(YES_NO["choices"])
    assert answers(logit_bias={token: 100.0}) == {"no"}
    assert len(answers(top_k=1)) == 1


def test_an_answer_over_its_limit_has_the_reason_length_and_is_cut(writer) -> None:
    (output,) = writer.together([writer.row(1, 3, 4, response_format=json_of(PERSON))])
    assert (output.finish_reason, output.tokens) == (FinishReason.LENGTH, 4)
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(output.text)


def test_an_answer_that_is_complete_at_its_limit_has_the_reason_stop(writer) -> None:
    asked = {"type": "choice", "choices": ["abc", "abd"]}
    (output,) = writer.together([writer.row(1, 3, 3, response_format=asked)])
    assert (output.finish_reason, output.tokens) == (FinishReason.STOP, 3)


def test_a_stop_string_ends_an_answer_early(writer) -> None:
    asked = {"type": "choice", "choices": ["one; two", "one; three"]}
    (output,) = writer.together([writer.row(1, 3, response_format=asked, stop=("; ",))])
    assert (output.text, output.finish_reason) == ("one", FinishReason.STOP)


def test_a_cancelled_answer_ends_and_others_go_on(writer) -> None:
    long = {"type": "string", "minLength": 150}
    first_piece = threading.Event()
    ended, generating = writer.begin(
        writer.row(1, 3, response_format=json_of(long)), lambda piece: first_piece.set()
    )
    beside = writer.begin(writer.row(2, 3, response_format=json_of(PERSON), temperature=1.0, seed=1))[0]
    assert first_piece.wait(30)
    generating.cancel()
    output = ended.get(timeout=30)
    assert isinstance(output, Output) and output.finish_reason is None
    assert beside.get(timeout=30).finish_reason is FinishReason.STOP


def test_a_schema_that_gets_too_complex_fails_its_own_row(writer, monkeypatch) -> None:
    monkeypatch.setattr(grammar, "_LIMITS", LLParserLimits(max_lexer_states=100))
    pattern = json_of({"type": "string", "pattern": "^.*[^k].{40}b.*$"})
    failing = writer.begin(writer.row(1, 3, response_format=pattern, temperature=5.0, seed=1))[0]
    beside = writer.begin(writer.row(2, 3, response_format=YES_NO))[0]
    assert beside.get(timeout=30).text in YES_NO["choices"]
    outcome = failing.get(timeout=60)
    assert isinstance(outcome, BadSampling) and "cannot be followed further" in str(outcome)


def test_an_unusable_format_is_refused_before_the_row_begins(writer) -> None:
    with pytest.raises(BadSampling, match="Invalid type"):
        writer.begin(writer.row(1, 3, response_format=json_of({"type": "strin"})))


def test_a_base_that_the_loop_cannot_run_refuses_a_format(base_of, trained, engine_of, monkeypatch) -> None:
    monkeypatch.setattr(slot_engine, "can_decode", lambda model, max_length: False)
    adapter = trained(base_of("llama"), HeadKind.GENERATE, rank=1, seed=61, spread=0.3)
    engine = engine_of(base_of("llama"), "torch", slots=1)
    engine.write(1, adapter.weights)
    row = Writer(engine, [adapter]).row(1, 3, 5, response_format=YES_NO)
    with pytest.raises(BadSampling, match="the most likely tokens only"):
        engine.run([row])


def test_a_rule_of_the_base_that_excludes_all_allowed_tokens_does_not_count() -> None:
    tokenizer = tiny_tokenizer(LLAMA)
    makes = Constraints(tokenizer, len(tokenizer), {tokenizer.eos_token_id})
    sampling = SamplingFields(response_format={"type": "choice", "choices": ["ax", "ay"]}).sampling
    a, x, y = tokenizer("axy")["input_ids"]
    device = torch.device("cpu")
    rules = BaseRules(1.0, (SuppressTokensLogitsProcessor([a, x]),))
    chooser = Chooser(GREEDY, rules, [1], device, makes.of(sampling))
    logits = torch.zeros(len(tokenizer))
    logits[x] = 5.0
    assert chooser.choose(logits) == a
    chooser.record(a)
    assert chooser.choose(logits) == y
