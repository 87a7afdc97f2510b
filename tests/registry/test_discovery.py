from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hub.errors import NotFound, PluginConflict
from hub.registry.discovery import find_plugins, pick_plugins

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
