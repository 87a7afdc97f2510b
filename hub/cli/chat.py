"""`hub chat`: a chat with a deployment in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.deploy import SERVER
from hub.cli.screen.output import escape, say, write_piece
from hub.errors import BadRequest, HubError

if TYPE_CHECKING:
    from hub.client.protocol import Client

__all__ = ["chat"]

Message = dict[str, str]
HELP = "[dim]/reset starts a new chat, /quit or Ctrl-D ends it, Ctrl-C stops an answer.[/]"


def chat(
    deployment: Annotated[str, typer.Argument(help="A deployment whose task takes `messages`.")],
    system: Annotated[str | None, typer.Option(help="A system prompt.")] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Sampling temperature; 0: always the most likely token.", min=0, max=5),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Maximum length of an answer, in tokens.", min=1)
    ] = None,
    server: Annotated[str | None, SERVER] = None,
) -> None:
    """Chat with a deployment; answers are printed while they are generated."""
    options = {"temperature": temperature, "max_new_tokens": max_new_tokens}
    settings = {name: value for name, value in options.items() if value is not None}
    first: list[Message] = [{"role": "system", "content": system}] if system else []
    with Context.load().client(server) as client:
        _check_task(client, deployment)
        say(HELP)
        _chat(client, deployment, first, settings)


def _check_task(client: Client, deployment: str) -> None:
    described = client.deployment(deployment.partition("@")[0])
    if "messages" not in described["request"].get("properties", {}):
        raise BadRequest(
            f"The task {described['task']!r} of {deployment!r} takes no `messages`. Use `hub predict`."
        )


def _chat(client: Client, deployment: str, first: list[Message], settings: dict[str, Any]) -> None:
    messages = list(first)
    while (line := _read_line()) is not None:
        if line == "/quit":
            return
        if line == "/reset":
            messages = list(first)
        elif line:
            asked: list[Message] = [*messages, {"role": "user", "content": line}]
            answer = _answer(client, deployment, {"messages": asked, **settings})
            if answer is not None:
                messages = [*asked, {"role": "assistant", "content": answer}]


def _read_line() -> str | None:
    try:
        return input("> ").strip()
    except (EOFError, KeyboardInterrupt):
        say("")
        return None


def _answer(client: Client, deployment: str, request: dict[str, Any]) -> str | None:
    """Print an answer while it is generated, and return it; None if it failed or was stopped."""
    text = ""
    try:
        for piece in client.stream(deployment, request):
            if isinstance(piece, str):
                write_piece(piece)
                text += piece
            elif not text:  # a task that does not stream
                text = str(piece["response"].get("text", ""))
                write_piece(text)
    except KeyboardInterrupt:
        say(" [dim](stopped)[/]")
        return None
    except HubError as error:
        say(f"\n[bold red]{escape(error.code)}[/]: {escape(error)}")
        return None
    say("" if text.strip() else "[dim](an empty answer, which is no turn)[/]")
    return text if text.strip() else None
