"""The pages of commands, settings and errors are what their scripts make of the code."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from docs import cli_reference, error_table, settings_table
from hub.api.hooks import PluginHooks, TaskHooks
from hub.config import Settings
from hub.scaffold.choices import KINDS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "script", [cli_reference, error_table, settings_table], ids=lambda each: each.__name__
)
def test_a_reference_is_what_its_script_makes(script: ModuleType) -> None:
    assert script.FILE.read_text(encoding="utf-8") == script.markdown(), f"run: python -m {script.__name__}"


def test_every_command_option_setting_and_error_is_explained() -> None:
    options = [
        record for _, command, context in cli_reference.commands() for record in records(command, context)
    ]
    assert len(options) > 150
    assert [names for names, about in options if not about] == []
    assert all(command.help for _, command, _ in cli_reference.commands())
    sections = [info.annotation for name, info in Settings.model_fields.items() if name != "home"]
    keys = [key for section in sections for key in section.model_fields.items()]
    assert [name for name, info in keys if not info.description] == []
    assert "|  |" not in error_table.markdown()


def test_every_hook_of_plugins_has_an_example_on_a_page() -> None:
    """The tests of each kind of plugin run the examples."""
    hooks = {name for hooks in (PluginHooks, TaskHooks) for name in vars(hooks) if name.startswith("hub_")}
    pages = [ROOT / "docs" / "plugins.md", *(ROOT / "docs" / "plugins").glob("*.md")]
    shown = set(re.findall(r"def (hub_\w+)\(", "".join(page.read_text(encoding="utf-8") for page in pages)))
    assert len(hooks) > 10
    assert sorted(hooks - shown) == []


def test_the_template_of_every_kind_of_plugin_is_named_on_a_page() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "plugins").glob("*.md"))
    shown = set(re.findall(r"--kind ([a-z-]+)", pages))
    assert shown == set(KINDS) - {"task"}


def records(command, context):
    return [found for param in command.get_params(context) if (found := param.get_help_record(context))]
