from __future__ import annotations

import csv
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml

from hub.errors import BadRequest, Conflict, InvalidName
from hub.recipe.recipe import Recipe, load_recipe
from hub.registry.discovery import BUILT_IN, CORE
from hub.registry.host import Registry
from hub.registry.kinds import KINDS as EXTENSIONS
from hub.registry.kinds import RESERVED_COMMANDS
from hub.scaffold.choices import HEADS, KINDS
from hub.scaffold.write import write_plugin
from tests.support.plugins import Install, install
from tests.support.preloaded import preloaded

__all__ = ["install"]

LABELS = {"method": "training method", "route": "route family", "base-source": "base source"}
EVERY_HEAD = pytest.mark.parametrize("head", HEADS)
EVERY_OTHER_KIND = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "task"])


@EVERY_HEAD
def test_the_files_are_named_after_the_plugin(tmp_path: Path, head: str) -> None:
    folder = write_plugin("ticket-urgency", tmp_path, head=head)
    assert folder == tmp_path / "ticket-urgency"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "README.md",
        "data/messages.csv",
        "pyproject.toml",
        "recipe.yaml",
        "src/grafthub_ticket_urgency/__init__.py",
        "src/grafthub_ticket_urgency/spec.py",
        "src/grafthub_ticket_urgency/task.py",
        "tests/test_ticket_urgency.py",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["ticket-urgency"]


@EVERY_HEAD
@pytest.mark.parametrize("name", ["a", "3way", "my.task_2", "x--y"])
def test_every_legal_name_gives_a_legal_distribution(tmp_path: Path, name: str, head: str) -> None:
    folder = write_plugin(name, tmp_path, head=head)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    [(entry_point, module)] = project["entry-points"]["hub.tasks.v1"].items()
    assert entry_point == name
    assert project["name"] == f"grafthub-{name}"
    assert (folder / "src" / module.replace(".", "/")).with_suffix(".py").is_file()
    for source in folder.rglob("*.py"):
        compile(source.read_text(), source.name, "exec")


@pytest.mark.parametrize("name", ["", "Upper", "../up", "a/b", "with space", "-x", "x-", "x.", "ü", "a" * 64])
def test_an_illegal_name_writes_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidName):
        write_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(Conflict, match=r"mine already exists"):
        write_plugin("mine", tmp_path)
    assert not list((tmp_path / "mine").iterdir())


def test_a_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadRequest, match=r"cannot hold the new plugin"):
        write_plugin("mine", tmp_path / "file")


@EVERY_HEAD
def test_the_recipe_and_its_data_fit(tmp_path: Path, head: str) -> None:
    folder = write_plugin("mine", tmp_path, head=head)
    recipe = load_recipe(folder)
    assert (recipe.task, recipe.name) == ("mine", "mine")
    with (folder / recipe.data.source[0].source).open(newline="") as file:
        rows = list(csv.DictReader(file))
    if head == "number":
        assert len(rows) == 80 and all(0 <= float(row["priority"]) <= 10 for row in rows)
    elif head == "sequence":
        assert Counter(row["label"] for row in rows) == {"urgent": 40, "can-wait": 40}
    else:
        assert len(rows) >= 40 and all(row["subject"] for row in rows)
    assert len({row["text"] for row in rows}) == len(rows)


@EVERY_HEAD
def test_the_plugin_passes_its_own_tests_and_a_linter(tmp_path: Path, head: str) -> None:
    folder = write_plugin("mine", tmp_path, head=head)
    check_and_test(folder, at_least=19)  # of them, the conformance tests, which grow


def test_every_kind_that_a_plugin_can_provide_has_a_template() -> None:
    words = {LABELS.get(kind, kind) for kind in KINDS}
    assert words == {kind.word for kind in EXTENSIONS} | {"task"}


@EVERY_OTHER_KIND
@pytest.mark.parametrize("name", ["a", "3way", "my.task_2", "x--y", "hf"])
def test_every_legal_name_gives_a_legal_spec_of_another_kind(tmp_path: Path, kind: str, name: str) -> None:
    folder = write_plugin(name, tmp_path, kind=kind)
    package = folder / "src" / f"grafthub_{re.sub('[-.]', '_', name)}"
    [extension] = [one for one in EXTENSIONS if one.word == LABELS.get(kind, kind)]
    hooks = runpy.run_path(str(package / "hooks.py"))
    [spec] = hooks[extension.hook]()
    assert extension.check(spec).name == name
    assert not set(extension.claims(spec)) & {"hf:", "pypi:", "file:"}
    for source in folder.rglob("*.py"):
        compile(source.read_text(), source.name, "exec")
    [shown] = re.findall(r"`(src/\S*[^_]+\.py)` \| the", (folder / "README.md").read_text())
    assert (folder / shown).is_file()


@EVERY_OTHER_KIND
def test_the_readme_says_how_a_plugin_of_another_kind_is_used(
    tmp_path: Path, kind: str, install: Install
) -> None:
    folder = write_plugin("my-own", tmp_path, kind=kind)
    install_written(folder, install)
    [use] = re.findall(r"^To use it: (.+)$", (folder / "README.md").read_text(), re.MULTILINE)
    shown = re.findall(r"`([^`]+)`", use)
    assert "$" not in use and shown
    if use.startswith("In a recipe"):
        recipe = {"task": "sentiment", "data": {"source": "rows.csv"}}
        for section, values in yaml.safe_load(shown[0]).items():
            recipe[section] = {**recipe.get(section, {}), **values}
        Recipe.model_validate(recipe)
    elif shown[0].startswith("hub "):
        command = shown[0].split()[1]
        assert command == "my-own" or command in RESERVED_COMMANDS


@EVERY_OTHER_KIND
def test_a_plugin_of_another_kind_is_usable_and_passes_its_own_tests_and_a_linter(
    tmp_path: Path, kind: str, install: Install
) -> None:
    folder = write_plugin("my-own", tmp_path, kind=kind)
    check_and_test(folder, at_least=1)
    install_written(folder, install)
    registry = Registry.load()
    registry.check()
    [made] = [plugin for plugin in registry.plugins() if plugin.name == "my-own"]
    assert (made.state, made.provides) == ("ok", (f"{LABELS.get(kind, kind)} my-own",)), made.reason


def install_written(folder: Path, install: Install) -> None:
    """Install a plugin that was written with the name "my-own"."""
    site = install()
    shutil.copytree(folder / "src" / "grafthub_my_own", site / "grafthub_my_own")
    (folder / "src").rename(folder.parent / "moved")
    install(folder)


def check_and_test(folder: Path, at_least: int) -> None:
    """Run a linter and the plugin's own tests."""
    lint = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--line-length=110",
        "--select=E,F,I,UP,B,PL",
        "--ignore=PLC0415",  # heavy libraries are imported where they are used
    ]
    linted = subprocess.run([*lint, "."], capture_output=True, text=True, check=False, cwd=folder)
    assert linted.returncode == 0, linted.stdout
    warnings = (
        "error",
        "ignore::pytest.PytestAssertRewriteWarning",  # the process it comes from has imported libraries
        "ignore:`is_gradient_checkpointing`:FutureWarning",  # PEFT 0.21 on transformers 5.23
    )
    plain = ("-p", "no:cacheprovider", "-p", "no:schemathesis")  # which takes half a second to import
    words = ("-q", *(f"-W{one}" for one in warnings), *plain, str(folder))
    tested = preloaded().run("pytest", *words, env=os.environ, cwd=folder.parent)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    passed = re.search(r"(\d+) passed", tested.stdout)
    assert passed and int(passed[1]) >= at_least, tested.stdout


@pytest.mark.parametrize(
    "name",
    [
        "sentiment",
        "qa",
        "classification",
        "extraction",
        "generation",
        "similarity",
        "summarization",
        "translation",
    ],
)
def test_a_name_that_comes_with_the_hub_is_refused_even_where_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("hub.scaffold.write.distributions", list)
    monkeypatch.setattr("hub.scaffold.write.find_plugins", list)
    with pytest.raises(Conflict, match=f"distribution grafthub-{name}"):
        write_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_names_that_come_with_the_hub_are_those_of_its_plugins() -> None:
    projects = (Path(__file__).parents[2] / "plugins").glob("*/pyproject.toml")
    names = {tomllib.loads(path.read_text())["project"]["name"] for path in projects}
    assert names | {CORE} == BUILT_IN


@pytest.mark.parametrize("name", ["acme", "a.c-m_e"])
def test_a_name_of_an_installed_distribution_plugin_or_task_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    site = tmp_path / "site"
    info = site / "grafthub_a_c_m_e-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: grafthub-a-c-m-e\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hub.tasks.v1]\nacme = a_module\n")
    monkeypatch.syspath_prepend(site)
    with pytest.raises(Conflict, match="is taken"):
        write_plugin(name, tmp_path)
    with pytest.raises(Conflict, match="task 'routing'"):
        write_plugin("routing", tmp_path, tasks=("routing",))
