"""Wheels of the hub and its plugins, installed into an environment where nothing else is ours."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Hub
from tests.support.environment import fresh_environment
from tests.support.wheels import build_wheels

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.installs]

ROOT = Path(__file__).parents[2]
PLUGINS = (
    "classification",
    "extraction",
    "generation",
    "image-classification",
    "qa",
    "sentiment",
    "similarity",
    "summarization",
    "translation",
)


def copied(project: Path, copy: Path) -> Path:
    """Copy what the wheel of a project is built from: setuptools writes into the folder that it builds."""
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "hub", "src"):
        source = project / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif source.exists():
            shutil.copy(source, copy)
    return copy


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with our wheels; of the tests' own it sees everything but the hub."""
    folder = tmp_path_factory.mktemp("wheels")
    projects = {"hub": ROOT, **{name: ROOT / "plugins" / name for name in PLUGINS}}
    copies = [copied(project, folder / name) for name, project in projects.items()]
    wheels = build_wheels(folder / "dist", copies)
    made = fresh_environment(folder / "env")
    install = [made, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", *wheels.values()]
    subprocess.run(install, check=True, capture_output=True)
    return made


@pytest.fixture
def installed(python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.chdir(tmp_path)  # the working folder is on `sys.path`
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return Hub(tmp_path / "hub-home", str(python), forked=False)  # what forks has the hub of the tests


def test_the_installed_hub_is_the_wheel_and_finds_the_plugins(installed: Hub, python: Path) -> None:
    code = "import hub, grafthub_sentiment; print(hub.__file__); print(grafthub_sentiment.__file__)"
    where = subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True, cwd=installed.home.parent
    )
    assert [Path(line).is_relative_to(python.parents[1]) for line in where.stdout.split()] == [True, True]
    found = {plugin["name"]: plugin["state"] for plugin in installed.json("plugins", "list")}
    assert found == dict.fromkeys([*PLUGINS, "hub"], "ok")


def test_it_trains_and_serves_from_its_own_files(installed: Hub, tmp_path: Path) -> None:
    """Recipes, reports, the page at / and the migrations come out of the wheel."""
    from tests.support.tiny_bases import tiny_encoder

    base = tiny_encoder(tmp_path / "tiny")
    installed.run("init", str(tmp_path / "workspace"))
    settings = (f"base={base.path}", "train.epochs=1", "evaluate.int8=false")
    options = [part for setting in settings for part in ("--set", setting)]
    trained = installed.json(
        "train", str(tmp_path / "workspace" / "adapters" / "example"), "--deploy", *options
    )
    assert trained["version"] == "example@1"
    assert "<svg" in Path(trained["report"]).read_text(encoding="utf-8")
    with installed.serving() as client:
        assert client.get("/").status_code == client.get("/docs.json").status_code == 200
        answer = client.post("/v1/tasks/classification", json={"text": "I was charged twice"})
        assert answer.headers["x-hub-version"] == "example@1"
