# ruff: noqa: TID253 - builds tokenizers
"""Any path through the allowed tokens gives an answer of the response format, on every kind of tokenizer."""

from __future__ import annotations

import json
import random
import socket
import subprocess
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hub.engine.generate import constraints, grammar
from hub.engine.generate.constraints import Constraint, Constraints
from hub.errors import BadSampling, EngineFailed, HostFault, HubError
from hub.generation.sampling import Sampling, SamplingFields
from hub.testing.tiny_tokenizers import BERT, LLAMA, tiny_tokenizer

SPECIAL = ("<pad>", "</s>", "<unk>")
NAMES = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
PIECES = ("▁", "▁yes", "yes", "▁no", "no", "no▁", "y", "e", "s", "n", "o", "é", "ab", '"', "1", "0", "-", ",")
MAX_STEPS = 2000


def sentence_pieces() -> PreTrainedTokenizerFast:
    """A tokenizer as T5 has: no byte fallback, and no curly braces."""
    pieces = [(piece, 0.0) for piece in (*SPECIAL, *PIECES)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **NAMES)


def byte_fallback() -> PreTrainedTokenizerFast:
    """A tokenizer as Llama 2 has: decoding drops the space that a text begins with."""
    tokens = (*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES)
    model = models.BPE({token: index for index, token in enumerate(tokens)}, [], byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **NAMES)


def gaps() -> PreTrainedTokenizerFast:
    """A tokenizer whose added token does not have the next id."""
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "</s>": 2, "added": 9}, []))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["</s>", "added"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


@cache
def made(kind: str) -> tuple[PreTrainedTokenizerFast, Constraints]:
    makers = {
        "bytes": lambda: tiny_tokenizer(LLAMA),
        "sentence pieces": sentence_pieces,
        "byte fallback": byte_fallback,
    }
    tokenizer = makers[kind]()
    return tokenizer, Constraints(tokenizer, len(tokenizer) + 5, {tokenizer.eos_token_id})


@pytest.fixture(autouse=True, scope="module")
def _one_process():
    """Compile in this process alone; `test_a_schema_that_takes_too_long_…` starts others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constraints, "rehearse", lambda grammar: None)
        yield


def sampling(**asked: Any) -> Sampling:
    return SamplingFields(response_format=asked).sampling


def schema(schema: dict[str, Any], **more: Any) -> Sampling:
    return sampling(type="json_schema", json_schema={"schema": schema, **more})


def walk(kind: str, asked: Sampling, seed: int = 0) -> str | None:
    """Return the text of random allowed tokens; None if it does not end."""
    tokenizer, makes = made(kind)
    chance, tokens = random.Random(seed), []
    constraint = makes.of(asked)
    assert constraint is not None
    while not constraint.complete and len(tokens) < MAX_STEPS:
        allowed = np.flatnonzero(constraint.allowed(len(tokenizer) + 5)).tolist()
        assert set(allowed) & set(tokenizer.all_special_ids) <= {tokenizer.eos_token_id}
        assert max(allowed) < len(tokenizer)
        token = chance.choice(allowed)
        constraint.advance(token)
        if token == tokenizer.eos_token_id:
            break
        tokens.append(token)
    else:
        if not constraint.complete:
            return None
    return tokenizer.decode(tokens, skip_special_tokens=True)


def start(asked: Sampling, kind: str = "bytes") -> Constraint:
    constraint = made(kind)[1].of(asked)
    assert constraint is not None
    return constraint


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
bounds = st.tuples(st.integers(-999, 999), st.integers(-999, 999)).map(sorted)
sizes = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(sorted)
scalars = st.one_of(
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": "integer"}, {"type": "number"}]),
    bounds.map(lambda pair: {"type": "integer", "minimum": pair[0], "maximum": pair[1]}),
    bounds.map(lambda pair: {"type": "number", "minimum": pair[0] / 4, "maximum": pair[1] / 4}),
    st.integers(2, 40).map(lambda number: {"type": "integer", "multipleOf": number}),
    sizes.map(lambda pair: {"type": "string", "minLength": pair[0], "maxLength": pair[1]}),
    st.sampled_from([r"^[a-c]{1,3}$", r"^\d{2}-\w?$", r"^(é|\\)+$", r"^a|b$"]).map(
        lambda pattern: {"type": "string", "pattern": pattern, "maxLength": 9}
    ),
    st.lists(
        st.one_of(text, st.integers(-(2**53), 2**53), st.none()), min_size=1, max_size=4, unique=True
    ).map(lambda values: {"enum": values}),
    st.sampled_from(["date", "uuid", "ipv4"]).map(lambda name: {"type": "string", "format": name}),
)


def lists(items: st.SearchStrategy) -> st.SearchStrategy:
    return st.builds(
        lambda item, pair: {"type": "array", "items": item, "minItems": pair[0], "maxItems": pair[1]},
        items,
        sizes,
    )


def objects(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.dictionaries(text, values, max_size=3).flatmap(
        lambda properties: st.sets(st.sampled_from(sorted(properties) or [""])).map(
            lambda required: {
                "type": "object",
                "properties": properties,
                "required": sorted(required & properties.keys()),
                "additionalProperties": False,
            }
        )
    )


def unions(options: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(options, min_size=1, max_size=3).map(lambda chosen: {"anyOf": chosen})


schemas = st.recursive(
    scalars, lambda inner: st.one_of(lists(inner), objects(inner), unions(inner)), max_leaves=6
)


@pytest.mark.parametrize("kind", ["bytes", "byte fallback"])
def test_what_ends_is_valid_against_its_schema(kind: str) -> None:
    ended = []

    @settings(max_examples=150, deadline=None)
    @given(schemas, st.integers(0, 9))
    def check(asked: dict[str, Any], seed: int) -> None:
        found = walk(kind, schema(asked), seed)
        ended.append(found is not None)
        assume(found is not None)
        Draft202012Validator(asked).validate(json.loads(found))

    check()
    assert sum(ended) > 0.8 * len(ended)


CHOICES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6),
    min_size=2,
    max_size=6,
    unique=True,
)


@pytest.mark.parametrize("kind", ["bytes", "byte fallback"])
@settings(max_examples=100, deadline=None)
@given(CHOICES, st.integers(0, 9))
def test_an_answer_is_exactly_one_of_the_choices(kind: str, choices: list[str], seed: int) -> None:
    assert walk(kind, sampling(type="choice", choices=choices), seed) in choices


def test_a_choice_that_begins_another_one_can_be_chosen_and_so_can_that() -> None:
    choices = ["no", "none", " no", "no "]
    for kind in ("bytes", "byte fallback"):
        asked = sampling(type="choice", choices=choices)
        assert {walk(kind, asked, seed) for seed in range(60)} == set(choices)


def test_pieces_of_sentencepiece_write_choices_and_the_json_that_they_can() -> None:
    asked = sampling(type="choice", choices=["yes", "no", "no yes", " no"])
    assert {walk("sentence pieces", asked, seed) for seed in range(60)} == {"yes", "no", "no yes", " no"}
    numbers = schema({"type": "integer", "minimum": -10, "maximum": 101})
    found = {walk("sentence pieces", numbers, seed) for seed in range(30)}
    assert {json.loads(one) for one in found} <= set(range(-10, 102))
    with pytest.raises(BadSampling, match="nothing that this base can write"):
        walk("sentence pieces", sampling(type="json_object"))


def test_a_text_that_reaches_what_no_token_can_write_is_refused_there() -> None:
    constraint = start(schema({"enum": ["a}"]}), "sentence pieces")
    tokenizer, _ = made("sentence pieces")
    assert constraint.allowed(len(tokenizer)).sum() == 2  # with and without the space that decoding drops
    constraint.advance(tokenizer.convert_tokens_to_ids('"'))
    with pytest.raises(BadSampling, match="nothing that this base can write"):
        constraint.allowed(len(tokenizer))


def test_a_json_object_is_one() -> None:
    found = [walk("bytes", sampling(type="json_object"), seed) for seed in range(40)]
    assert all(isinstance(json.loads(one), dict) for one in found if one is not None)
    assert any(found)


def test_white_space_between_tokens_is_bounded() -> None:
    tokenizer, _ = made("bytes")
    constraint = start(sampling(type="json_object"))
    for token in tokenizer("{\n" + 32 * " ")["input_ids"]:
        assert constraint.allowed(len(tokenizer))[token]
        constraint.advance(token)
    (space,) = tokenizer(" ")["input_ids"]
    assert not constraint.allowed(len(tokenizer))[space]


def test_end_tokens_are_allowed_only_after_a_complete_answer() -> None:
    tokenizer, _ = made("bytes")
    makes = Constraints(tokenizer, len(tokenizer), {0, tokenizer.eos_token_id})
    constraint = makes.of(sampling(type="choice", choices=["a", "ab"]))
    assert constraint is not None
    (a,), (b,) = tokenizer("a")["input_ids"], tokenizer("b")["input_ids"]
    assert np.flatnonzero(constraint.allowed(len(tokenizer))).tolist() == [a]
    constraint.advance(a)
    assert set(np.flatnonzero(constraint.allowed(len(tokenizer)))) == {0, tokenizer.eos_token_id, b}
    assert not constraint.complete
    constraint.advance(b)
    assert constraint.complete


def test_answers_of_one_format_do_not_share_their_state() -> None:
    tokenizer, _ = made("bytes")
    asked = sampling(type="choice", choices=["a", "ab"])
    first, second = start(asked), start(asked)
    first.advance(tokenizer("a")["input_ids"][0])
    assert not second.allowed(len(tokenizer))[tokenizer.eos_token_id]


def test_without_a_format_there_is_no_constraint() -> None:
    _, makes = made("bytes")
    assert makes.of(sampling(type="text")) is None
    assert makes.of(SamplingFields().sampling) is None


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        inner = {"items": inner}
    return {"type": "array", **inner}


def doubled(levels: int) -> dict[str, Any]:
    """A schema whose intersection has 2 ** levels parts."""
    parts: dict[str, Any] = {}
    for name, leaf in (("a", {"type": "string"}), ("b", {"type": "string", "maxLength": 3})):
        for level in range(levels):
            inner = {"$ref": f"#/$defs/{name}{level + 1}"}
            parts[f"{name}{level}"] = {"type": "object", "properties": {"l": inner, "r": inner}}
        parts[f"{name}{levels}"] = leaf
    return {"$defs": parts, "allOf": [{"$ref": "#/$defs/a0"}, {"$ref": "#/$defs/b0"}]}


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"type": "strin"}, "Invalid type: strin"),
        ({"type": 5}, "type must be"),
        ({"enum": []}, "anyOf is empty"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "minLength"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "'a' is unsatisfiable"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "incompatible types"),
        ({"type": "string", "pattern": "(["}, "unclosed character class"),
        ({"type": "string", "pattern": "^(?=a)"}, "look-around"),
        ({"type": "string", "format": "colour"}, "Unknown format: colour"),
        ({"not": {"type": "string"}}, 'Unimplemented keys: \\["not"\\]'),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "`strict` false"),
        ({"type": "string", "maxLength": 2**50}, "regex parse error"),
        ({"type": "number", "multipleOf": 0}, "multiple of"),
        ({"$ref": "#"}, "nothing"),
        ({"$ref": "#/$defs/none"}, "none"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "nothing"),
        (doubled(18), "schema too large"),
        (doubled(30), "level exceeded"),
    ],
)
def test_an_unusable_schema_is_refused_with_what_is_wrong(asked: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadSampling, match=reason) as caught:
        start(schema(asked))
    assert "%json" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("asked", [{"not": {}}, {"oneOf": [{"type": "integer"}, {"type": "number"}]}])
def test_a_schema_that_is_not_strict_may_have_what_cannot_be_enforced(asked: dict[str, Any]) -> None:
    assert start(schema({"type": "integer", **asked}, strict=False))


def test_recursive_schemas_are_followed() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}
    found = {walk("bytes", schema(node), seed) for seed in range(30)} - {None}
    assert any("next" in one for one in found if one)
    for one in found:
        Draft202012Validator(node).validate(json.loads(one or ""))


def test_a_remote_reference_is_refused_and_not_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        for asked in ({"$ref": url}, {"$schema": url}, {"$id": url, "$ref": "other.json"}):
            with pytest.raises(BadSampling, match="does not fetch"):
                start(schema(asked))
        with pytest.raises(BlockingIOError):
            server.accept()


def test_options_of_the_library_in_a_schema_are_not_read() -> None:
    asked = {
        "type": "array",
        "items": {"const": 1},
        "minItems": 2,
        "maxItems": 2,
        "x-guidance": {"item_separator": "x"},
    }
    assert "x" not in (walk("bytes", schema(asked)) or "x")


def test_a_pattern_that_gets_too_complex_ends_the_answer_with_an_error() -> None:
    tokenizer, _ = made("bytes")
    constraint = start(schema({"type": "string", "pattern": "^.*a.{40}b.*$"}))
    chance = random.Random(0)
    constraint.advance(tokenizer('"')["input_ids"][0])
    tokens = [tokenizer(character)["input_ids"][0] for character in "ac"]
    with pytest.raises(BadSampling, match="cannot be followed further"):
        for _ in range(100_000):
            constraint.allowed(len(tokenizer))
            constraint.advance(chance.choice(tokens))


def test_a_schema_that_takes_too_long_or_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(constraints, "rehearse", grammar.rehearse)
    _, makes = made("bytes")
    monkeypatch.setattr(grammar, "MAX_COMPILE_S", 60.0)
    assert makes.of(schema({"type": "object", "properties": {"quick": {"type": "null"}}}))
    monkeypatch.setattr(grammar, "MAX_COMPILE_S", 1.0)
    slow = {"type": "object", "patternProperties": {f"^x{number}y$": {} for number in range(1500)}}
    with pytest.raises(BadSampling, match="takes more than 1 s"):
        makes.of(schema(slow))
    monkeypatch.setattr(grammar, "MAX_COMPILE_S", 60.0)
    large = {"type": "array", "prefixItems": [{"type": "integer", "multipleOf": n} for n in range(97, 497)]}
    with pytest.raises(BadSampling, match="too much memory"):
        makes.of(schema(large))
    with pytest.raises(BadSampling, match="Invalid type: strin"):
        makes.of(schema({"type": "strin"}))


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (subprocess.CompletedProcess([], -6, b""), BadSampling),
        (subprocess.CompletedProcess([], 1, b""), EngineFailed),
        (BlockingIOError(11, "Resource temporarily unavailable"), HostFault),
    ],
)
def test_a_check_that_dies_is_the_schema_s_fault_and_one_that_cannot_run_is_not(
    monkeypatch: pytest.MonkeyPatch, outcome: Any, error: type[HubError]
) -> None:
    def run(*args: Any, **kwargs: Any) -> Any:
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(error):
        grammar.rehearse("start: /a/")


@pytest.mark.parametrize(
    ("tokenizer", "ends", "reason"),
    [
        (tiny_tokenizer(BERT), {3}, "WordPiece"),
        (tiny_tokenizer(LLAMA), set(), "no end token"),
        (gaps(), {2}, "gaps"),
    ],
)
def test_a_base_that_cannot_be_constrained_says_so(tokenizer, ends, reason) -> None:
    with pytest.raises(BadSampling, match=reason):
        Constraints(tokenizer, len(tokenizer), ends).of(sampling(type="json_object"))
