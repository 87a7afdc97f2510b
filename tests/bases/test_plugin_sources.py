"""Sources of bases of a third party: the example of docs/plugins/base-sources.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.bases.sources import own_source, parse_source
from hub.cli.context import Context
from hub.errors import BadPlugin, BadRequest, InvalidName, NotFound
from hub.registry.opening import use_plugins
from tests.support.plugins import Install, install, plugin_of, write_page
from tests.support.tiny import tiny_encoder

__all__ = ["install"]


def test_a_base_is_pulled_from_the_source_of_a_plugin(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = tiny_encoder(tmp_path / "shelf" / "our-encoder")
    monkeypatch.setenv("HUB_PLUGINS__SHELF__ROOT", str(tmp_path / "shelf"))
    install(write_page("base-sources", tmp_path))
    bases = Context.load().bases
    base = bases.pull("shelf:our-encoder")
    assert (base.name, base.source) == ("our-encoder", "shelf:our-encoder")
    assert base.fingerprint == origin.fingerprint
    assert bases.pull("shelf:our-encoder") == base
    with pytest.raises(NotFound, match="There is no shelf:other"):
        bases.pull("shelf:other")
    assert [one.name for one in bases.list()] == ["our-encoder"]
    with pytest.raises(BadRequest, match="is not a base source"):
        bases.pull("elsewhere:model")


def test_the_hub_and_wheels_come_by_the_same_hook_as_they_were(tmp_path: Path) -> None:
    use_plugins()
    for text in ("hf:Org/Some_Model", "pypi:My-Dist==1.0:pkg/model"):
        found, own = parse_source(text), own_source(text)
        assert type(found) is not type(own)
        assert (found.name, found.spec) == (own.name, own.spec)
    with pytest.raises(BadRequest, match="is not hf:repo@revision"):
        parse_source("hf:../model")


def test_a_source_that_fails_or_names_no_base_is_refused(install: Install, tmp_path: Path) -> None:
    code = """
@hookimpl
def hub_base_sources():
    yield BaseSourceSpec("bad", "Fails.", "made:Bad", ("bad",))

class Bad(BaseSource):
    def base_name(self, location):
        return location.removeprefix("bad:")

    def fetch(self, location, folder, progress):
        raise RuntimeError("no network")
"""
    install(plugin_of(tmp_path, code))
    bases = Context.load().bases
    with pytest.raises(BadPlugin, match=r"Base source 'bad' failed in fetch\(\): RuntimeError: no network"):
        bases.pull("bad:model")
    with pytest.raises(InvalidName):
        bases.pull("bad:../../model")
    assert bases.list() == []
