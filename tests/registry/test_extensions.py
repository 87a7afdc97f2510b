"""Who has a name that several plugins claim, and what is refused when a plugin is loaded."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hub.api import PluginHooks
from hub.config import PluginSettings
from hub.errors import BadPlugin, Conflict, NotFound, PluginConflict
from hub.registry.discovery import PluginStatus, pick_plugins
from hub.registry.host import Registry
from hub.registry.kinds import KINDS, READERS, RENDERERS
from tests.support.plugins import Install, plugin_of, write_page


def status(registry: Registry, distribution: str) -> PluginStatus:
    [found] = [plugin for plugin in registry.plugins() if plugin.distribution == distribution]
    return found


def test_what_is_built_in_comes_by_the_entry_point_of_the_hubs_own_distribution() -> None:
    own = status(Registry.load(), "grafthub")
    assert (own.name, own.entry_point, own.state, own.group) == ("hub", "hub.builtin", "ok", "hub.plugins.v1")
    assert {"reader csv", "reader po"} <= set(own.provides)


def test_every_kind_has_a_hook_and_something_built_in() -> None:
    hooks = {name for name in vars(PluginHooks) if name.startswith("hub_")}
    assert {kind.hook for kind in KINDS} == hooks
    registry = Registry.load()
    assert [kind.word for kind in KINDS if not registry.extensions.specs(kind)] == []


def test_everything_that_is_built_in_can_be_built() -> None:
    registry = Registry.load()
    for kind in KINDS:
        for name in registry.extensions.specs(kind):
            assert isinstance(registry.extensions.get(kind, name), kind.base)


def test_of_two_third_parties_with_one_suffix_neither_has_it_until_one_is_preferred(
    install: Install, tmp_path: Path
) -> None:
    install(write_page("readers", tmp_path), "rival-csv")
    settings = PluginSettings.model_validate({"mailbox": {"root": "."}})
    registry = Registry.load(settings=settings)
    conflict = status(registry, "acme-mailbox")
    assert conflict.state == "conflict"
    assert (
        "Reader '.mbox' is provided by the plugins 'mailbox' (acme-mailbox) and 'rival-csv'"
        in conflict.reason
    )
    assert "run: hub plugins disable acme-mailbox:mailbox or hub plugins disable rival-csv:rival-csv" in (
        conflict.reason
    )
    with pytest.raises(PluginConflict, match=r"Reader '\.mbox'"):
        registry.extensions.get(READERS, ".mbox")
    assert "mbox" in registry.extensions.specs(READERS)
    preferred = Registry.load(settings=settings.model_copy(update={"prefer": ("mailbox",)}))
    assert preferred.extensions.keys(READERS)[".mbox"].name == "mbox"
    assert status(preferred, "acme-mailbox").state == "ok"


def test_the_built_in_reader_wins_unless_another_is_preferred(install: Install) -> None:
    install("rival-csv")
    registry = Registry.load()
    assert registry.extensions.keys(READERS)[".csv"].name == "csv"
    assert registry.extensions.keys(READERS)[".acsv"].name == "rival-csv"
    lost = status(registry, "rival-csv")
    assert lost.state == "conflict"
    assert "Reader '.csv' is built in, and also provided by 'rival-csv' (rival-csv)" in lost.reason
    assert "add 'rival-csv' to plugins.prefer" in lost.reason
    assert status(registry, "grafthub").state == "ok"
    preferred = Registry.load(settings=PluginSettings(prefer=("rival-csv",)))
    assert preferred.extensions.keys(READERS)[".csv"].name == "rival-csv"
    assert preferred.extensions.specs(READERS)["csv"].name == "csv"
    assert [plugin.state for plugin in preferred.plugins() if plugin.name in ("hub", "rival-csv")] == [
        "ok",
        "ok",
    ]


def test_the_hubs_own_plugin_is_neither_disabled_nor_uninstalled() -> None:
    assert "csv" in Registry.load({"hub", "grafthub", "grafthub:hub"}).extensions.specs(READERS)
    for name in ("hub", "grafthub", "grafthub:hub"):
        with pytest.raises(Conflict, match="part of GraftHub itself"):
            pick_plugins(name)


def test_an_unknown_key_names_those_there_are() -> None:
    with pytest.raises(NotFound, match=r"No reader named 'xls'. Available: conll, csv"):
        Registry.load().extensions.get(READERS, "xls")


BROKEN_SPECS = {
    "ReaderSpec('a b', 'Reads.', 'm:R', ('.a',))": r"'a b' is not a valid reader name",
    "ReaderSpec('a', ' ', 'm:R', ('.a',))": r"Reader 'a' has no summary",
    "ReaderSpec('a', 'Reads.', 'm.R', ('.a',))": r"factory 'm\.R'; write it as 'package\.module:Name'",
    "ReaderSpec('a', 'Reads.', 'm:R', '.a')": r"suffixes are '\.a'; write a tuple",
    "ReaderSpec('a', 'Reads.', 'm:R', ('.A',))": r"in lower case",
    "ReaderSpec('a', 'Reads.', 'm:R', ('.gz',))": r"end in \.gz are unpacked",
    "ReaderSpec('a', 'Reads.', 'm:R', schemes=('file',))": r"scheme 'file' names places of files",
    "ReaderSpec('a', 'Reads.', 'm:R', ('.a', '.a'))": r"yields reader '\.a' twice",
    "'csv'": r"hub_readers yields 'csv', which is not a ReaderSpec",
}


@pytest.mark.parametrize("spec", BROKEN_SPECS)
def test_a_spec_that_is_not_well_formed_makes_the_plugin_broken(
    install: Install, tmp_path: Path, spec: str
) -> None:
    install(plugin_of(tmp_path, f"@hookimpl\ndef hub_readers():\n    yield {spec}\n"))
    broken = status(Registry.load(), "made")
    assert (broken.state, broken.provides) == ("broken", ())
    assert re.search(BROKEN_SPECS[spec], broken.reason), broken.reason


BROKEN_CLASSES = {
    "no_module:R": r"no_module:R cannot be loaded: ModuleNotFoundError",
    "made:Plain": r"is not a subclass of hub\.api\.Reader",
    "made:Bare": r"does not define read, which reads a file",
    "made:Raises": r"cannot be built: SystemExit",
}
CLASSES = """
class Plain: pass
class Bare(Reader): pass
class Raises(Reader):
    def __init__(self, settings): raise SystemExit(3)
    def read(self, name, stream, options): ...
"""


@pytest.mark.parametrize("factory", BROKEN_CLASSES)
def test_a_class_that_cannot_be_used_breaks_the_plugin_when_it_is_first_needed(
    install: Install, tmp_path: Path, factory: str
) -> None:
    hook = f"@hookimpl\ndef hub_readers():\n    yield ReaderSpec('made', 'Reads.', {factory!r}, ('.made',))\n"
    install(plugin_of(tmp_path, hook + CLASSES))
    registry = Registry.load()
    assert status(registry, "made").state == "ok"
    for _ in range(2):
        with pytest.raises(BadPlugin, match=BROKEN_CLASSES[factory]):
            registry.extensions.get(READERS, ".made")
    assert status(registry, "made").state == "broken"
    assert ".made" not in registry.extensions.keys(READERS)


def test_a_hook_of_the_other_group_is_refused_with_the_group(install: Install, tmp_path: Path) -> None:
    hook = "@hookimpl\ndef hub_readers():\n    yield ReaderSpec('made', 'Reads.', 'made:R', ('.made',))\n"
    install(plugin_of(tmp_path, hook, group="hub.tasks.v1"))
    assert "implements the hook 'hub_readers': declare it in 'hub.plugins.v1'" in (
        status(Registry.load(), "made").reason
    )


LISTING = """
import json, sys
from hub.registry.host import Registry
registry = Registry.load()
from hub.registry.kinds import KINDS
for kind in KINDS:
    registry.extensions.keys(kind)
json.dump(sorted(sys.modules), sys.stdout)
"""


def test_listing_imports_no_class_and_no_heavy_library(install: Install, tmp_path: Path) -> None:
    site = install(write_page("readers", tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", LISTING],
        env={"PYTHONPATH": f"{site}:{':'.join(filter(None, sys.path))}"},
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(json.loads(done.stdout))
    assert "acme_mailbox.hooks" in modules
    assert "acme_mailbox.reader" not in modules
    assert not modules & {"torch", "transformers", "peft", "onnxruntime", "bentoml", "datasets", "fastapi"}


def test_a_renderer_is_found_by_its_task(install: Install, tmp_path: Path) -> None:
    """The example of docs/plugins/renderers.md, by which tests/console shows answers."""
    install(write_page("renderers", tmp_path))
    extensions = Registry.load().extensions
    stars = extensions.get(RENDERERS, "task:sentiment")
    answer = {"label": "positive", "score": 0.9}
    assert stars.render({"text": "<b>fine</b>"}, answer) == "<p>&lt;b&gt;fine&lt;/b&gt;: 5 stars</p>"
    assert "task:qa" not in extensions.keys(RENDERERS)
    assert (
        extensions.get(RENDERERS, "json").render({}, {"a": "<"})
        == "<pre>{\n  &quot;a&quot;: &quot;&lt;&quot;\n}</pre>"
    )
