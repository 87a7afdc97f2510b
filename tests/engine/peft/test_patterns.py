# ruff: noqa: TID253 - compares with PEFT's own matching
"""Patterns of a PEFT config match as PEFT matches them, in linear time, and reach PEFT as plain names."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peft.utils.other import get_pattern_key

from hub.engine.peft.patterns import MAX_PATTERNS, Matcher, adapted_modules, check_patterns, explicit_config
from hub.errors import BadAdapter, UnsupportedAdapter

MODULES = [
    f"bert.encoder.layer.{n}.{part}"
    for n in range(12)
    for part in ("attention.self.query", "attention.self.value", "attention.output.dense", "output.dense")
]
NAMES = [f"base_model.model.{module}.lora_{side}.weight" for module in MODULES for side in "AB"]
SLOW = "(.*?)" * 17 + "!"


@given(
    st.lists(
        st.sampled_from(
            [
                "query",
                "self.query",
                "dense",
                r"layer\.[0-4]\..*",
                "layer.1.output.dense",
                "(query|value)",
                ".*",
            ]
        ),
        unique=True,
        min_size=1,
    ),
    st.sampled_from(MODULES),
)
def test_the_first_pattern_that_peft_finds_is_found(patterns: list[str], module: str) -> None:
    place = Matcher(patterns).first(module)
    assert (module if place is None else patterns[place]) == get_pattern_key(patterns, module)


def test_a_pattern_that_takes_peft_hours_is_matched_at_once() -> None:
    matcher = Matcher([SLOW, "(a+)+!", "query"])
    assert all(matcher.first("a" * 200 + module) is None for module in MODULES if "query" not in module)
    config = {"target_modules": f"{SLOW}|.*", "alpha_pattern": {SLOW: 3}, "exclude_modules": SLOW}
    made = explicit_config(config, NAMES)
    assert made["target_modules"] == sorted(MODULES)
    assert (made["exclude_modules"], made["alpha_pattern"]) == (None, {})


def test_thirty_thousand_patterns_are_refused_and_as_many_modules_are_not() -> None:
    with pytest.raises(UnsupportedAdapter, match="30,000 names and patterns"):
        check_patterns({"rank_pattern": {f"a{n}.*": 4 for n in range(30_000)}})
    names = {f"layer.{n}.query": 4 for n in range(10_000)}
    assert Matcher(list(names)).first("model.layer.9999.query") == 9999
    assert Matcher([f"a{n}.*" for n in range(MAX_PATTERNS)]).first("x.a7z") == 7


@pytest.mark.parametrize("pattern", ["(", r"(a)\1x", "(?=a)b", "a{500}{500}", "a{,3}", "x*" * 1001])
def test_what_cannot_be_matched_in_linear_time_is_refused(pattern: str) -> None:
    with pytest.raises(UnsupportedAdapter, match=r"Name the modules\."):
        check_patterns({"target_modules": pattern})


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": 3},
        {"target_modules": [3]},
        {"exclude_modules": {"a": 1}},
        {"rank_pattern": ["query"]},
        {"modules_to_save": [SLOW]},
    ],
)
def test_values_of_another_form_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(BadAdapter):
        check_patterns(config)


def test_numbers_go_to_the_very_modules_that_the_patterns_meant() -> None:
    special = {r"layer\.[0-1]\..*query": 2, "output.dense": 16}
    config = {
        "target_modules": ["query", "dense"],
        "rank_pattern": special,
        "feedforward_modules": "ut.dense",
    }
    names = [name for name in NAMES if "value" not in name]
    made = explicit_config(config, names)
    keys = list(made["rank_pattern"])
    for module in adapted_modules(names):
        key = get_pattern_key(list(special), module)
        assert made["rank_pattern"].get(get_pattern_key(keys, module)) == special.get(key)
        assert module not in made["feedforward_modules"]


def test_tensors_of_modules_that_are_no_target_are_refused() -> None:
    for target in (["query"], ".*query", ["query", "value"]):
        with pytest.raises(BadAdapter, match="which target_modules does not name"):
            explicit_config({"target_modules": target}, NAMES)


@given(st.text("ab.*+?()[]|\\^${}0-9", max_size=20))
def test_any_pattern_is_matched_or_refused(pattern: str) -> None:
    try:
        found = Matcher([pattern]).first("a.b")
    except UnsupportedAdapter:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of sets that may mean more one day, as in "[[a]"
            expected = re.fullmatch(rf"(?:.*\.)?(?:{pattern})", "a.b")
    except re.error:
        return
    assert (found is not None) is (expected is not None)
