"""The countable rules of the layout: small folders, a sentence for each, class names that are used once."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HUB = Path(__file__).parents[1] / "hub"
MAX_MODULES = 16
ALIKE = {"cli"}  # one command a file
PACKAGES = sorted(path.parent for path in HUB.rglob("__init__.py"))


def name(folder: Path) -> str:
    return folder.relative_to(HUB.parent).as_posix()


@pytest.mark.parametrize("folder", PACKAGES, ids=name)
def test_a_folder_says_in_one_sentence_what_lives_there(folder: Path) -> None:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert text, "it has no docstring"
    first = text.splitlines()[0]
    assert first.endswith((".", ":")) and len(first.split()) >= 3, first


@pytest.mark.parametrize("folder", [one for one in PACKAGES if one.name not in ALIKE], ids=name)
def test_a_folder_has_at_most_sixteen_unlike_modules(folder: Path) -> None:
    modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MAX_MODULES, f"{len(modules)} modules: group them in folders named by what they do"


def test_a_public_class_name_is_used_once() -> None:
    """A search for a class finds one."""
    places: dict[str, list[str]] = {}
    for path in HUB.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name(path))
    assert {found: where for found, where in places.items() if len(where) > 1} == {}
