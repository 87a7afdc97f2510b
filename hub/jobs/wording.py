"""Errors of a job in the words of its request: fields of the body, not keys of a recipe or stored files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from hub.errors import BadRecipe, HubError
from hub.jobs.keys import ALLOWED, RECIPE_KEY
from hub.store.jobs.records import JobSpec

__all__ = ["about", "reworded"]

_FIELDS = {
    "name": "suffix",
    "task": "metadata.task",
    "base": "model",
    "data.source": "training_file",
    "data.eval": "validation_file",
    "train.epochs": "hyperparameters.n_epochs",
    "train.batch_size": "hyperparameters.batch_size",
    "train.learning_rate_multiplier": "hyperparameters.learning_rate_multiplier",
    "train.seed": "seed",
}
_SECTIONS = "data|train|method|evaluate|augment|deploy|options"
_KEY = re.compile(rf"(?<![\w./'\"-])(?:{_SECTIONS})(?:\.\w+)+")  # neither in a path nor in quotes
_LEADING = re.compile(r"^(\w+(?:\.\w+)*)(?=: )", re.MULTILINE)
_FILE = re.compile(r"\b(?:training|validation)_file\b")
_COLUMN = re.compile(r"such as \{(\w+): NAME\}")


@contextmanager
def about(field: str) -> Iterator[None]:
    """Name the field of the body in the errors that the block raises."""
    try:
        yield
    except HubError as error:
        error.field = error.field or field
        raise


def reworded(error: HubError, spec: JobSpec) -> HubError:
    """Return an error of a job's recipe or data with the fields of its request; `field` has the wrong one."""
    files = {spec.validation_file or "": "validation_file", spec.training_file: "training_file"}
    message = str(error).replace(" in the recipe", "")
    for id, name in files.items():
        if id:
            message = re.sub(rf"[^\s']*{re.escape(id)}\.\w+", name, message)
    message = _LEADING.sub(lambda found: _field(found[1], spec), message)
    message = _KEY.sub(lambda found: _field(found[0], spec), message)
    message = _COLUMN.sub(rf'such as "{RECIPE_KEY}data.columns.\1": "NAME"', message)
    error.args = (message,)
    error.field = error.field or _wrong(message, spec, isinstance(error, BadRecipe))
    return error


def _field(key: str, spec: JobSpec) -> str:
    """Return the field of the body that sets a key of the recipe, or the key if none does."""
    given = f"metadata.{RECIPE_KEY}{key}"
    if given.removeprefix("metadata.") in (spec.asked.get("metadata") or {}):
        return given
    for start in (key, ".".join(key.split(".")[:2])):
        if start in _FIELDS:
            return _FIELDS[start]
    return given if ALLOWED.match(key) or key == "data.columns" else key


def _wrong(message: str, spec: JobSpec, of_data: bool) -> str:
    """Return the field that a message is about: the one it begins with, or else the first file in it."""
    start = _LEADING.match(message)
    name = start[1] if start else ""
    if name != f"metadata.{RECIPE_KEY}data.columns" and _is_field(name):
        return name
    for found in _FILE.finditer(message):
        if found[0] == "training_file" or spec.validation_file:
            return found[0]
    return "training_file" if of_data else ""


def _is_field(name: str) -> bool:
    return name in _FIELDS.values() or name.startswith("metadata.")
