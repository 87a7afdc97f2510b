"""The pages of commands, settings and errors are what their scripts make of the code."""

from __future__ import annotations

from types import ModuleType

import pytest

from docs import cli_reference, error_table, settings_table
from hub.config import Settings


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


def records(command, context):
    return [found for param in command.get_params(context) if (found := param.get_help_record(context))]
