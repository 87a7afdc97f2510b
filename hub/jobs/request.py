"""Turns a request for a job into a checked specification.

A request comes from outside: it may set how a file is read and how an adapter is trained, but name no path,
no address, no plugin and no download.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hub.bases.base import BaseKind
from hub.errors import BadRecipe, BadRequest, Conflict, NotFound
from hub.jobs.keys import ALLOWED, RECIPE_KEY
from hub.jobs.wording import about, reworded
from hub.names import check_name
from hub.recipe.errors import Origin, explain
from hub.recipe.recipe import Recipe, with_preset
from hub.recipe.yaml_file import parse_scalar
from hub.registry.host import Registry
from hub.store.jobs.files import Files
from hub.store.jobs.records import JobSpec
from hub.store.store import Store

__all__ = ["FINE_TUNE", "JobRequest", "make_spec", "recipe_of"]

FINE_TUNE = "fine-tune"  # the purpose of a file that a job may read
GENERATION = "generation"


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a client asks for. `hyperparameters` are those of OpenAI that are not "auto"."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None
    seed: int | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


def make_spec(asked: JobRequest, store: Store, files: Files, registry: Registry) -> JobSpec:
    """Check a request as far as that is possible without reading its files.

    Raises:
        NotFound: the base, the task or a file does not exist.
        BadRequest, InvalidName, BadRecipe: a value is invalid.
        Conflict: the deployment serves another task.
    """
    with about("model"):
        base = store.bases.get(asked.model)
    for name in ("training_file", "validation_file"):
        with about(name):
            _check_file(getattr(asked, name), files)
    task = asked.metadata.get("task") or (GENERATION if base.kind is BaseKind.DECODER else "")
    with about("metadata.task"):
        if not task:
            raise BadRequest(f"Set metadata.task to one of {', '.join(registry.tasks())}.")
        registry.spec(task)
    deploy = asked.metadata.get("deploy")
    if deploy is not None:
        with about("metadata.deploy"):
            _check_deployment(store, check_name(deploy, "deployment"), task)
    with about("suffix"):
        name = check_name(asked.suffix or deploy or f"{base.name}-{task}"[:63], "adapter")
    multiplier = asked.hyperparameters.get("learning_rate_multiplier")
    spec = JobSpec(
        base=base.name,
        task=task,
        name=name,
        training_file=asked.training_file,
        validation_file=asked.validation_file,
        recipe=_recipe_keys(asked),
        rate_multiplier=multiplier,
        deploy=deploy,
        asked={"metadata": dict(asked.metadata), "suffix": asked.suffix},
    )
    try:
        recipe_of(spec, Path("training_file.jsonl"), Path("validation_file.jsonl"))
    except BadRecipe as error:
        raise reworded(error, spec) from None
    return spec


def recipe_of(
    spec: JobSpec, training: Path, validation: Path | None, columns: Mapping[str, str] = {}
) -> Recipe:
    """Return the recipe of a job that reads these files, with `columns` where the job names none.

    Raises:
        BadRecipe: a key of the recipe is invalid.
    """
    data: dict[str, Any] = {"source": [str(training)]}
    if validation is not None and spec.validation_file:
        data["eval"] = [str(validation)]
    values: dict[str, Any] = {
        "name": spec.name,
        "task": spec.task,
        "base": spec.base,
        "data": data,
        "report": {"trackers": []},
    }
    for key, value in spec.recipe.items():
        _set(values, key.split("."), value)
    if spec.rate_multiplier is not None:
        _set(values, ["train", "learning_rate_multiplier"], spec.rate_multiplier)
    if columns and "columns" not in data:
        data["columns"] = dict(columns)
    values = with_preset(values)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise explain(error, Recipe, values, Origin()) from None


def _recipe_keys(asked: JobRequest) -> dict[str, Any]:
    """Return the keys of the recipe that the hyperparameters and the metadata set."""
    named = {"n_epochs": "train.epochs", "batch_size": "train.batch_size"}
    found = {key: asked.hyperparameters[name] for name, key in named.items() if name in asked.hyperparameters}
    if asked.seed is not None:
        found["train.seed"] = asked.seed
    for name, text in asked.metadata.items():
        if not name.startswith(RECIPE_KEY):
            continue
        key = name.removeprefix(RECIPE_KEY)
        with about(f"metadata.{name[:80]}"):
            value = _value(key, text)
        found[key] = value
    return found


def _value(key: str, text: str) -> Any:
    """Return the value of a key of the recipe.

    Raises:
        BadRecipe: a job may not set it, or it is no YAML value.
    """
    shown = f"metadata.{RECIPE_KEY}{key[:80]}"
    if not ALLOWED.fullmatch(key):
        raise BadRecipe(f"{shown}: a job may not set this key of a recipe. docs/jobs.md lists those.")
    try:
        value = parse_scalar(text)
    except ValueError:
        raise BadRecipe(f"{shown}: is not a YAML value; quote it.") from None
    if key == "data.pii" and not isinstance(value, str):
        raise BadRecipe(f"{shown}: write ignore, warn, mask or refuse.")
    return value


def _set(values: dict[str, Any], parts: list[str], value: Any) -> None:
    *above, last = parts
    for part in above:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise BadRecipe(f"metadata.{RECIPE_KEY}{'.'.join(parts)}: another key sets {part} as a whole.")
    values[last] = value


def _check_file(id: str | None, files: Files) -> None:
    if id is None:
        return
    file = files.get(id)
    files.path(file)
    if file.purpose != FINE_TUNE:
        raise BadRequest(f"{id} was uploaded for {file.purpose!r}; a job reads files for {FINE_TUNE!r}.")


def _check_deployment(store: Store, name: str, task: str) -> None:
    try:
        live = store.deployment(name)
    except NotFound:
        return
    if live.task != task:
        raise Conflict(f"Deployment {name!r} serves the task {live.task!r}, and the job trains for {task!r}.")
