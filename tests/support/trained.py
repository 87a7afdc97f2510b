"""A version that is trained once for a module, of which each test gets a copy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.bases.cache import Bases
from hub.cli.main import app
from hub.config import find_home

__all__ = ["Trained", "train_once"]


@dataclass(frozen=True)
class Trained:
    """A folder with a recipe and its rows, and a state folder in which demo@1, trained from them, is live.

    `answer` is what `hub train --json` returned, with paths in `home`.
    """

    home: Path
    recipe: Path
    answer: Mapping[str, Any]

    def copy(self, folder: Path) -> Path:
        """Copy the state folder to the one of the test, and the recipe to `folder`; return the recipe's."""
        shutil.copytree(self.home, find_home())
        return shutil.copytree(self.recipe, folder / "recipe")


def train_once(folder: Path, base: Path, recipe: str, rows: str) -> Trained:
    """Train and deploy what a recipe makes of `a.csv` on a base called tiny."""
    home, place = folder / "home", folder / "recipe"
    place.mkdir()
    (place / "recipe.yaml").write_text(recipe)
    (place / "a.csv").write_text(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUB_HOME", str(home))
        Bases(home).pull(str(base), "tiny")
        done = CliRunner().invoke(app, ["train", str(place), "--deploy", "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    return Trained(home, place, json.loads(done.stdout))
