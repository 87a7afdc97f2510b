"""The JSON Schema of recipes accepts what is accepted when training, short forms included, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from hub.errors import BadRecipe
from hub.recipe.recipe import load_recipe
from hub.recipe.schema import recipe_schema
from hub.recipe.yaml_file import read_yaml

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(
    path
    for part in ("adapters", "hub", "plugins")
    for path in (ROOT / part).rglob("recipe.yaml")
    if "build" not in path.parts
)
GOOD = (
    "data: rows.csv",
    "data: [a.csv, b.csv]",
    "data: {source: a.csv, eval: {from: b.csv, set: {label: 1}}}",
    "data: {source: [{from: a.csv, limit: 3}], pii: mask, columns: {text: 0, label: mood}}",
    "data: {source: a.csv, where: {split: train}, labels: {only: [1, 2], rename: {a: 1}}}",
    "data: a.csv\nevaluate: {slices: [domain]}\nmethod: {type: auto}\nmax_length: null",
)
BAD = (
    "task: qa",
    "data: 3",
    "data: {from: a.csv}",
    "data: {source: a.csv, pii: sometimes}",
    "data: {source: a.csv, colour: red}",
    "data: a.csv\ntrain: {epochs: 0}",
    "data: a.csv\nspeed: high",
)


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    made = recipe_schema()
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


def plain(path: Path) -> Any:
    return json.loads(json.dumps(read_yaml(path).value))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_shipped_recipes_are_valid(path: Path, schema: Draft202012Validator) -> None:
    assert [error.message for error in schema.iter_errors(plain(path))] == []


def test_there_are_shipped_recipes() -> None:
    assert len(SHIPPED) >= 5


@pytest.mark.parametrize("text", GOOD)
def test_what_loads_is_valid(text: str, schema: Draft202012Validator, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"task: sentiment\n{text}\n")
    load_recipe(path)
    assert [error.message for error in schema.iter_errors(plain(path))] == []


@pytest.mark.parametrize("text", BAD)
def test_what_does_not_load_is_not_valid(text: str, schema: Draft202012Validator, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text if text.startswith("task") else f"task: sentiment\n{text}\n")
    with pytest.raises(BadRecipe):
        load_recipe(path)
    assert not schema.is_valid(plain(path))


def test_the_schema_says_what_it_is_and_explains_every_key() -> None:
    made = recipe_schema()
    assert made["$id"] == "urn:grafthub:recipe"
    assert made["title"] == "GraftHub recipe"
    assert made["description"]
    models = [made, *made["$defs"].values()]
    objects = [part for model in models for part in model.get("anyOf", [model]) if "properties" in part]
    keys = [value for part in objects for value in part["properties"].values()]
    assert len(keys) > 50
    assert all("description" in key or "$ref" in key for key in keys)
