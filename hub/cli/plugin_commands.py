"""Commands that plugins provide; nothing of a plugin is imported for the commands that are known."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from typer.core import TyperGroup

if TYPE_CHECKING:
    from hub.api import Command
    from hub.registry.extensions import Extensions

__all__ = ["PluginGroup", "without_plugins"]

_VARIABLE = "HUB_PLUGINS__POLICY"


def without_plugins(wanted: bool) -> None:
    """Load no plugin but those that come with the hub, in this process."""
    if wanted:
        os.environ[_VARIABLE] = "none"  # also for the processes that the command starts


class PluginGroup(TyperGroup):
    """The commands of `hub`, and those that come by the hook of plugins; only the hub's own are listed."""

    def list_commands(self, ctx: Any) -> list[str]:
        from hub.registry.kinds import COMMANDS

        return [*super().list_commands(ctx), *sorted(_own().specs(COMMANDS))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name) or _find(cmd_name)


def _own() -> Extensions:
    """Return the extensions of the hub's own plugin; imports no other."""
    from hub.registry.host import Registry

    return Registry.of_hub().extensions


def _find(name: str) -> Any:
    from hub.registry.active import activate
    from hub.registry.kinds import COMMANDS

    extensions = _own()
    if name not in extensions.specs(COMMANDS):
        from hub.config import load_settings
        from hub.registry.host import Registry

        extensions = activate(Registry.of(load_settings())).extensions
    if not extensions.claimed(COMMANDS, name):
        return None
    return _built(name, extensions.get(COMMANDS, name))


def _built(name: str, command: Command[Any]) -> Any:
    from typer.main import get_command

    from hub.registry.kinds import COMMANDS
    from hub.registry.loaded import extension_call

    with extension_call(COMMANDS.word, name, "app()"):
        built = get_command(command.app())
    built.name = name
    return built
