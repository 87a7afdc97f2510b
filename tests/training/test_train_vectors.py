"""Training on pairs, from recipe to stored version, on tiny random bases."""

from __future__ import annotations

import itertools
import json

import pytest
from grafthub_similarity.task import SimilarityTask

from hub.bases.cache import Bases
from hub.errors import BadPlugin, BadRecipe
from hub.report.write import write_report
from tests.support.tiny import tiny_decoder, tiny_encoder

WORDS = dict(
    zip(
        ("film", "book", "phone", "food", "plot", "actor", "city", "river"),
        ("sun", "rain", "market", "price", "team", "game", "news", "story"),
        strict=True,
    )
)
PAIRS = "query,good,bad\n" + "".join(
    f"the {one} and {other},{WORDS[one]} {WORDS[other]},{WORDS[other] if number % 2 else ''}\n"
    for number, (one, other) in enumerate(itertools.permutations(WORDS, 2))
)
RECIPE = """
task: similarity
base: tiny
data: {source: a.csv, eval_fraction: 0.25}
train: {epochs: 10, batch_size: 16, learning_rate: 0.015, patience: 0}
method: {type: lora}
"""


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    made = Bases(folder)
    made.pull(str(tiny_encoder(folder / "encoder").path), "tiny")
    made.pull(str(tiny_decoder(folder / "decoder").path), "tiny-decoder")
    return made


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pairs_become_a_version_that_finds_texts_better_than_the_bare_base(make_recipe, run, pooling):
    result = run(make_recipe(RECIPE + f"options: {{pooling: {pooling}}}\n", a_csv=PAIRS))
    manifest, baseline = result.version.manifest, result.outcome.baseline
    assert manifest.metric == "mrr"
    assert manifest.metrics["mrr"] > baseline["mrr"] + 0.2
    assert manifest.serving.settings["pooling"] == pooling
    assert not manifest.serving.labels
    config = json.loads((result.version.path / "adapter_config.json").read_text())
    assert config["task_type"] == "FEATURE_EXTRACTION"


def test_the_last_token_of_a_decoder_can_be_trained_and_the_first_cannot(make_recipe, run):
    on_decoder = RECIPE.replace("base: tiny", "base: tiny-decoder")
    result = run(make_recipe(on_decoder + "options: {pooling: last}\n", a_csv=PAIRS))
    assert result.version.manifest.metrics["mrr"] > result.outcome.baseline["mrr"] + 0.2
    with pytest.raises(BadRecipe, match="options: the first token of tiny-decoder, a decoder, sees no other"):
        run(make_recipe(on_decoder + "options: {pooling: cls}\n", a_csv=PAIRS))


def test_the_report_and_the_card_compare_with_the_bare_base(make_recipe, run):
    result = run(make_recipe(RECIPE, "train.epochs=1", a_csv=PAIRS), report=write_report)
    page = result.report.read_text()
    assert "<span>bare base</span>" in page and "majority" not in page
    said = f"The base without the adapter: mrr {result.outcome.baseline['mrr']:.4f} on the same rows."
    assert said in (result.report.parent / "README.md").read_text()


def test_early_stopping_and_cross_validation_use_the_ranks(make_recipe, run):
    settings = ("train.patience=2", "train.epochs=3", "train.validation_fraction=0.3", "evaluate.folds=2")
    result = run(make_recipe(RECIPE, *settings, a_csv=PAIRS))
    assert result.outcome.fitted.best_metric is not None
    assert set(result.version.manifest.metrics_cv) == {"recall_at_1", "recall_at_10", "mrr", "ndcg_at_10"}


@pytest.mark.parametrize("method", ["ia3", "bitfit"])
def test_other_methods_train_vectors_too(make_recipe, run, method):
    result = run(make_recipe(RECIPE, f"method.type={method}", "train.epochs=1", a_csv=PAIRS))
    assert 0 < result.version.manifest.metrics["mrr"] < 1
    worst = result.evaluation.mistakes[0].texts
    assert worst["answer"]["rank"] > 1
    assert worst["answer"]["best"] != worst["expected"]["good"]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("train.label_smoothing=0.1", "train.label_smoothing: task similarity has no labels"),
        ("train.balance=weights", "train.balance: task similarity has no labels"),
        ("method.type=full", "cannot be trained in full"),
        ("method.type=head", "the base has nothing that head trains"),
    ],
)
def test_settings_that_vectors_have_no_use_for_are_refused(make_recipe, run, override, problem):
    with pytest.raises(BadRecipe, match=problem):
        run(make_recipe(RECIPE, override, "train.epochs=1", a_csv=PAIRS))


def symmetric_loss(self, queries, texts, candidates, adapter):
    """Let each query pick its good text, and each good text its query."""
    count, scores = len(queries), queries @ texts.T * 20
    assert candidates.shape == scores.shape
    picks = scores.masked_fill(~candidates, float("-inf")).logsumexp(1)
    return (picks + scores[:, :count].logsumexp(0) - 2 * scores[:, :count].diagonal()).mean()


def test_a_task_trains_with_a_loss_of_its_own(make_recipe, run, monkeypatch):
    calls = []

    def own(*given):
        calls.append(len(given[1]))
        return symmetric_loss(*given)

    monkeypatch.setattr(SimilarityTask, "vector_loss", own)
    result = run(make_recipe(RECIPE, a_csv=PAIRS))
    assert len(calls) == result.outcome.fitted.steps and max(calls) == 16
    assert result.version.manifest.metrics["mrr"] > result.outcome.baseline["mrr"] + 0.2


@pytest.mark.parametrize("returned", [0.5, "vectors"])
def test_a_loss_that_cannot_be_minimized_is_refused(make_recipe, run, monkeypatch, returned):
    loss = (lambda *given: given[1]) if returned == "vectors" else (lambda *given: returned)
    monkeypatch.setattr(SimilarityTask, "vector_loss", loss)
    with pytest.raises(BadPlugin, match="must return a torch tensor without dimensions"):
        run(make_recipe(RECIPE, a_csv=PAIRS))
