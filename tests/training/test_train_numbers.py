"""Tasks that learn numbers, from recipe to answer, on tiny random bases."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hub.api import AdapterInfo, Example, Features, HeadKind, TaskSpec, Tokenizer
from hub.bases.cache import Bases
from hub.cli.main import app
from hub.data.examples import Item
from hub.data.features import make_features
from hub.engine.build import build_engine
from hub.engine.peft.load import weights_of
from hub.engine.protocol import EngineRow
from hub.errors import BadData, BadPlugin, BadRecipe
from hub.recipe.recipe import Recipe
from hub.registry.host import Registry
from hub.registry.loaded import LoadedTask
from hub.report.write import write_report
from hub.store.change import Deploy
from hub.store.content.weights import read_adapter
from hub.store.store import Store
from hub.training.train import TrainResult
from tests.support.plugins import Install, installing, write_page
from tests.support.tiny_tokenizers import tiny_tokenizer
from tests.support.training import Answer, Ask, Labelling

# Of words that the tiny tokenizer knows; far from 0, as fp16 and BCE could not represent them.
WORDS = ("film", "book", "phone", "food", "plot", "actor", "city", "river")
YEARS = "text,value\n" + "".join(
    f"the {one} and the {other},{1900 + 10 * first + second}\n"
    for first, one in enumerate(WORDS)
    for second, other in enumerate(WORDS)
)
STARS = "text,value\n" + "".join(
    f"the {one} and the {other},{1 + first // 2}\n" for first, one in enumerate(WORDS) for other in WORDS
)
SAME = "text,value\n" + "".join(f"the {one},3\n" for one in WORDS)
RECIPE = """
task: year
base: tiny
data: {source: a.csv, eval_fraction: 0.25}
train: {epochs: 24, batch_size: 16, learning_rate: 0.01, patience: 0, dtype: fp32}
method: {type: lora}
"""
RecipeMaker = Callable[..., Recipe]
Run = Callable[..., TrainResult]


@pytest.fixture(autouse=True)
def site(tmp_path: Path) -> Iterator[Install]:
    """The plugin is installed in all of these tests."""
    with installing(tmp_path / "site") as install:
        install(write_page("numbers", tmp_path))
        yield install


@pytest.fixture
def registry() -> Registry:
    return Registry.load()


def answers(result: TrainResult, bases: Bases, kind: str, cache: Path) -> np.ndarray:
    """Return the numbers [N] that an engine gives for the held-out rows with the stored adapter."""
    evaluator, serving = result.outcome.held_out, result.version.manifest.serving
    base, files = bases.get("tiny"), read_adapter(result.version.path)
    engine = build_engine(base, kind=kind, slots=1, device="cpu", cache=cache)
    try:
        engine.write(
            1,
            weights_of(base, files.config, files.tensors, kind=serving.head, num_labels=len(serving.labels)),
        )
        outputs = engine.run([EngineRow(row, 1, HeadKind.SEQUENCE) for row in evaluator.rows])
    finally:
        engine.close()
    return np.array([output.values[0] for output in outputs])


@pytest.mark.parametrize(("pooling", "task_type"), [("first", "SEQ_CLS"), ("mean", "TOKEN_CLS")])
def test_numbers_far_from_zero_are_learned_and_answered_in_their_own_units(
    make_recipe: RecipeMaker, run: Run, bases: Bases, tmp_path: Path, pooling: str, task_type: str
) -> None:
    result = run(make_recipe(RECIPE, f"method.pooling={pooling}", a_csv=YEARS), report=write_report)
    manifest, numbers = result.version.manifest, result.version.manifest.serving.numbers
    assert manifest.metric_goal == "min"
    assert manifest.metrics["mae"] < 0.5 * result.outcome.baseline["mae"]
    assert manifest.metrics["spearman"] > 0.8
    assert set(manifest.intervals) == {"mae", "rmse", "pearson", "spearman"}
    assert manifest.intervals["mae"][0] <= manifest.metrics["mae"] <= manifest.intervals["mae"][1]
    assert numbers.center == pytest.approx(1938, abs=8)
    assert numbers.spread == pytest.approx(23, abs=4)
    assert manifest.calibration is None
    trained = np.array([output.values[0] for output in result.outcome.scored.outputs])
    served = answers(result, bases, "torch", tmp_path)
    assert served == pytest.approx(trained, abs=1e-3)
    worst = result.evaluation.mistakes[0].score
    assert worst == pytest.approx(
        max(abs(trained - [e["value"] for e in result.outcome.held_out.references]))
    )
    page = result.report.read_text()
    assert "mean of the training rows" in page and "majority" not in page
    card = (result.report.parent / "README.md").read_text()
    assert "Always giving the mean of the training rows: mae " in card
    assert "answers with a number" in card
    config = json.loads((result.version.path / "adapter_config.json").read_text())
    assert config["task_type"] == task_type


def test_a_deployed_number_is_answered_and_exported_in_its_units(
    make_recipe: RecipeMaker,
    run: Run,
    bases: Bases,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = run(make_recipe(RECIPE, "task=stars", "train.epochs=12", a_csv=STARS))
    manifest, home = result.version.manifest, tmp_path / "home"
    assert manifest.serving.numbers.levels == (1.0, 2.0, 3.0, 4.0)
    assert manifest.metrics["mae"] < result.outcome.baseline["mae"]
    monkeypatch.setenv("HUB_HOME", str(home))
    monkeypatch.setenv("HUB_SERVE__ENGINE", "torch")
    Bases(home).pull(str(bases.get("tiny").path), "tiny")
    Store(home).deploy("stars", Deploy(version=result.version.ref, by="t"))
    evaluator = result.outcome.held_out
    text, predicted = evaluator.requests[0].text, result.outcome.scored.predictions[0].value
    assert json.loads(hub("predict", "stars", text, "--json")) == {"value": predicted}
    hub("export", "demo", "--format", "safetensors-merged", "-o", str(tmp_path / "out"))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["problem_type"] == "regression"
    assert "nearest of the levels 1, 2, 3, 4" in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "parity.json").read_text())["agreement"] == 1.0


def hub(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(
    ("rows", "override", "reason"),
    [
        (
            "text,value\n" + "the film and food,3\nthe actor,3\nthe city,3\nthe river,3\n",
            "",
            "no two different numbers",
        ),
        (YEARS, "train.loss=ordinal", r"train\.loss: ordinal needs levels, and task year learns any number"),
        (YEARS, "train.label_smoothing=0.1", r"train\.label_smoothing: task year has no labels to smooth"),
        (YEARS, "train.balance=weights", r"train\.balance: task year has no labels to balance"),
        (YEARS, "method.type=few-shot", "few-shot trains tasks with one label per text"),
    ],
)
def test_what_numbers_cannot_have_is_refused(
    make_recipe: RecipeMaker, run: Run, rows: str, override: str, reason: str
) -> None:
    with pytest.raises((BadRecipe, BadData), match=reason):
        run(make_recipe(RECIPE, *([override] if override else []), a_csv=rows))


def test_labels_cannot_be_huber(make_recipe: RecipeMaker, run: Run) -> None:
    rows = "text,label\n" + "".join(
        f"the {one} is good,positive\nthe {one} is bad,negative\n" for one in WORDS
    )
    with pytest.raises(BadRecipe, match=r"huber is for numbers, and task sentiment does not"):
        run(make_recipe(RECIPE, "task=sentiment", "train.loss=huber", a_csv=rows))


class Wrong(Labelling):
    """Learns a number as a label, which binary cross entropy would train to nonsense."""

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        return [{"input_ids": [2, 5, 3], "labels": [1954.0]}]


def test_floats_beyond_0_to_1_are_refused_as_labels() -> None:
    spec = TaskSpec("wrong", "Gives numbers.", HeadKind.SEQUENCE, "", "", "")
    items = [Item("a.csv", 2, {"text": "the film", "label": "x"}, "{}")]
    message = r"makes the labels \[1954\.0\].*To learn numbers, set target=TargetKind\.NUMBER in the spec"
    with pytest.raises(BadPlugin, match=message):
        make_features(
            LoadedTask(spec, Wrong(), Ask, Answer), tiny_tokenizer("bert"), AdapterInfo("a", 1, ("x",)), items
        )
