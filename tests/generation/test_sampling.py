"""The sampling settings of a request, and what is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hub.errors import BadRequest
from hub.generation.sampling import GREEDY, Sampling, SamplingFields


def test_without_settings_a_text_is_the_most_likely_one() -> None:
    assert SamplingFields().sampling == GREEDY


def test_all_settings_reach_the_engine() -> None:
    given = {
        "temperature": 0.7,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.05,
        "seed": 7,
        "repetition_penalty": 1.2,
        "logit_bias": {5: -2.0},
        "stop": ("\n\n", "END"),
    }
    assert SamplingFields(**given).sampling == Sampling(**given)
    beams = {"num_beams": 4, "length_penalty": -0.5}
    assert SamplingFields(**beams).sampling == Sampling(**beams)


@pytest.mark.parametrize(
    "given",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": 1e9},
        {"top_k": -1},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": 2},
        {"seed": -1},
        {"seed": 2**64},
        {"repetition_penalty": 0},
        {"logit_bias": {-1: 1.0}},
        {"logit_bias": {5: 1000.0}},
        {"logit_bias": {token: 1.0 for token in range(301)}},
        {"stop": [""]},
        {"stop": ["a" * 201]},
        {"stop": ["a"] * 17},
        {"beams": 4},
        {"num_beams": 0},
        {"num_beams": 9},
        {"num_beams": 2.5},
        {"length_penalty": 5.1},
        {"length_penalty": float("nan")},
    ],
)
def test_absurd_settings_are_refused(given) -> None:
    with pytest.raises(ValidationError):
        SamplingFields(**given)


def test_beams_with_a_temperature_are_refused() -> None:
    with pytest.raises(BadRequest, match="`num_beams` above 1 without `temperature`"):
        SamplingFields(num_beams=2, temperature=0.5)
