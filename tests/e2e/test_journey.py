"""A data set of one's own: train, deploy, predict, a second version, roll back, all on real weights."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TICKETS = {
    "billing": ["I was charged twice for {}", "please refund the invoice for {}", "the price of {} is wrong"],
    "bug": [
        "{} crashes when I click save",
        "an error message appears in {}",
        "{} is broken since the update",
    ],
    "howto": ["how do I export my {}", "where can I find the {} settings", "can you explain how {} works"],
}
THINGS = ["the report", "my account", "the calendar", "the mobile app", "the dashboard", "the printer"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A folder as a user would make it: a small CSV with one bad row, and the shortest recipe."""
    folder = tmp_path / "tickets"
    folder.mkdir()
    with (folder / "tickets.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["message", "kind"])
        for kind, patterns in TICKETS.items():
            out.writerows([pattern.format(thing), kind] for pattern in patterns for thing in THINGS)
        out.writerow(["", "bug"])
    (folder / "recipe.yaml").write_text(
        "task: classification\n"
        "data:\n"
        "  source: tickets.csv\n"
        "  columns: {text: message, label: kind}\n"
        "  eval_fraction: 0.2\n"
        "train: {epochs: 4, batch_size: 8}\n"
    )
    return folder


def test_from_a_labelled_file_to_a_live_endpoint_and_back(hub_with_minilm, recipe, tmp_path) -> None:
    hub = hub_with_minilm
    first = hub.json("train", str(recipe), "--deploy")
    assert first["version"] == "tickets@1"
    assert first["rows"]["invalid"] == 1
    hub.run_here("train", str(recipe), "--set", "train.seed=99", "--set", "train.epochs=1")

    with hub.serving() as client:
        answer = client.post("/v1/deployments/tickets/predict", json={"text": "I was billed two times"})
        assert answer.status_code == 200
        assert answer.headers["x-hub-version"] == "tickets@1"
        assert answer.json()["label"] == "billing"

        assert "tickets@2" in hub.run_here("deploy", "tickets@2", "--as", "tickets")
        after = client.post("/v1/tasks/classification", json={"text": "I was billed two times"})
        assert after.headers["x-hub-version"] == "tickets@2"
        assert after.json()["scores"] != answer.json()["scores"]

        assert "tickets@1" in hub.run_here("rollback", "tickets")
        back = client.post("/v1/deployments/tickets/predict", json={"text": "I was billed two times"})
        assert back.headers["x-hub-version"] == "tickets@1"
        assert back.json()["scores"] == pytest.approx(answer.json()["scores"], abs=1e-4)

        assert "billing" in hub.run_here("predict", "tickets", "my invoice is wrong, refund me")
        _predicts_a_file(hub, recipe, tmp_path)

        status = hub.json_here("status")
        assert status["deployments"][0]["version"] == "tickets@1"
    assert hub.json_here("status")["deployments"][0]["version"] == "tickets@1"


def _predicts_a_file(hub, recipe: Path, tmp_path: Path) -> None:
    rows = tmp_path / "in.jsonl"
    rows.write_text(
        "".join(json.dumps({"text": f"{thing} crashes when I click save"}) + "\n" for thing in THINGS)
    )
    out = tmp_path / "out.csv"
    hub.run_here("predict", "tickets", "--file", str(rows), "-o", str(out))
    with out.open(newline="") as file:
        answers = list(csv.DictReader(file))
    assert [row["text"] for row in answers] == [f"{thing} crashes when I click save" for thing in THINGS]
    assert {row["label"] for row in answers} == {"bug"}


def test_a_recipe_with_a_mistake_names_line_and_key_and_stores_nothing(hub_with_minilm, recipe) -> None:
    hub = hub_with_minilm
    text = (recipe / "recipe.yaml").read_text()
    (recipe / "recipe.yaml").write_text(text.replace("epochs: 4", "epoch: 4"))
    error = json.loads(hub.run("train", str(recipe), "--json", status=1))["error"]
    assert error["code"] == "bad_recipe"
    assert "recipe.yaml:6" in error["message"]
    assert "epochs" in error["message"]
    assert hub.json_here("adapters", "list") == []
