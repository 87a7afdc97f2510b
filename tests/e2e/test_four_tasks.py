"""The four tasks answer over HTTP from real weights: one encoder and one decoder resident at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SENTENCES = [
    ("a wonderful, warm film", "positive"),
    ("a joy from start to finish", "positive"),
    ("brilliant acting and a clever story", "positive"),
    ("a dull and tiresome mess", "negative"),
    ("a waste of two hours", "negative"),
    ("badly written and badly acted", "negative"),
]
PAIRS = [
    ("A man is sleeping.", "Ein Mann schläft."),
    ("A dog is running.", "Ein Hund rennt."),
    ("Two women are talking.", "Zwei Frauen reden."),
    ("A child plays outside.", "Ein Kind spielt draußen."),
]
CONTEXT = "Marie Curie was born in Warsaw in 1867. She moved to Paris in 1891 to study physics."
QUESTIONS = [("Where was Marie Curie born?", "Warsaw"), ("When did she move to Paris?", "1891")]


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_squad(path: Path) -> None:
    asked = [
        {
            "id": str(number),
            "question": f"{question}{' ' * number}",
            "answers": [{"text": answer, "answer_start": CONTEXT.index(answer)}],
        }
        for number in range(6)
        for question, answer in QUESTIONS
    ]
    path.write_text(
        json.dumps({"data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": asked}]}]})
    )


def recipe(folder: Path, name: str, text: str) -> str:
    (folder / name).mkdir()
    (folder / name / "recipe.yaml").write_text(text)
    return str(folder / name)


def test_the_four_tasks_answer_over_http(hub, minilm, smollm2, link_base, tmp_path) -> None:
    link_base(hub, minilm)
    link_base(hub, smollm2)
    write_jsonl(
        tmp_path / "films.jsonl",
        [{"text": f"{t}{'!' * n}", "label": y} for n in range(4) for t, y in SENTENCES],
    )
    write_jsonl(
        tmp_path / "pairs.jsonl",
        [{"source": f"{s}{' ' * n}", "target": t} for n in range(4) for s, t in PAIRS],
    )
    write_squad(tmp_path / "reading.json")
    steps = "train: {epochs: 1, max_steps: 2, batch_size: 4, patience: 0}\nevaluate: {int8: false}\n"
    for name, text in {
        "films": f"task: sentiment\ndata: ../films.jsonl\n{steps}",
        "topics": f"task: classification\ndata: ../films.jsonl\n{steps}",
        "reading": f"task: qa\ndata: {{source: ../reading.json, format: squad, eval_fraction: 0.2}}\n{steps}",
        "english-german": "task: translation\nbase: smollm2-135m\ndata: ../pairs.jsonl\n"
        f"options: {{source_language: en, target_language: de, max_new_tokens: 8}}\n{steps}",
    }.items():
        hub.run_here("train", recipe(tmp_path, name, text), "--deploy")

    with hub.serving("--engine", "torch") as client:  # the journey has graphs of a real base
        sentiment = client.post("/v1/tasks/sentiment", json={"text": "a joy"}).raise_for_status().json()
        assert sentiment["label"] in {"positive", "negative"}
        assert -1 <= sentiment["polarity"] <= 1

        topic = client.post("/v1/tasks/classification", json={"text": "a joy"}).raise_for_status().json()
        assert sum(topic["scores"].values()) == pytest.approx(1, abs=1e-3)

        asked = {"question": QUESTIONS[0][0], "context": CONTEXT}
        answer = client.post("/v1/tasks/qa", json=asked).raise_for_status().json()
        assert CONTEXT[answer["start"] : answer["end"]] == answer["answer"]

        german = client.post("/v1/tasks/translation", json={"text": PAIRS[0][0]}).raise_for_status().json()
        assert german["target_language"] == "de"
        assert isinstance(german["translation"], str)

        paths = client.get("/docs.json").json()["paths"]
        assert {f"/v1/tasks/{task}" for task in ("classification", "sentiment", "qa", "translation")} <= set(
            paths
        )
