"""Rows of a file for a version that is stored: read as its training rows were, as far as that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hub.errors import BadData
from hub.registry.loaded import LoadedTask
from hub.store.records import Version
from hub.training.examples import Loaded, load_examples
from hub.training.progress import Progress, silent
from hub.training.recipe import Data, Evaluate, LabelRules, Part, Recipe
from hub.training.rows import RawRow
from hub.training.sections.data import Pii
from hub.training.sources import open_source
from hub.training.tables import open_table

__all__ = ["load_rows"]


def load_rows(
    version: Version,
    loaded: LoadedTask,
    source: str,
    cache: Path,
    *,
    columns: Mapping[str, str] | None = None,
    slices: Sequence[str] = (),
    progress: Progress = silent,
) -> Loaded:
    """Read a file, a folder, or any source that a recipe may name.

    `columns` say which column holds a field. A field not among them is read from its namesake, or from the
    column that the version's recipe names if the file has that one. Labels become what the recipe made them,
    unless no row can be read so: the file may have them as they are answered.

    Raises:
        BadRecipe, BadData, SourceUnavailable: as `load_examples`; no row can be used.
    """
    settings = (version.manifest.recipe or {}).get("data", {})
    rules = LabelRules.model_validate(settings.get("labels", {}))
    trained = {
        key: name for key, name in settings.get("columns", {}).items() if name in _names(source, cache)
    }
    data = Data(
        source=(Part.model_validate({"from": source}),),
        columns={**trained, **(columns or {})},
        labels=LabelRules(rename=rules.rename, bins=rules.bins),
        pii=Pii(action="ignore"),
    )
    serving = version.manifest.serving
    recipe = Recipe(
        name=version.name,
        task=serving.task,
        data=data,
        options=dict(serving.settings),
        evaluate=Evaluate(slices=tuple(slices)),
    )
    found = load_examples(recipe, "source", loaded.task, cache, progress)
    if not found.items and rules.bins:
        plain = data.model_copy(update={"labels": LabelRules()})
        found = load_examples(
            recipe.model_copy(update={"data": plain}), "source", loaded.task, cache, progress
        )
    if not found.items:
        why = found.rejected or found.left_out
        raise BadData(f"{source}: no row can be used{f': {why[0].reason}' if why else ''}.")
    found.items[:] = [item.as_sent() for item in found.items]
    return found


def _names(source: str, cache: Path) -> Sequence[Any]:
    """Return the columns of a local file, or the keys of its first row; () if it is another source."""
    if not Path(source).expanduser().is_file():
        return ()
    with open_source(source, Path.cwd(), cache) as file:
        table = open_table(file.name, file.stream, Data(source=(Part.model_validate({"from": source}),)))
        if table.columns is not None:
            return table.columns
        row = next((row for row in table.rows if isinstance(row, RawRow)), None)
        return [] if row is None else list(row.values)
