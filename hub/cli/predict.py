"""`hub predict`: sends one request, or one for each row of a file; or answers whole data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.deploy import SERVER
from hub.cli.reading import COLUMN, DELIMITER, ENCODING, HEADER, file_or_text, reading
from hub.cli.screen.output import JSON_FLAG, escape, print_json, say, write_piece
from hub.data.read.image_cells import takes_file
from hub.errors import BadRequest

if TYPE_CHECKING:
    from hub.client.protocol import Client

__all__ = ["predict"]


def predict(  # noqa: PLR0913, PLR0917 - a command's options
    deployment: Annotated[
        str,
        typer.Argument(help="A deployment, or a version of it: NAME@N; with --data, several with commas."),
    ],
    text: Annotated[
        str | None, typer.Argument(help="Text for the first text field of the task's request.")
    ] = None,
    body: Annotated[
        str | None,
        typer.Option("--input", help='All fields as JSON: \'{"question": "...", "context": "..."}\'.'),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="A CSV, TSV, JSONL or Parquet file: one request for each row.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="With --file: the file to write (csv, jsonl, parquet)."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A bulk job: a file, a folder or a pattern of Parquet, CSV, TSV or JSONL files, also on S3.",
        ),
    ] = None,
    folder: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="URL", help="With --data: the folder for the answers; resumes its job."
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option("--format", help="With --data: parquet, csv, tsv or jsonl; default: as each file has."),
    ] = "",
    on: Annotated[str, typer.Option(help="With --data: local, or ray.")] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="With --on ray: processes with an engine each; default: 2.")
    ] = None,
    columns: Annotated[list[str] | None, COLUMN] = None,
    delimiter: Annotated[str | None, DELIMITER] = None,
    header: Annotated[bool | None, HEADER] = None,
    encoding: Annotated[str | None, ENCODING] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print the text of one request while it is generated.")
    ] = False,
    server: Annotated[str | None, SERVER] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Send a deployment one request, or one for every row of a file; without a server, run it here.

    A file is read with the settings of the version's training data; options override them. --data and --out
    answer any number of rows without a server, by several deployments in one pass; a job that was stopped is
    resumed by the same command.
    """
    if sum(given is not None for given in (text, body, file, data)) != 1:
        raise BadRequest(
            "Give one of: a TEXT, --input JSON, --file FILE with -o OUTPUT, or --data URL with --out URL."
        )
    if (data is None) != (folder is None):
        raise BadRequest("--data and --out need each other: the rows, and the folder for the answers.")
    given = reading(columns, delimiter, header, encoding)
    if data is not None and folder is not None:
        if stream or server:
            raise BadRequest("A bulk job runs here, without a server: leave out --stream and --server.")
        from hub.cli.predict_file.predict_bulk import predict_bulk

        predict_bulk(deployment, (data, folder, format), given, (on, workers), as_json)
        return
    if on != "local" or workers is not None or format:
        raise BadRequest("--on, --workers and --format go with --data and --out.")
    if (file is None) != (out is None):
        raise BadRequest("--file and -o need each other: the rows, and the file for the answers.")
    if stream and (file is not None or as_json):
        raise BadRequest("--stream prints one text while it is generated. Leave out --file and --json.")
    with Context.load().client(server) as client:
        if file is None or out is None:
            request = _from_json(body) if body is not None else _from_text(client, deployment, text or "")
            if stream:
                _stream(client, deployment, request)
            else:
                _predict_one(client, deployment, request, as_json)
        else:
            from hub.cli.predict_file.predict_file import predict_file

            predict_file(client, deployment, file, out, given, as_json)


def _predict_one(client: Client, deployment: str, request: dict[str, Any], as_json: bool) -> None:
    from hub.client.http import error_of

    (answer,) = client.predict(deployment, [request])
    if "error" in answer:
        raise error_of(answer)
    if as_json:
        print_json(answer["result"])
    else:
        _show(answer["result"])


def _stream(client: Client, deployment: str, request: dict[str, Any]) -> None:
    streamed = False
    for piece in client.stream(deployment, request):
        if isinstance(piece, str):
            streamed = True
            write_piece(piece)
        elif streamed:
            say(f"\n[dim]{piece['completion_tokens']} tokens, {piece['finish_reason']}[/]")
        else:
            _show(piece["response"])


def _show(response: dict[str, Any]) -> None:
    for key, value in response.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        say(f"[dim]{escape(key)}:[/] {escape(shown)}")


def _from_text(client: Client, deployment: str, text: str) -> dict[str, Any]:
    """Return a request with the text in its first text field, if it needs no other field."""
    described = client.deployment(deployment.partition("@")[0])
    schema = described["request"]
    fields = [name for name, about in schema["properties"].items() if _is_text(about)]
    needed = schema.get("required", [])
    if not fields or set(needed) - {fields[0]}:
        example = json.dumps(schema.get("examples", [{}])[0], ensure_ascii=False)
        raise BadRequest(
            f"The task {described['task']!r} needs more than one text: {', '.join(needed)}. "
            f"Use --input, such as --input '{example}'."
        )
    if takes_file(schema["properties"][fields[0]]):
        return {fields[0]: file_or_text(text)}
    return {fields[0]: text}


def _is_text(schema: dict[str, Any]) -> bool:
    """Return whether a field is a text, or a text or null."""
    return any(one.get("type") == "string" for one in (schema, *schema.get("anyOf", ())))


def _from_json(body: str) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise BadRequest(f"--input is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise BadRequest("--input must be a JSON object with the request's fields.")
    return value
