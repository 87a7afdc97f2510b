"""Entry point of the `hub` command; heavy libraries are imported by the command that needs them."""

from __future__ import annotations

import errno
import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

import hub
from hub.cli import (
    adapters,
    base,
    chat,
    console,
    data,
    deploy,
    deployments,
    doctor,
    evaluate,
    explain,
    export,
    feedback,
    init,
    jobs,
    keys,
    plugin_install,
    plugin_reload,
    plugins,
    predict,
    recipe,
    report,
    serve,
    status,
    top,
    train,
    transfer,
    tune,
)
from hub.cli.plugin_commands import PluginGroup, without_plugins
from hub.cli.quickstart import quickstart
from hub.cli.screen.output import fail
from hub.cli.screen.wait import Waiting
from hub.cli.threads import wait_asleep
from hub.errors import HostFault, HubError

__all__ = ["app", "main"]

app = typer.Typer(
    name="hub",
    cls=PluginGroup,
    help="Train small adapters, put them live on one resident base model, swap them under load.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

COMMANDS = (
    init.init,
    train.train,
    tune.tune,
    evaluate.evaluate,
    explain.explain,
    report.report,
    export.export,
    serve.serve,
    deploy.deploy,
    deploy.promote,
    deploy.rollback,
    deploy.undeploy,
    deployments.deployments,
    predict.predict,
    chat.chat,
    console.console,
    status.status,
    top.top,
    transfer.push,
    transfer.pull,
    transfer.backup,
    transfer.restore,
    transfer.gc,
    doctor.doctor,
    quickstart.quickstart,
)
CLASSES = {  # of the commands whose options typer cannot parse
    train.train: train.TrainCommand,
    deploy.deploy: Waiting,
    deploy.promote: Waiting,
    deploy.rollback: Waiting,
}
GROUPS = {
    "base": base.commands,
    "plugins": plugins.commands,
    "recipe": recipe.commands,
    "data": data.commands,
    "adapters": adapters.commands,
    "feedback": feedback.commands,
    "keys": keys.commands,
    "jobs": jobs.commands,
}

plugin_install.add_to(plugins.commands)
plugin_reload.add_to(plugins.commands)
for command in COMMANDS:
    app.command(cls=CLASSES.get(command))(command)
for group, commands in GROUPS.items():
    app.add_typer(commands, name=group)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hub {hub.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    no_plugins: Annotated[
        bool,
        typer.Option(
            "--no-plugins",
            callback=without_plugins,
            is_eager=True,
            help="Load no plugin of a third party.",
        ),
    ] = False,
) -> None:
    """Options that come before the command."""


def main() -> None:
    """Run the command line; an expected error prints one line and exits with status 1."""
    wait_asleep()
    _open_closed_streams()
    if isinstance(sys.stdout, TextIOWrapper):  # what its encoding lacks is written as an escape, as on stderr
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except HubError as error:
        fail(error)
    except OSError as error:
        fail(HostFault.of(error))
    except Exception as error:
        if not is_disk_full(error):
            raise
        fail(
            HostFault(
                "No space left on device. Free space on the disk of the state folder (HUB_HOME) or of the "
                "temporary files, and run the command again."
            )
        )


def _open_closed_streams() -> None:
    """Make a standard stream that the caller closed one of nothing: Python has None there.

    So no other file gets its number, in this process and in those that it starts.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8"))


# torch's zip writer reports the expected position of a short write instead of the reason.
_FULL = (
    "No space left on device",
    "os error 28",
    "disk is full",
    "PytorchStreamWriter failed writing",
    "unexpected pos",
)


def is_disk_full(error: BaseException) -> bool:
    """Return whether a library's error, or a cause of it, is that of a full disk.

    safetensors (Rust), torch (C++) and others raise their own error types with the reason in the message.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    cause = error.__cause__ or error.__context__
    return any(text in str(error) for text in _FULL) or (cause is not None and is_disk_full(cause))
