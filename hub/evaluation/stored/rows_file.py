"""Reads the rows of a file for a stored version, if possible in the same way as its training rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hub.data.examples import Loaded, load_examples
from hub.data.profile.read_options import NOT_GIVEN, Reading, data_for, needed_fields
from hub.errors import BadData
from hub.progress import Progress, silent
from hub.recipe.recipe import Evaluate, LabelRules, Recipe
from hub.recipe.sections.data import Pii
from hub.registry.loaded import LoadedTask
from hub.store.records import Version

__all__ = ["load_rows"]


def load_rows(
    version: Version,
    loaded: LoadedTask,
    source: str,
    cache: Path,
    *,
    reading: Reading = NOT_GIVEN,
    slices: Sequence[str] = (),
    progress: Progress = silent,
) -> Loaded:
    """Read a file, a folder, or any source that a recipe may name.

    `data_for` determines how it is read: by `reading`, like the version's training data, or by sniffing.
    Labels are converted as in the recipe, unless this makes all rows invalid: the file may have the labels
    that the version answers.

    Raises:
        BadRecipe, BadData, SourceUnavailable: as `load_examples`; no row can be used.
    """
    manifest = version.manifest
    rules = LabelRules.model_validate(((manifest.recipe or {}).get("data") or {}).get("labels", {}))
    data = data_for(source, needed_fields(loaded.task.fields), manifest.reading, reading, cache).model_copy(
        update={"labels": LabelRules(rename=rules.rename, bins=rules.bins), "pii": Pii(action="ignore")}
    )
    serving = manifest.serving
    recipe = Recipe(
        name=version.name,
        task=serving.task,
        data=data,
        options=dict(serving.settings),
        evaluate=Evaluate(slices=tuple(slices)),
    )
    found = load_examples(recipe, "source", loaded.task, cache, progress, needs_label=loaded.labelled)
    if not found.items and rules.bins:
        plain = recipe.model_copy(update={"data": data.model_copy(update={"labels": LabelRules()})})
        found = load_examples(plain, "source", loaded.task, cache, progress, needs_label=loaded.labelled)
    if not found.items:
        reason = found.invalid or found.filtered
        raise BadData(f"{source}: no row can be used{f': {reason[0].reason}' if reason else ''}.")
    found.items[:] = [item.as_sent() for item in found.items]
    return found
