"""An engine of a third party: the example of docs/plugins/engines.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from hub.api import EngineRequest
from hub.config import load_settings
from hub.engine.peft.patterns import NO_LAYERS
from hub.errors import BadConfig, BadPlugin, UnsupportedAdapter
from hub.registry.host import Registry
from hub.registry.opening import check_engine, engine_for, open_engine
from hub.serving.residency.servable import servable_on
from hub.store.change import Deploy
from hub.store.content.weights import read_adapter
from hub.store.records import Version
from tests.support.homes import FakeHome, add_version, plain_adapter
from tests.support.plugins import Install, install, plugin_of, write_page

__all__ = ["install"]


def head_only(home: FakeHome, folder: Path, seed: int) -> Version:
    """Store an adapter that trained its head alone."""
    plain_adapter(folder, seed=seed)
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    save_file({key: value for key, value in load_file(weights).items() if "lora" not in key}, weights)
    config.write_text(json.dumps({**json.loads(config.read_text()), "target_modules": NO_LAYERS}))
    return add_version(home.store, home.base, "mood", folder)


def test_a_server_answers_on_the_engine_of_a_plugin(
    install: Install, tmp_path: Path, home: FakeHome, add, start
) -> None:
    install(write_page("engines", tmp_path))
    first, second = (head_only(home, tmp_path / str(seed), seed) for seed in (1, 2))
    hub = start(engine="bag")
    hub.runtime.deploy("mood", Deploy(version=str(first.ref), by="t"))
    before = hub.ask("mood", "the service was slow", "good")
    hub.runtime.deploy("mood", Deploy(version=str(second.ref), by="t"))
    after = hub.ask("mood", "the service was slow", "good")
    assert hub.base_worker.engine.info().name == "bag"
    assert [one.score for one in before.items] != [one.score for one in after.items]
    with pytest.raises(UnsupportedAdapter, match="The engine bag scores labels of texts, by a head alone"):
        hub.runtime.deploy("mood", Deploy(version=str(add().ref), by="t"))


def test_an_unknown_engine_lists_those_there_are(home, install: Install, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"Setting 'serve\.engine': No engine named 'bag'. Available: auto"):
        check_engine(load_settings(flags={"serve": {"engine": "bag"}}))
    install(write_page("engines", tmp_path))
    check_engine(load_settings(flags={"serve": {"engine": "bag"}}))
    with pytest.raises(BadConfig, match=r"serve\.engine: No engine named 'gpu2'. Available: auto, bag, fake"):
        open_engine("gpu2", EngineRequest(home.base, slots=2))


@pytest.mark.parametrize(
    ("built", "reason"), [("1 / 0", r"failed in build\(\)"), ("object()", r"has no check\(\)")]
)
def test_an_engine_that_cannot_be_built_is_named(
    install: Install, tmp_path: Path, home, built: str, reason: str
) -> None:
    code = f"""
@hookimpl
def hub_engines():
    yield EngineSpec("bad", "Fails.", "made:Bad")

class Bad(EngineBuilder):
    def build(self, request):
        return {built}
"""
    install(plugin_of(tmp_path, code))
    with pytest.raises(BadPlugin, match=f"Engine 'bad' {reason}"):
        open_engine("bad", EngineRequest(home.base, slots=2))


def test_bases_of_a_plugin_run_on_its_engine_and_others_on_that_of_the_settings(
    install: Install, tmp_path: Path
) -> None:
    code = """
@hookimpl
def hub_engines():
    yield EngineSpec("grams", "Counts.", "made:Grams", bases=("grams:*",))
"""
    install(plugin_of(tmp_path, code))
    assert engine_for("grams:4096", "torch") == "grams"
    assert engine_for("hf:org/grams:4096", "torch") == "torch"


def test_an_adapter_is_checked_on_the_engine_that_will_serve_it(
    install: Install, tmp_path: Path, home: FakeHome
) -> None:
    code = f"""
@hookimpl
def hub_engines():
    yield EngineSpec("grams", "Counts.", "made:Grams", bases=({home.base.source!r},))

class Engine:
    def check(self, weights):
        raise UnsupportedAdapter("grams have no layers.")
    write = clear = run = packs = streams = settle = info = check
    def close(self):
        pass

class Grams(EngineBuilder):
    def build(self, request):
        return Engine()
"""
    version = home.add("mood")
    adapter, serving = read_adapter(home.store.fetch(version)), version.manifest.serving
    check = servable_on(home.store.bases)
    check(adapter, serving)  # torch can serve it
    install(plugin_of(tmp_path, code))
    with pytest.raises(UnsupportedAdapter, match="grams have no layers"):
        check(adapter, serving)


def test_an_engine_for_every_base_is_refused(install: Install, tmp_path: Path) -> None:
    code = """
@hookimpl
def hub_engines():
    yield EngineSpec("all", "Counts.", "made:All", bases=("*",))
"""
    install(plugin_of(tmp_path, code))
    [made] = [plugin for plugin in Registry.load().plugins() if plugin.name == "made"]
    assert (made.state, "bases are ('*',)" in made.reason) == ("broken", True)
