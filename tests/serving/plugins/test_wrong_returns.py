"""What a plugin returns is checked: a wrong value is the plugin's named error, and the log says where."""

from __future__ import annotations

import math

import numpy as np
import pytest
from grafthub_sentiment.models import SentimentResponse
from grafthub_sentiment.task import SentimentTask
from pydantic import BaseModel

from hub.api import BadData, BadRecipe, BadRequest, InvalidText, Model, Row, Text
from hub.errors import PluginFailed
from hub.serving.plugins.redact import exception_text
from hub.serving.plugins.returned import WrongReturn, check_answer, check_rows
from hub.store.change import Deploy

SECRET = "Kunigunde Oberhuber owes 4711 euros"


class Other(Model):
    label: str


class Strict(Model):
    label: int
    note: Text = "fine"


class Nested(BaseModel):
    scores: dict[str, list[float]]
    more: float | None = None


def answer(**changes: object) -> SentimentResponse:
    whole = {"label": "positive", "score": 0.9, "polarity": 0.8, "scores": {"positive": 0.9, "negative": 0.1}}
    return SentimentResponse.model_construct(**(whole | changes))


@pytest.fixture
def live(add, start):
    hub = start()
    add(seed=1)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    return hub


def returns(monkeypatch, step: str, value: object) -> None:
    def patched(self, request, *given):
        if isinstance(value, BaseException):
            raise value
        return value(request) if callable(value) else value

    monkeypatch.setattr(SentimentTask, step, patched)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "returned None instead of a list of rows"),
        ({"input_ids": [1]}, "returned a value of type dict"),
        (lambda request: (row for row in [Row([1])]), "returned a value of type generator"),
        ([], "returned no rows"),
        ([[1, 2, 3]], "a value of type list instead of hub.api.Row"),
        ([None], "None instead of hub.api.Row"),
        ([Row([])], "a row of 0 tokens"),
        ([Row([1] * 65)], "longer than the 64 tokens"),
        ([Row(["one", "two"])], "not all integers"),
        ([Row([1.5])], "not all integers"),
        ([Row([2**70])], "not all integers"),
        ([Row("text")], "a value of type str instead of a list"),
        ([Row(None)], "None instead of a list"),
        ([Row(np.array([[1, 2]]))], "a value of type ndarray"),
        ([Row([1, 2], token_type_ids=[0])], "more or fewer token_type_ids"),
        ([Row([1], max_new_tokens="3")], "as max_new_tokens"),
    ],
)
def test_wrong_rows_are_the_plugins_named_error(live, monkeypatch, caplog, value, what) -> None:
    returns(monkeypatch, "encode", value)
    (answer,) = live.ask("mood", SECRET).items
    assert type(answer) is PluginFailed and (answer.code, answer.status) == ("plugin_failed", 500)
    assert what in str(answer) and "'sentiment'" in str(answer) and "in encode" in str(answer)
    assert f"Task sentiment, plugin sentiment: {what[:20]}" in caplog.text or what in caplog.text
    assert "test_wrong_returns.py:" in caplog.text, "the log says where"
    assert SECRET not in caplog.text
    assert live.leases() == 0


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "returned None instead of SentimentResponse"),
        ({"label": "positive"}, "returned a value of type dict"),
        (Other(label="positive"), "returned a value of type Other"),
        ([answer()], "returned a value of type list"),
        (SentimentResponse, "returned a value of type ModelMetaclass"),
        (answer(score=math.nan), "with NaN or infinity"),
        (answer(scores={"positive": math.inf}), "with NaN or infinity"),
        (answer(score="high"), "whose fields have wrong types"),
        (answer(label=None), "whose fields have wrong types"),
        (SentimentResponse.model_construct(label="positive"), "without all its fields"),
    ],
)
def test_wrong_answers_are_the_plugins_named_error(live, monkeypatch, caplog, value, what) -> None:
    returns(monkeypatch, "decode", lambda request: value)
    (answer,) = live.ask("mood", SECRET).items
    assert type(answer) is PluginFailed
    assert what in str(answer) and "in decode" in str(answer)
    assert what in caplog.text and "test_wrong_returns.py:" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        lambda request: Strict(label=request.text),
        lambda request: Strict(label=1, note=" "),
        lambda request: int(request.text),
        lambda request: {}[request.text],
    ],
    ids=["ValidationError", "InvalidText", "ValueError", "KeyError"],
)
def test_an_error_in_decode_is_never_the_clients_and_the_log_has_nothing_of_the_request(
    live, monkeypatch, caplog, error
) -> None:
    returns(monkeypatch, "decode", error)
    (answer,) = live.ask("mood", SECRET).items
    assert type(answer) is PluginFailed
    assert "Task sentiment, plugin sentiment, failed in decode" in caplog.text
    assert "test_wrong_returns.py:" in caplog.text
    told = caplog.text + str(answer)
    assert not any(word in told for word in SECRET.split())


@pytest.mark.parametrize("error", [BadData("No such tag."), BadRecipe("Option 'stride' is unknown.")])
def test_only_a_bad_request_raised_by_encode_is_the_clients(live, monkeypatch, error) -> None:
    returns(monkeypatch, "encode", error)
    (answer,) = live.ask("mood", "a film").items
    assert type(answer) is PluginFailed and str(error) in str(answer)
    returns(monkeypatch, "encode", BadRequest("Not in this language."))
    (answer,) = live.ask("mood", "a film").items
    assert type(answer) is BadRequest


def test_a_row_that_the_engine_refuses_is_the_plugins_fault(live, monkeypatch) -> None:
    def refuse(rows, **how):
        raise InvalidText("A row has token ids that this base does not know.")

    monkeypatch.setattr(live.base_worker.engine, "run", refuse)
    (answer,) = live.ask("mood", "a film").items
    assert type(answer) is PluginFailed and "token ids" in str(answer)


def test_sound_returns_pass() -> None:
    rows = [Row([1, 2], token_type_ids=[0, 0]), Row(tuple(range(64)))]
    checked = check_rows(rows, 64)
    assert [list(row.input_ids) for row in checked] == [[1, 2], list(range(64))]
    assert checked[0].token_type_ids == (0, 0)
    rows[0].input_ids.clear()
    assert checked[0].input_ids == (1, 2), "a copy"
    value, body = check_answer(Nested(scores={"a": [0.5]}), Nested)
    assert (value.more, body) == (None, b'{"scores":{"a":[0.5]},"more":null}')


def test_a_number_that_is_not_finite_is_found_however_deep() -> None:
    with pytest.raises(WrongReturn, match="NaN"):
        check_answer(Nested(scores={"a": [0.5], "b": [0.1, -math.inf]}), Nested)


@pytest.mark.parametrize(
    ("message", "logged"),
    [
        ("cannot read 'Kunigunde'", "cannot read '…'"),
        ("near kunigunde oberhuber", "near …"),
        ("truncated: Kunigun", "truncated: …"),
        ("value4711x is odd", "… is odd"),
        ("no key 'label'", "no key 'label'"),
    ],
)
def test_words_of_the_request_are_removed_from_a_message(message, logged) -> None:
    assert exception_text(ValueError(message), {"text": SECRET}) == logged


def test_text_without_spaces_and_escaped_text_are_removed() -> None:
    secret = "我叫王小明住在北京"
    assert "王小" not in exception_text(ValueError(f"無法處理{secret[2:6]}嗎"), [secret])
    assert "Müller" not in exception_text(
        ValueError(repr("Herr\nMüller\tschreibt")), ["Herr\nMüller\tschreibt"]
    )


def test_a_validation_error_is_told_by_its_fields() -> None:
    with pytest.raises(ValueError) as caught:
        Strict(label=SECRET)
    assert exception_text(caught.value, SECRET).startswith("label: Input should be a valid integer")
