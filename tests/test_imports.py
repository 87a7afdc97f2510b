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
    probe = f"import atexit, sys\natexit.register(lambda: sys.stderr.write(' '.join(sys.modules)))\n{code}"
    command = [sys.executable, "-c", probe, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_the_probe_sees_what_is_loaded() -> None:
    assert "sqlalchemy" in loaded_by("import hub.store.store")


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_loads_no_heavy_library(module: str) -> None:
    assert loaded_by(f"import {module}") & HEAVY == set()


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
