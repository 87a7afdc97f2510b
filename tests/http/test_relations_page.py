"""The example of docs/plugins/relations.md, from a file of relations to an answer over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.http.conftest import serve
from tests.support.plugins import installing, write_page
from tests.support.trained import Trained, train_once

# Words that the tiny tokenizer knows, the types too.
PERSONS, WORKS, CITIES = ("who", "team"), ("movie", "book", "story", "news"), ("paris", "london")
TYPES = dict.fromkeys(PERSONS, "actor") | dict.fromkeys(WORKS, "film") | dict.fromkeys(CITIES, "city")
VERBS = ("love", "like")
RECIPE = """
name: demo
task: relations
base: tiny
data: {source: a.csv, format: jsonl, eval_fraction: 0.25}
train: {epochs: 12, batch_size: 16, learning_rate: 0.02, warmup: 0, patience: 0}
options: {pairs: [[actor, film], [actor, city], [film, city]]}
evaluate: {int8: false}
"""


def row(person: str, verb: str, work: str, city: str) -> dict[str, Any]:
    text = f"in {city} the {person} {verb} the {work}"
    places = {word: match.span() for word in (city, person, work) if (match := re.search(word, text))}
    entities = [[*places[word], TYPES[word]] for word in (city, person, work)]
    return {"text": text, "entities": entities, "relations": [[1, 2, "likes"], [1, 0, "lives in"]]}


ROWS = [row(person, verb, work, city) for person, verb, work, city in product(PERSONS, VERBS, WORKS, CITIES)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("relations")
    lines = "\n".join(map(json.dumps, ROWS))
    with installing(folder / "site") as install:
        install(write_page("relations", folder))
        yield train_once(folder, tiny_base_folder, RECIPE, lines)


@pytest.fixture(scope="module")
def client(trained: Trained) -> Iterator[TestClient]:
    with serve(trained.home, engine="torch") as client:
        yield client


def ask(client: TestClient, **changed: Any) -> Any:
    asked = row("team", "like", "movie", "london")
    entities = [dict(zip(("start", "end", "label"), one, strict=True)) for one in asked["entities"]]
    return client.post("/v1/tasks/relations", json={"text": asked["text"], "entities": entities, **changed})


def test_relations_are_learned_from_pairs_and_answered_for_all_entities_of_a_text(
    trained: Trained, client: TestClient
) -> None:
    assert trained.answer["metrics"]["f1"] == 1.0
    answer = ask(client)
    assert answer.status_code == 200, answer.text
    found = answer.json()["relations"]
    labels = {(one["head"], one["tail"]): one["label"] for one in found}
    assert labels == {(1, 0): "lives in", (1, 2): "likes"}
    assert all(0.5 <= one["score"] <= 1 for one in found)


def test_entities_as_extraction_gives_them_are_taken_and_others_refused(client: TestClient) -> None:
    entity = {"start": 3, "end": 9, "label": "city", "text": "london", "score": 0.9}
    assert ask(client, entities=[entity]).json() == {"relations": []}
    assert ask(client, entities=[]).json() == {"relations": []}
    person = {"start": 14, "end": 18, "label": "actor"}
    beyond = ask(client, entities=[person, {**entity, "end": 900}])
    assert beyond.status_code == 400
    assert "entities.1 is not a part of the text" in beyond.json()["error"]["message"]
