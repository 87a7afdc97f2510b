"""A run of any task writes a page, data and a card that agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from hub.bases.cache import Bases
from hub.recipe.recipe import Recipe
from hub.registry.host import Registry
from hub.report.write import write_report
from hub.store.store import Store
from hub.training.train import train
from tests.support.tiny import tiny_decoder

TRAIN = "train: {epochs: 1, max_steps: 2, batch_size: 4, patience: 0}\nevaluate: {int8: false}\n"
CONTEXT = "the film of paris is good and the book of london is bad"
FILES = {
    "qa": "".join(
        json.dumps(
            {
                "question": f"where is the {thing} {n}",
                "context": CONTEXT,
                "answers": [{"text": answer, "answer_start": CONTEXT.index(answer)}],
            }
        )
        + "\n"
        for n in range(8)
        for thing, answer in (("film", "paris"), ("book", "london"))
    ),
    "translation": "".join(
        json.dumps({"source": f"the film is good {n}", "target": f"der Film ist gut {n}"}) + "\n"
        for n in range(16)
    ),
    "extraction": "".join(
        json.dumps({"tokens": ["paris", "has", "a", f"film{n}"], "tags": ["B-LOC", "O", "O", "O"]}) + "\n"
        for n in range(24)
    ),
    "classification": "".join(
        json.dumps({"text": f"the film is {word} {n}", "labels": labels}) + "\n"
        for n in range(8)
        for word, labels in (("good", ["film", "praise"]), ("long", ["film"]), ("bad", ["blame"]))
    ),
}
HEADS = {
    "qa": "base: tiny",
    "translation": "base: tiny-decoder\n"
    "options: {source_language: en, target_language: de, max_new_tokens: 3}",
    "extraction": "base: tiny",
    "classification": "base: tiny\noptions: {multi_label: true}",
}


@pytest.mark.parametrize("task", FILES)
def test_a_report_of_every_task(
    task: str, bases: Bases, make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    if task == "translation":
        bases.pull(str(tiny_decoder(tmp_path / "decoder").path), "tiny-decoder")
    text = f"task: {task}\n{HEADS[task]}\ndata: {{source: a.jsonl, eval_fraction: 0.3}}\n{TRAIN}"
    recipe = make_recipe(text, a_jsonl=FILES[task])
    store = Store(tmp_path / "home")
    result = train(
        recipe, registry=Registry.load(), store=store, bases=bases, work=tmp_path / "run", report=write_report
    )
    assert result.report is not None, "the report could not be written"
    data: dict[str, Any] = json.loads(result.report.with_name("report.json").read_text())
    metric = data["evaluation"]["metric"]
    value = data["evaluation"]["metrics"][metric]
    assert value == pytest.approx(result.outcome.metrics[metric])
    page = result.report.read_text()
    assert f'<b id="headline">{value:.4f}</b>' in page
    interval = data["evaluation"]["intervals"][metric]
    assert interval["low"] - 1e-6 <= value <= interval["high"] + 1e-6
    assert data["evaluation"]["rows"] == len(result.plan.dataset.held_out)
    signatures = result.version.manifest.signatures
    assert set(signatures) == ({"bleu", "chrf"} if task == "translation" else set())
    assert data["evaluation"]["signatures"] == signatures
    written = result.report.with_name("README.md").read_text()
    assert all(signature in page and signature in written for signature in signatures.values())
    for mistake in data["evaluation"]["mistakes"]:
        assert mistake["texts"] and "a.jsonl" in mistake["source"]
    [stated] = [
        one
        for one in ModelCard(result.report.with_name("README.md").read_text()).data.eval_results
        if one.metric_type == metric
    ]
    assert stated.metric_value == pytest.approx(value, abs=1e-6)
