"""Settings of a plugin: where they come from, what is refused, what is hidden."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.config import load_settings, restore_settings
from hub.errors import BadConfig
from hub.registry.host import Registry
from hub.registry.kinds import READERS
from hub.registry.settings import shown_settings
from tests.support.plugins import Install, write_page

WHERE = "in hub.toml or a HUB_\\* variable"


@pytest.fixture
def toml(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the plugin of docs/plugins/readers.md; return hub.toml of the working folder."""
    install(write_page("readers", tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub.toml"


def mailbox() -> tuple[Registry, str, str]:
    registry = Registry.load(settings=load_settings().plugins)
    [found] = [plugin for plugin in registry.plugins() if plugin.name == "mailbox"]
    return registry, found.state, found.reason


def test_hub_toml_and_variables_fill_the_model_and_variables_win(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml.write_text('[plugins.mailbox]\nroot = "/srv"\nfolders = ["inbox", "spam"]\n')
    monkeypatch.setenv("HUB_PLUGINS__MAILBOX__TOKEN", "s3cret")
    monkeypatch.setenv("HUB_PLUGINS__MAILBOX__FOLDERS", '["support"]')
    registry, state, reason = mailbox()
    assert (state, reason) == ("ok", "")
    settings = registry.extensions.get(READERS, "mbox").settings
    assert (settings.root, settings.folders) == (Path("/srv"), ["support"])
    assert settings.token.get_secret_value() == "s3cret"
    [plugin] = [one for one in registry.plugins() if one.name == "mailbox"]
    assert shown_settings(registry.settings_of(plugin)) == {
        "root": "/srv",
        "token": "**********",
        "folders": ["support"],
    }


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ("", "Setting 'plugins.mailbox.root' in hub.toml or a HUB_* variable: Field required."),
        ('root = "."\nrots = 1', "Setting 'plugins.mailbox.rots' in hub.toml"),
        ('root = "."\ntoken = 73519', "Setting 'plugins.mailbox.token' in hub.toml"),
        ('root = "."\nfolders = "73519"', "Setting 'plugins.mailbox.folders' in hub.toml"),
    ],
)
def test_a_missing_unknown_or_wrong_setting_is_named_without_its_value(
    toml: Path, section: str, reason: str
) -> None:
    toml.write_text(f"[plugins.mailbox]\n{section}\n")
    registry, state, found = mailbox()
    assert state == "broken"
    assert found.startswith(reason)
    assert "73519" not in found
    assert "mbox" not in registry.extensions.specs(READERS)
    assert "csv" in registry.extensions.specs(READERS)


def test_a_key_that_is_no_section_is_refused_with_those_there_are(toml: Path) -> None:
    toml.write_text('[plugins]\ndisabeld = ["x"]\n')
    with pytest.raises(
        BadConfig, match=r"disabeld is not a setting; it has disabled, prefer, .*, and a section"
    ):
        load_settings()


def test_a_name_with_other_signs_has_one_section_in_both_places(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml.write_text('[plugins."acme-x.y"]\na = 1\nb = 2\n')
    monkeypatch.setenv("HUB_PLUGINS__ACME_X_Y__B", "3")
    assert load_settings().plugins.of("acme-x.y") == {"a": 1, "b": "3"}


def test_settings_for_a_plugin_that_has_none_are_refused(install: Install, toml: Path) -> None:
    install("rival-csv")
    toml.write_text("[plugins.rival-csv]\nkey = 1\n")
    registry = Registry.load(settings=load_settings().plugins)
    [found] = [plugin for plugin in registry.plugins() if plugin.name == "rival-csv"]
    assert (found.state, found.reason) == (
        "broken",
        "It has no settings: remove the section [plugins.rival-csv].",
    )


def test_settings_survive_the_way_to_a_worker(toml: Path) -> None:
    toml.write_text('[plugins]\nprefer = ["mailbox"]\n[plugins.mailbox]\nroot = "/srv"\n')
    plugins = load_settings().plugins
    assert restore_settings(load_settings().model_dump_json()).plugins == plugins
    assert (plugins.prefer, plugins.of("mailbox")) == (("mailbox",), {"root": "/srv"})
