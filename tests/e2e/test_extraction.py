"""Entities are learned from annotated text and found over HTTP, in names and sentences never trained on.

The texts are made of sentence patterns and lists of names, so the figure says that the task learns, not
how good it is on anybody's text.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

NAMES = {
    "first": "Anna Boris Carmen David Elena Felix Grace Hassan Ines Jonas Karin Luis Maria Nadia Omar Petra",
    "last": "Almeida Becker Costa Dvorak Eriksen Fischer Garcia Haddad Ivanova Jansen Kowalski Lopez Moreau",
    "city": "Lisbon Hamburg Porto Prague Bergen Vienna Madrid Beirut Sofia Utrecht Krakow Lima Lyon Dublin",
    "firm": "Nordwind Altus Ferrum Quantis Bluepoint Seaworth Vantage Kestrel Orbita Helix Zenith Marlow",
}
ENDINGS = ["Ltd", "Group", "Bank", "Systems", "and Sons"]
SENTENCES = [
    "{PER} moved from {LOC} to {LOC} last year .",
    "{ORG} opened an office in {LOC} .",
    "Yesterday {PER} left {ORG} after ten years .",
    "The train to {LOC} was late , said {PER} .",
    "Shares of {ORG} rose , while {ORG} lost ground .",
    "Nothing of this was planned .",
    "{PER} and {PER} met in {LOC} .",
    "We asked {ORG} for a comment .",
]
UNSEEN_SENTENCES = [
    "In {LOC} , {PER} now works for {ORG} .",
    "{ORG} wrote to {PER} from {LOC} .",
    "Everybody in {LOC} knows {PER} .",
]


def name(chance: random.Random, kind: str, unseen: bool) -> str:
    def one(which: str) -> str:
        words = NAMES[which].split()
        return chance.choice(words[-4:] if unseen else words[:-4])

    if kind == "PER":
        return f"{one('first')} {one('last')}"
    return one("city") if kind == "LOC" else f"{one('firm')} {chance.choice(ENDINGS)}"


def tagged(chance: random.Random, unseen: bool) -> str:
    """A sentence as CoNLL has it: a word and its tag a line."""
    lines = []
    for part in chance.choice(UNSEEN_SENTENCES if unseen else SENTENCES).split():
        slot = re.fullmatch(r"\{(\w+)\}", part)
        words = name(chance, slot[1], unseen).split() if slot else [part]
        prefixes = ["B-", *["I-"] * (len(words) - 1)]
        lines += [f"{word} {p + slot[1] if slot else 'O'}" for word, p in zip(words, prefixes, strict=True)]
    return "\n".join(lines)


def write_conll(path: Path, count: int, unseen: bool) -> None:
    chance = random.Random(count)
    path.write_text("\n\n".join(tagged(chance, unseen) for _ in range(count)) + "\n")


def test_entities_are_learned_and_found_over_http(hub_with_minilm, tmp_path) -> None:
    hub = hub_with_minilm
    write_conll(tmp_path / "train.conll", 200, unseen=False)
    write_conll(tmp_path / "eval.conll", 40, unseen=True)
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "recipe.yaml").write_text(
        "task: extraction\ndata: {source: ../train.conll, eval: ../eval.conll}\n"
        "train: {epochs: 2, learning_rate: 0.006, batch_size: 8, patience: 0}\n"
        "evaluate: {int8: false}\n"
    )
    trained = json.loads(hub.run_here("train", str(tmp_path / "names"), "--deploy", "--json"))
    assert trained["metrics"]["f1"] > 0.8, json.dumps(trained["metrics"])

    text = "Now Petra Moreau works for Zenith Bank, in Dublin."
    with hub.serving("--engine", "torch") as client:  # the journey has graphs of a real base
        answer = client.post("/v1/tasks/extraction", json={"text": text}).raise_for_status().json()
        found = [(entity["entity_group"], entity["word"]) for entity in answer["entities"]]
        assert found == [("PER", "Petra Moreau"), ("ORG", "Zenith Bank"), ("LOC", "Dublin")]
        assert all(text[one["start"] : one["end"]] == one["word"] for one in answer["entities"])
        raw = client.post("/v1/tasks/extraction", json={"text": text, "aggregation": "none"})
        assert ("B-PER", "Petra") in [(one["entity_group"], one["word"]) for one in raw.json()["entities"]]
