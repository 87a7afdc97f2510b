"""What training on Ray refuses, and what it makes of workers that fail; runs are in test_on_two_nodes.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub.config import load_settings
from hub.errors import BadRecipe, BaseMismatch, ClusterUnavailable, HubError
from hub.recipe.recipe import Recipe
from hub.scale import train as train_module
from hub.scale.cluster import Cluster, resulting
from hub.scale.train import RayFitting, check_recipe
from hub.training.train import TrainResult
from tests.support.training import bases, make_recipe, registry, run
from tests.training.search.conftest import RECIPE, ROWS

__all__ = ["bases", "make_recipe", "registry", "run"]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # of its own defaults

PAIRS = "query,good\n" + "".join(f"the {word},a {word}\n" for word in "abcdefghijklmnop")


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"method.type": "few-shot"}, "method.type: few-shot compares"), ({"method.init": "pissa"}, "its base")],
)
def test_a_recipe_that_cannot_be_shared_out_is_refused(
    make_recipe: Callable[..., Recipe], changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadRecipe, match=said):
        check_recipe(make_recipe(RECIPE, a_csv=ROWS).changed(changed))


def test_a_task_that_compares_texts_with_one_another_is_refused(
    make_recipe: Callable[..., Recipe], run: Callable[..., TrainResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_module, "cluster", lambda settings: pytest.fail("a cluster was asked for"))
    recipe = make_recipe(
        "task: similarity\nbase: tiny\ndata: {source: a.csv, eval_fraction: 0.25}\n", a_csv=PAIRS
    )
    with pytest.raises(BadRecipe, match="task: task similarity compares all texts of a batch"):
        run(recipe, fitting=RayFitting(load_settings(), 2))


@pytest.mark.parametrize(
    ("cause", "kind", "said"),
    [
        (OSError("the worker died"), ClusterUnavailable, "failed 4 times.*--resume"),
        (BaseMismatch("The base is another one."), BaseMismatch, "another one"),
    ],
)
def test_workers_that_fail_too_often_end_the_run_with_their_error(
    cause: Exception, kind: type[HubError], said: str
) -> None:
    ray_train = pytest.importorskip("ray.train", reason="NOT TESTED without Ray")

    def fit() -> None:
        raise ray_train.WorkerGroupError("they failed", {1: cause})

    with pytest.raises(kind, match=said):
        resulting(lambda: train_module._raising(fit))


def test_all_workers_start_again_three_times(
    make_recipe: Callable[..., Recipe],
    run: Callable[..., TrainResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The plan of a run is given to Ray Train, which counts the deaths."""
    pytest.importorskip("ray.train", reason="NOT TESTED without Ray")
    fitting, nodes = RayFitting(load_settings(), 2), Cluster(((2, 0), (1, 0)), machines=2)
    trainers = []

    def keep(plan: Any, *others: Any, **named: Any) -> None:
        trainers.append(fitting._trainer(nodes, lambda: None, plan, tmp_path / "run", resume=False))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(make_recipe(RECIPE, a_csv=ROWS), fitting=keep)
    [trainer] = trainers
    assert trainer.run_config.failure_config.max_failures == 3
    assert trainer.scaling_config.num_workers == 2
    assert trainer.scaling_config.resources_per_worker == {"CPU": 1}
    assert trainer.run_config.storage_path == str(tmp_path / "run" / "ray")
