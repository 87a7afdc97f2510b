"""Field names that the hub's routes and files need are refused when a task is loaded."""

from __future__ import annotations

from typing import Any

import pytest
from grafthub_sentiment.models import SentimentRequest, SentimentResponse
from pydantic import AliasChoices, AliasPath, ConfigDict, Field, RootModel, computed_field, create_model

from hub.api import HeadKind, Model, TaskSpec
from hub.errors import BadPlugin
from hub.registry.loaded import load_task

Request, Response = SentimentRequest, SentimentResponse


class Whole(RootModel[str]):
    model_config = ConfigDict(json_schema_extra={"examples": ["a text"]})


class Computed(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"label": "a"}]})

    label: str

    @computed_field
    def error(self) -> str:
        return ""


def model(field: str = "extra", **options: Any) -> type[Model]:
    config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [{}]})
    return create_model("Made", __config__=config, **{field: (str | None, Field(None, **options))})


def load(request: type, response: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "Request", request)
    monkeypatch.setitem(globals(), "Response", response)
    load_task(
        TaskSpec(
            name="made",
            summary="For this test.",
            head=HeadKind.SEQUENCE,
            request=f"{__name__}:Request",
            response=f"{__name__}:Response",
            factory="grafthub_sentiment.task:SentimentTask",
        )
    )


@pytest.mark.parametrize("field", ["items", "deployment"])
@pytest.mark.parametrize(
    "how",
    [
        model,
        lambda name: model(alias=name),
        lambda name: model(validation_alias=AliasChoices("extra", name)),
        lambda name: model(validation_alias=AliasPath(name, 0)),
    ],
    ids=["name", "alias", "choices", "path"],
)
def test_a_request_with_a_reserved_field_is_refused_by_name(field, how, monkeypatch) -> None:
    with pytest.raises(BadPlugin, match=f"Task 'made': .*Request has a field '{field}', a reserved name"):
        load(how(field), SentimentResponse, monkeypatch)


@pytest.mark.parametrize("response", [model("error"), model(serialization_alias="error"), Computed])
def test_a_response_with_a_reserved_field_is_refused(response, monkeypatch) -> None:
    with pytest.raises(BadPlugin, match="Response has a field 'error', a reserved name"):
        load(SentimentRequest, response, monkeypatch)


@pytest.mark.parametrize("place", [0, 1])
def test_a_model_without_named_fields_is_refused(place, monkeypatch) -> None:
    models = [SentimentRequest, SentimentResponse]
    models[place] = Whole
    with pytest.raises(BadPlugin, match="RootModel"):
        load(*models, monkeypatch)


def test_other_names_are_taken(monkeypatch) -> None:
    load(model("item"), model("errors", alias="deployment"), monkeypatch)
