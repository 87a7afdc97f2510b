"""`hub bench` in this process, on a tiny base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hub.bases.cache import Bases
from hub.cli.main import app
from hub.config import find_home
from hub.errors import BadRequest, NotFound
from tests.support.plugins import Install, install, plugin_of

__all__ = ["install"]


def hub(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments])


@pytest.mark.slow
def test_every_shape_has_its_times_and_what_is_picked(
    tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # wide enough that no name is broken
    Bases(find_home()).pull(str(tiny_base_folder), "mine")
    options = ("mine", "--adapters", "3", "--rank", "2", "--targets", "qv", "--budget", "1")
    done = hub(*options, "--json")
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert found["note"] == ""
    assert found["adapter_bytes"] == 2 * 2 * 2 * (32 + 32) * 4  # layers, query and value, rank, widths, fp32
    assert found["slot_bytes"] >= found["adapter_bytes"]
    first = found["shapes"][0]
    assert (first["rows"], first["tokens"]) == (1, 16)
    assert {"onnx float32", "onnx int8", "torch float32"} <= first["ms"].keys() | found["refused"].keys()
    assert first["chosen"] in first["ms"].keys() - {"onnx int8"}
    shown = hub(*options)
    assert "mine on cpu: milliseconds a batch" in shown.stdout
    assert first["chosen"] in shown.stdout
    assert list((find_home() / "cache" / "engines").glob("tune-*.json")), "what was measured is kept"


def test_a_base_with_an_engine_of_a_plugin_leaves_no_choice(
    tiny_base_folder: Path, tmp_path: Path, install: Install
) -> None:
    base = Bases(find_home()).pull(str(tiny_base_folder), "mine")
    spec = f'EngineSpec("grams", "Counts.", "made:Grams", bases=({base.source!r},))'
    install(plugin_of(tmp_path, f"@hookimpl\ndef hub_engines():\n    yield {spec}\n"))
    done = hub("mine")
    assert isinstance(done.exception, BadRequest)
    assert "mine runs on the engine grams" in str(done.exception)


def test_a_base_that_is_not_here_is_named() -> None:
    done = hub("nothing")
    assert isinstance(done.exception, NotFound)
    assert "nothing" in str(done.exception)
