"""docs/architecture.md names files that exist, every package of hub/, and the layers of pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PATHS = sorted(set(re.findall(r"\b(?:hub|tests|plugins|adapters|benchmarks)/[\w/]+(?:\.py)?", PAGE)))
PACKAGES = sorted(path.parent.name for path in (ROOT / "hub").glob("*/__init__.py"))
DIAGRAMS = re.findall(r"```mermaid\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("path", PATHS)
def test_every_path_on_the_page_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_a_row_in_the_table_of_folders(package: str) -> None:
    folders = PAGE.partition("## Folders")[2].partition("\n## ")[0]
    assert f"| `hub/{package}` |" in folders


def test_the_layers_are_those_that_import_linter_checks() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    (listed,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert listed.splitlines() == layers


def test_there_are_three_diagrams() -> None:
    assert len(DIAGRAMS) == 3


@pytest.mark.parametrize("diagram", DIAGRAMS, ids=["predict", "train", "deploy"])
def test_every_node_of_a_diagram_names_a_file_and_every_arrow_joins_two_nodes(diagram: str) -> None:
    labels = re.findall(r'(\w+)\["([^"<]+)<br/>', diagram)
    assert all(label.endswith(".py") for _, label in labels)
    assert diagram.count('["') == len(labels)
    nodes = {name for name, _ in labels}
    text = re.sub(r'\["[^"]*"\]|-\. "[^"]*" \.->', lambda m: " --> " if m[0].startswith("-") else "", diagram)
    arrows = [line.split("-->") for line in text.splitlines()[1:] if line.strip()]
    assert arrows
    assert all({end.strip() for end in arrow} <= nodes and len(arrow) == 2 for arrow in arrows)
