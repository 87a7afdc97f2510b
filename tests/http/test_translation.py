"""Translation adapters of every family that writes text: trained, put live and asked over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from hub.recipe.recipe import load_recipe
from hub.registry.host import Registry
from hub.store.change import Deploy
from hub.store.importing import import_version
from hub.store.store import Store
from hub.training.train import TrainResult, train
from tests.http.conftest import serve
from tests.support.tiny import DECODERS, tiny_decoder, tiny_encoder_decoder

TEMPLATES = {
    "llama": "Translate from {source_language} to {target_language}:\n{text}",
    "t5": "translate {source_language} to {target_language}: {text}",
    "bart": "{text}",
    "marian": "{text}",
}
RECIPE = """
name: demo
task: translation
base: tiny
data: {source: a.tsv, eval_fraction: 0.25}
options: {source_language: en, target_language: fr, max_new_tokens: 12}
method: {rank: 16}
train: {epochs: 40, batch_size: 6, learning_rate: 0.02, patience: 0, schedule: cosine, checkpoint_steps: 120}
"""
# What the others do not learn with.
OWN_SETTINGS = {
    "llama": ("train.epochs=20", "train.learning_rate=0.03", "train.schedule=auto"),
    "t5": ("train.schedule=auto",),
}
TEXT = "- The dog 20.  The cat 21!\n\n\t1. the dog 22\r\n"


@pytest.fixture(scope="module", params=TEMPLATES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def home(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with a base of the family."""
    folder = tmp_path_factory.mktemp(family)
    make = tiny_decoder if family in DECODERS else tiny_encoder_decoder
    Store(folder).bases.pull(str(make(folder / "made", family).path), "tiny")
    return folder


@pytest.fixture(scope="module")
def result(family: str, home: Path) -> TrainResult:
    rows = "".join(
        f"the {one} {n}\tun {other}\n"
        for n in range(12)
        for one, other in (("dog", "chien"), ("cat", "chat"))
    )
    (home / "a.tsv").write_text(f"source\ttarget\n{rows}")
    (home / "recipe.yaml").write_text(RECIPE)
    store = Store(home)
    return train(
        load_recipe(home / "recipe.yaml", OWN_SETTINGS.get(family, ())),
        registry=Registry.load(),
        store=store,
        bases=store.bases,
        work=home / "work",
    )


@pytest.fixture(scope="module")
def client(home: Path, result: TrainResult) -> Iterator[TestClient]:
    Store(home).deploy("demo", Deploy(version=result.version.ref))
    with serve(home, engine="torch") as client:
        yield client


def ask(client: TestClient, text: str, **settings: object) -> dict[str, object]:
    answer = client.post("/v1/deployments/demo/predict", json={"text": text, **settings})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_wording_of_the_base_is_stored(family: str, result: TrainResult) -> None:
    serving = result.version.manifest.serving
    assert serving.settings["template"] == TEMPLATES[family]
    assert serving.encoder_decoder is (family not in DECODERS)


def test_the_card_names_the_class_that_loads_the_base(family: str, home: Path, result: TrainResult) -> None:
    folder = Store(home).export(result.version.ref, home / "exported")
    kind = "AutoModelForCausalLM" if family in DECODERS else "AutoModelForSeq2SeqLM"
    card = (folder / "README.md").read_text()
    assert f"{kind}.from_pretrained" in card
    assert result.version.manifest.signatures["chrf"] in card
    imported = import_version(Store(home), folder, "copy")
    assert imported.sha256 == result.version.sha256


def test_the_target_is_learned(result: TrainResult) -> None:
    said = [answer.translation for answer in result.outcome.scored.predictions]
    assert all(text.startswith("un c") for text in said), said


def test_the_server_answers_as_the_evaluation_did(client: TestClient, result: TrainResult) -> None:
    held_out = result.outcome.held_out.references
    for example, predicted in zip(held_out, result.outcome.scored.predictions, strict=True):
        assert ask(client, example["source"])["translation"] == predicted.translation


def test_sentences_are_translated_one_by_one_and_their_spacing_stays(client: TestClient) -> None:
    parts = [ask(client, text)["translation"] for text in ("The dog 20.", "The cat 21!", "the dog 22")]
    assert ask(client, TEXT)["translation"] == "- {}  {}\n\n\t1. {}\r\n".format(*parts)
    assert ask(client, TEXT, split=False)["translation"] != ask(client, TEXT)["translation"]


def test_a_term_of_the_glossary_is_in_the_answer(client: TestClient) -> None:
    answer = ask(client, "the dog GraftHub 3", glossary={"GraftHub": "Graft Hub", "lemon": "citron"})
    (applied,) = answer["glossary"]
    assert (applied["term"], applied["translation"]) == ("GraftHub", "Graft Hub")
    assert str(answer["translation"]).count("Graft Hub") == 1


def test_the_streamed_parts_are_the_translation(client: TestClient) -> None:
    body = {"text": f"{TEXT} GraftHub runs.", "glossary": ["GraftHub"]}
    whole = ask(client, **body)
    answer = client.post("/v1/deployments/demo/predict", json=body, headers={"accept": "text/event-stream"})
    events = [block.split("\n") for block in answer.text.split("\n\n")[:-1]]
    parts = [
        json.loads(data.removeprefix("data: "))["text"] for name, data in events if name == "event: text"
    ]
    end = json.loads(events[-1][1].removeprefix("data: "))
    assert "".join(parts) == whole["translation"]
    assert end["response"] == whole


def test_beams_search_each_sentence(client: TestClient) -> None:
    text = "The dog 20.\nThe cat 21!"
    answer = ask(client, text, num_beams=3)["translation"]
    parts = [ask(client, part, num_beams=3)["translation"] for part in text.splitlines()]
    assert answer == "\n".join(map(str, parts))
    assert ask(client, text, num_beams=1) == ask(client, text)


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"text": "x", "target_language": "de"}, 400, "bad_request"),
        ({"text": "a" * 1_000_000}, 413, "too_large"),
        ({"text": "a" * 5000}, 413, "too_large"),
        ({"text": "The dog. " * 600}, 413, "too_large"),
        ({"text": "x", "glossary": [f"t{number}" for number in range(10_000)]}, 400, "bad_request"),
        ({"text": "x", "glossary": [""]}, 400, "bad_request"),
    ],
)
def test_what_cannot_be_translated_is_refused(client: TestClient, request_, status, code) -> None:
    refused = client.post("/v1/deployments/demo/predict", json=request_)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    assert ask(client, "the dog 1")["translation"]
