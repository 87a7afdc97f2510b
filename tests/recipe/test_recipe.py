"""Recipes: short ones work, wrong ones are told apart by file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.bases.base import BaseKind
from hub.errors import BadRecipe
from hub.recipe.recipe import PRESETS, Recipe, load_recipe


def written(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problem(path: Path, *overrides: str) -> str:
    with pytest.raises(BadRecipe) as raised:
        load_recipe(path, overrides)
    return str(raised.value)


def test_a_recipe_needs_task_and_data_alone(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, "task: sentiment\ndata: train.csv\n", "movies.yaml"))
    assert (recipe.name, recipe.task, recipe.base) == ("movies", "sentiment", "minilm")
    assert [part.source for part in recipe.data.source] == ["train.csv"]
    assert recipe.folder == tmp_path


def test_a_folder_is_read_by_its_recipe_file_and_gives_the_name(tmp_path: Path) -> None:
    folder = tmp_path / "my-adapter"
    folder.mkdir()
    written(folder, "task: qa\ndata: train.json\n")
    assert load_recipe(folder).name == "my-adapter"


def test_a_folder_name_that_is_no_legal_name_asks_for_one(tmp_path: Path) -> None:
    folder = tmp_path / "My Adapter"
    folder.mkdir()
    written(folder, "task: qa\ndata: train.json\n")
    assert "name: 'My Adapter' is not a valid adapter name" in problem(folder)
    assert load_recipe(folder, ["name=mine"]).name == "mine"


def test_sources_may_be_one_or_several_and_carry_constants(tmp_path: Path) -> None:
    text = """
task: classification
data:
  source:
    - a.csv
    - {from: b.csv, set: {label: 3}, limit: 10}
  eval: {from: c.csv}
"""
    data = load_recipe(written(tmp_path, text)).data
    assert [part.source for part in (*data.source, *data.eval)] == ["a.csv", "b.csv", "c.csv"]
    assert data.source[1].set == {"label": "3"}


def test_numbers_in_exponent_form_are_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, "task: qa\ndata: a.json\ntrain: {learning_rate: 5e-4}\n")
    assert load_recipe(path).train.learning_rate == pytest.approx(5e-4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "task: qa\ndata: a\ntrian: {}\n",
            ":3: trian: unknown key, did you mean train? Allowed: name, preset, summary,",
        ),
        ("task: qa\ndata: a\ntrain:\n  epochs: many\n", ":4: train.epochs: must be a valid number"),
        (
            "task: qa\ndata: a\ntrain:\n  dtype: fp64\n",
            ":4: train.dtype: must be 'auto', 'fp32', 'bf16' or 'fp16', not",
        ),
        (
            "task: qa\ndata: a\nmethod:\n  rank: 0\n",
            ":4: method.rank: must be greater than or equal to 1, not 0",
        ),
        ("task: qa\ndata: a\nmethod: {target: 3}\n", ":3: method.target: must be a list, not 3"),
        ("task: qa\n", ":1: data: is required"),
        ("task: qa\ndata: {source: []}\n", ":2: data.source: name at least one source"),
        (
            "task: qa\ndata:\n  source:\n    - form: a\n",
            ":4: data.source.0.form: unknown key, did you mean from?",
        ),
        ("task: qa\ndata: a\nlabels: yes\n", ":3: labels: unknown key. Allowed: "),
        (
            "task: qa\ndata:\n  source: a\n  labels:\n    only: [yes, no]\n",
            ":5: data.labels.only.0: must be a valid string: YAML reads yes, no, on and off as true or false",
        ),
        ("task: qa\ndata: a\ntask: b\n", ":3: task: is set twice (first on line 1)"),
        ("task: [qa\ndata: a\n", ":2: is not valid YAML"),
        ("- a\n", ":1: a recipe is a mapping"),
        ("", ":1: a recipe is a mapping"),
        (
            "task: !!python/object/apply:os.getcwd []\ndata: a\n",
            "is not valid YAML: the tag tag:yaml.org,2002:python/object",
        ),
    ],
)
def test_what_is_wrong_is_said_with_line_and_key(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, text)
    said = problem(path)
    assert said.startswith(f"{path}:")
    assert expected in said


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    said = problem(written(tmp_path, "task: qa\ndata: a\nbass: b\ntrain: {seed: x}\n"))
    assert [line.split(": ")[1] for line in said.splitlines()] == ["train.seed", "bass"]


def test_bytes_that_are_not_utf8_are_told_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"task: qa\ndata: caf\xe9.csv\n")
    assert problem(path) == f"{path}:2: is not UTF-8 text."


def test_a_missing_recipe_is_told(tmp_path: Path) -> None:
    assert "there is no recipe here" in problem(tmp_path)
    assert "there is no recipe here" in problem(tmp_path / "none.yaml")


def test_overrides_are_typed_as_yaml_and_reach_into_sections(tmp_path: Path) -> None:
    path = written(tmp_path, "task: qa\ndata: a.json\ntrain: {epochs: 3}\n")
    recipe = load_recipe(
        path,
        [
            "train.epochs=2",
            "data.limit=5",
            "method.target=[query, value]",
            "summary='a: b'",
            "train.max_steps=null",
        ],
    )
    assert recipe.train.epochs == 2
    assert recipe.data.limit == 5
    assert [part.source for part in recipe.data.source] == ["a.json"]
    assert recipe.method.target == ("query", "value")


def test_a_wrong_override_is_named_as_such(tmp_path: Path) -> None:
    path = written(tmp_path, "task: qa\ndata: a.json\n")
    assert problem(path, "train.seed=x").startswith("--set train.seed: must be a valid integer")
    assert problem(path, "train.sed=1").startswith("--set train.sed: unknown key, did you mean seed?")
    assert problem(path, "train.seed") == "--set train.seed: write key=value, such as train.epochs=2."
    assert problem(path, "task.name=3") == "--set task.name=3: task is not a section."


def test_a_resolved_recipe_is_a_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, "task: qa\ndata: [a.json, b.json]\n"))
    assert Recipe.model_validate(recipe.resolved()).resolved() == recipe.resolved()


def test_a_preset_fills_what_the_recipe_leaves_open(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("task: qa\ndata: a.csv\npreset: fast\nmethod: {rank: 4}\n")
    recipe = load_recipe(path)
    assert (recipe.method.rank, recipe.evaluate.int8) == (4, False)
    assert recipe.data.near_duplicates == "keep"
    assert load_recipe(path, ["evaluate.int8=true"]).evaluate.int8
    best = load_recipe(path, ["preset=best"])
    assert (best.method.rank, best.method.dropout, best.method.freeze) == (4, 0.1, 0)


@pytest.mark.parametrize("changes", [{}, {"train.batch_size": 8}])
def test_the_preset_fast_freezes_layers_of_an_encoder_and_trains_other_bases_for_one_epoch(
    tmp_path: Path, changes: dict[str, int]
) -> None:
    path = written(tmp_path, "task: qa\ndata: a.csv\npreset: fast\nmethod: {rank: 4}\n")

    def on(kind: BaseKind, *overrides: str) -> tuple[int, float | None]:
        recipe = load_recipe(path, overrides).changed(changes).on_base(kind)
        assert recipe.method.rank == 4
        assert all(recipe.resolved()["train"][key.split(".")[1]] == value for key, value in changes.items())
        return recipe.method.freeze, recipe.train.epochs

    assert on(BaseKind.ENCODER) == (-2, None)
    assert on(BaseKind.DECODER) == on(BaseKind.ENCODER_DECODER) == (0, 1)
    assert on(BaseKind.ENCODER, "method.freeze=0") == (0, None)
    assert on(BaseKind.DECODER, "train.epochs=2") == (0, 2)
    assert on(BaseKind.ENCODER, "preset=default") == on(BaseKind.DECODER, "preset=default") == (0, None)


def test_an_unknown_preset_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("task: qa\ndata: a.csv\npreset: slow\n")
    with pytest.raises(BadRecipe, match=r"recipe.yaml:3: preset: must be 'default', 'fast' or 'best'"):
        load_recipe(path)


def test_presets_name_keys_that_there_are(tmp_path: Path) -> None:
    for name in PRESETS:
        path = tmp_path / f"{name}.yaml"
        path.write_text(f"task: qa\ndata: a.csv\npreset: {name}\n")
        assert load_recipe(path).preset == name


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_a_rank_that_is_doubled_when_it_is_stored_has_half_the_limit(tmp_path: Path, init: str) -> None:
    text = "task: sentiment\ndata: a.csv\nmethod: {rank: 129, init: " + init + "}\n"
    assert "at most 128" in problem(written(tmp_path, text))
    load_recipe(written(tmp_path, text.replace("129", "128")))


@pytest.mark.parametrize("number", [".inf", "-.inf", "inf"])
def test_a_number_that_a_manifest_cannot_hold_is_refused(tmp_path: Path, number: str) -> None:
    """JSON has no infinity, so that a version would be stored without the value."""
    path = written(tmp_path, f"name: a\ntask: qa\ndata: a.json\ndeploy: {{max_drop: {number.strip('-')}}}\n")
    assert problem(path).endswith("recipe.yaml:4: deploy.max_drop: must be a finite number.")
    plain = written(tmp_path, "name: a\ntask: qa\ndata: a.json\noptions: {null_threshold: 1}\n", "b.yaml")
    if number != "inf":  # a text, before the task reads its options
        given = problem(plain, f"options.null_threshold={number}")
        assert given == "--set options.null_threshold: must be a finite number."
