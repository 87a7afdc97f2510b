from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hub.config import Settings
from hub.errors import BadPlugin, NotFound, PluginConflict
from hub.registry.discovery import find_plugins, pick_plugins
from hub.registry.host import Registry

Install = Callable[..., Path]


def test_plugins_are_found_with_their_distribution(install: Install) -> None:
    install("acme-tickets", "broken-exit")
    found = {plugin.id: plugin for plugin in find_plugins()}
    assert found["acme-tickets:tickets"].version == "1.0"
    assert found["broken-exit:broken-exit"].entry_point.value == "broken_exit"


@pytest.mark.parametrize("name", ["tickets", "acme-tickets", "acme_tickets", "acme-tickets:tickets"])
def test_a_plugin_is_picked_by_its_name_its_distribution_or_its_id(install: Install, name: str) -> None:
    install("acme-tickets", "rival-tickets")
    assert [plugin.id for plugin in pick_plugins(name)] == ["acme-tickets:tickets"]


def test_a_name_that_two_distributions_use_has_to_be_written_out(install: Install) -> None:
    install("acme-tickets", "acme-tickets-fork")
    with pytest.raises(PluginConflict, match=r"acme-tickets:tickets or acme-tickets-fork:tickets"):
        pick_plugins("tickets")
    assert [plugin.id for plugin in pick_plugins("acme-tickets-fork")] == ["acme-tickets-fork:tickets"]


def test_an_unknown_name_lists_the_known_ones(install: Install) -> None:
    install("acme-tickets")
    with pytest.raises(NotFound, match=r"No plugin named 'nothing'.*tickets"):
        pick_plugins("nothing")


def damaged(site: Path, entry_points: str) -> None:
    metadata = site / "damaged-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: damaged\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points, encoding="latin-1")


@pytest.mark.parametrize("value", ["no such:::thing", "", "acme tickets", ":object"])
def test_a_plugin_whose_entry_point_is_no_reference_is_broken_and_the_others_work(
    install: Install, tmp_path: Path, value: str
) -> None:
    damaged(install("acme-tickets"), f"[hub.plugins.v1]\ndamaged = {value}\n")
    listed = {one.id: one.state for one in Registry.listed(Settings(home=tmp_path / "home"))}
    assert listed["acme-tickets:tickets"] == listed["damaged:damaged"] == "unchecked"
    loaded = {one.id: one for one in Registry.load(()).plugins()}
    assert loaded["acme-tickets:tickets"].state == "ok"
    assert loaded["damaged:damaged"].state == "broken"
    assert "write 'package.module'" in loaded["damaged:damaged"].reason


@pytest.mark.parametrize("line", ["a line without a value", "caf\xe9 = caf\xe9"])
def test_metadata_that_python_cannot_read_are_named(install: Install, line: str) -> None:
    damaged(install("acme-tickets"), f"[something.else]\n{line}\n")
    with pytest.raises(BadPlugin, match=r"entry_points\.txt of damaged cannot be read"):
        find_plugins()
