"""What may be imported without loading a library that takes seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "accelerate",
    "bentoml",
    "datasets",
    "onnx",
    "onnxruntime",
    "pandas",
    "peft",
    "sacrebleu",
    "sklearn",
    "torch",
    "transformers",
}
LIGHT = (
    "hub.api",
    "hub.config",
    "hub.bases.cache",
    "hub.bases.gguf",
    "hub.bases.hub_download",
    "hub.serving.residency.servable",
    "hub.export.export",
    "hub.store.store",
    "hub.registry.host",
    "hub.engine.protocol",
    "hub.engine.slots.table",
    "hub.engine.peft.format",
    "hub.engine.peft.load",
    "hub.recipe.recipe",
)


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Return the top-level modules loaded in a fresh process after `code`."""
    probe = f"import atexit\natexit.register(lambda: sys.stderr.write(' '.join(sys.modules)))\n{code}"
    return {name.partition(".")[0] for name in run(probe, *arguments).stderr.split()}


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import sys\n{code}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True)


def test_the_probe_sees_what_is_loaded() -> None:
    assert "sqlalchemy" in loaded_by("import hub.store.store")


@pytest.fixture(scope="module")
def first_loaded_by() -> dict[str, set[str]]:
    """What each light module loads that those before it have not; all in one fresh process."""
    code = "import importlib\nfor name in sys.argv[1:]: importlib.import_module(name); print(*sys.modules)"
    printed = run(code, *LIGHT).stdout.splitlines()
    after = [{name.partition(".")[0] for name in line.split()} for line in printed]
    return {name: new - old for name, old, new in zip(LIGHT, [set(), *after], after, strict=False)}


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_loads_no_heavy_library(module: str, first_loaded_by: dict[str, set[str]]) -> None:
    assert first_loaded_by[module] & HEAVY == set()


def test_a_tokenizer_loads_without_the_models() -> None:
    assert loaded_by("import hub.engine.tokenizer") & {"accelerate", "peft", "scipy", "sklearn"} == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("base", "list"),
        ("adapters", "list"),
        ("plugins", "list"),
        ("status",),
        ("deployments",),
        ("train", "--help"),
        ("export", "--help"),
    ],
)
def test_a_command_that_only_reads_loads_no_heavy_library(arguments: tuple[str, ...]) -> None:
    assert loaded_by("from hub.cli.main import main; main()", *arguments) & HEAVY == set()
