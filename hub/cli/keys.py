"""`hub keys`: creates keys for a server, and hashes them for its settings."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hub.cli.screen.output import JSON_FLAG, print_json, say
from hub.errors import BadConfig

__all__ = ["commands"]

commands = typer.Typer(
    help="Create keys for a server, and their hashes for its settings.", no_args_is_help=True
)


@commands.command()
def new(as_json: Annotated[bool, JSON_FLAG] = False) -> None:
    """Print a new random key and its hash; neither is stored."""
    import secrets

    from hub.keys import hash_key

    key = secrets.token_urlsafe(32)
    if as_json:
        print_json({"key": key, "hash": hash_key(key)})
        return
    say(f"key   {key}   for the client, which sends it as 'Authorization: Bearer KEY'")
    say(f"hash  {hash_key(key)}   for serve.api_keys or serve.admin_key")


@commands.command(name="hash")
def hash_(as_json: Annotated[bool, JSON_FLAG] = False) -> None:
    """Read a key from standard input and print the hash for serve.api_keys or serve.admin_key."""
    import getpass

    from hub.keys import hash_key

    key = getpass.getpass("Key: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    try:
        hashed = hash_key(key)
    except ValueError as error:
        raise BadConfig(f"This key is invalid: {error}.") from None
    if as_json:
        print_json({"hash": hashed})
    else:
        typer.echo(hashed)
