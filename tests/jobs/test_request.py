"""What a request for a job may name, and the recipe that it becomes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from hub.errors import BadRecipe, BadRequest, Conflict, InvalidName, NotFound
from hub.jobs.keys import ALLOWED
from hub.jobs.request import JobRequest, make_spec, recipe_of
from hub.recipe.errors import sections
from hub.recipe.recipe import Recipe
from hub.registry.host import Registry
from hub.store.change import Deploy
from hub.store.jobs.files import Files, NewFile
from tests.support.homes import FakeHome
from tests.support.serving import home, tiny_base_folder

__all__ = ["home", "tiny_base_folder"]

FORBIDDEN = {
    "name", "task", "base", "data", "augment", "method", "train", "evaluate", "tune", "report", "deploy",
    "data.source", "data.eval", "data.format", "data.columns", "data.where", "data.labels", "data.clean",
    "data.pii.detector", "data.pii.model", "options",
    "augment.synonyms", "augment.wordnet", "augment.back_translation", "augment.language", "augment.via",
}  # fmt: skip


@pytest.fixture
def make(home: FakeHome):
    """Return a function that makes the specification of a job on the base `tiny`."""
    files, registry = Files(home.store.catalog, home.path), Registry.load()
    new = NewFile("a.csv", "csv", "fine-tune")
    file = files.add(files.stage(io.BytesIO(b"text,label\n"), "csv", 99), new, rows=1)

    def build(**asked):
        values = {"model": "tiny", "training_file": file.id, **asked}
        values["metadata"] = {"task": "sentiment", **values.get("metadata", {})}
        return make_spec(JobRequest(**values), home.store, files, registry)

    return build


def test_only_keys_that_name_no_file_address_or_package_are_allowed() -> None:
    keys = {
        f"{at}.{name}" if at else name
        for at, model in sections(Recipe).items()
        for name in model.model_fields
        if "tune." not in f"{at}." and "report" not in at and at not in ("data.source", "data.eval")
    }
    assert {key for key in keys if not ALLOWED.fullmatch(key)} == FORBIDDEN | {"data.labels.bins.label",
        "data.labels.bins.min", "data.labels.bins.max"}  # fmt: skip
    for key in ("report.mlflow_uri", "tune.trials", "data.source.0.from", "options.a.b", "train.epochs ", ""):
        assert not ALLOWED.fullmatch(key)


def test_hyperparameters_and_keys_become_those_of_the_recipe(make) -> None:
    spec = make(
        seed=7,
        hyperparameters={"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 2.0},
        metadata={"recipe.data.columns.text": "body", "recipe.train.optimizer": "sgd", "owner": "me"},
    )
    recipe = recipe_of(spec, Path("/x/t.csv"), None)
    assert (recipe.name, recipe.base, recipe.task) == ("tiny-sentiment", "tiny", "sentiment")
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.train.seed) == (2, 4, 7)
    assert recipe.train.optimizer == "sgd" and recipe.train.learning_rate_multiplier == 2.0
    assert recipe.data.columns == {"text": "body"} and recipe.report.trackers == ()
    assert [part.source for part in recipe.data.source] == ["/x/t.csv"] and recipe.data.eval == ()


def test_columns_of_openai_are_used_where_the_job_names_none(make) -> None:
    columns = {"text": "prompt", "label": "completion"}
    assert recipe_of(make(), Path("t.jsonl"), None, columns).data.columns == columns
    named = make(metadata={"recipe.data.columns.text": "body"})
    assert recipe_of(named, Path("t.jsonl"), None, columns).data.columns == {"text": "body"}


@pytest.mark.parametrize(
    ("asked", "error", "said", "field"),
    [
        ({"model": "../../etc"}, InvalidName, "not a valid base name", "model"),
        ({"model": "hf:org/model"}, InvalidName, "not a valid base name", "model"),
        ({"model": "other"}, NotFound, "No base named 'other'", "model"),
        ({"training_file": "file-nobody"}, NotFound, "No file", "training_file"),
        ({"metadata": {"task": ""}}, BadRequest, "metadata.task to one of", "metadata.task"),
        ({"metadata": {"task": "nothing"}}, NotFound, "nothing", "metadata.task"),
        ({"metadata": {"deploy": "No Name"}}, InvalidName, "deployment name", "metadata.deploy"),
        ({"metadata": {"deploy": ""}}, InvalidName, "deployment name", "metadata.deploy"),
        ({"suffix": "a/b"}, InvalidName, "adapter name", "suffix"),
        (
            {"metadata": {"recipe.data.source": "/etc/passwd"}},
            BadRecipe,
            "may not set this key",
            "metadata.recipe.data.source",
        ),
        (
            {"metadata": {"recipe.report.mlflow_uri": "http://x"}},
            BadRecipe,
            "may not set this key",
            "metadata.recipe.report.mlflow_uri",
        ),
        (
            {"metadata": {"recipe.train.epochs": "many"}},
            BadRecipe,
            r"^metadata\.recipe\.train\.epochs: ",
            "metadata.recipe.train.epochs",
        ),
        (
            {"hyperparameters": {"n_epochs": 10**9}},
            BadRecipe,
            "^hyperparameters.n_epochs: ",
            "hyperparameters.n_epochs",
        ),
        (
            {"metadata": {"recipe.train.epochs": "[1"}},
            BadRecipe,
            "not a YAML value",
            "metadata.recipe.train.epochs",
        ),
        (
            {"metadata": {"recipe.train.nothing": "1"}},
            BadRecipe,
            "nothing: unknown key",
            "metadata.recipe.train.nothing",
        ),
        (
            {"metadata": {"recipe.data.pii": "{detector: presidio}"}},
            BadRecipe,
            "ignore, warn, mask",
            "metadata.recipe.data.pii",
        ),
        (
            {"metadata": {"recipe.data.pii": "mask", "recipe.data.pii.kinds": "EMAIL"}},
            BadRecipe,
            "as a whole",
            "metadata.recipe.data.pii.kinds",
        ),
        (
            {"hyperparameters": {"learning_rate_multiplier": 101}},
            BadRecipe,
            r"^hyperparameters\.learning_rate_multiplier: ",
            "hyperparameters.learning_rate_multiplier",
        ),
    ],
)
def test_what_is_wrong_is_refused_before_a_job_is_made(make, asked, error, said, field) -> None:
    with pytest.raises(error, match=said) as caught:
        make(**asked)
    assert caught.value.field == field


def test_a_deployment_keeps_its_task(make, home: FakeHome) -> None:
    home.store.deploy("mood", Deploy(version=home.add("mood").ref))
    assert make(metadata={"deploy": "mood"}).name == "mood"
    with pytest.raises(Conflict, match="serves the task 'sentiment'"):
        make(metadata={"deploy": "mood", "task": "qa"})
