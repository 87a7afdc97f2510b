"""`hub keys`: keys of the catalog, with scopes, limits and usage; and keys for the settings."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.screen.output import JSON_FLAG, escape, print_json, say, table
from hub.errors import BadConfig, BadRequest

if TYPE_CHECKING:
    from hub.store.catalog.keys import ApiKey, ApiKeys

__all__ = ["commands"]

commands = typer.Typer(
    help="Create, revoke and rotate API keys, and see their usage. They are kept in the catalog, hashed.",
    no_args_is_help=True,
)
ID = typer.Argument(metavar="ID", help="The id of a key, as `hub keys list` shows it.")
_TIME = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
MAX_DAYS = 36_500
_COUNTS = {
    "requests": "REQS",
    "refused": "LIMITED",
    "errors": "ERRORS",
    "rows": "ROWS",
    "tokens_in": "IN",
    "tokens_out": "OUT",
}
MAX_DIGITS = 4  # of a count that is shown as it is
Json = dict[str, Any]


@commands.command()
def create(
    label: Annotated[str, typer.Argument(help="Who or what uses the key; for lists.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="infer, train, deploy or admin; infer:PATTERN and deploy:PATTERN hold for the deployments "
            "whose names match, such as infer:mood*. Repeatable; default: infer."
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time until the key expires, such as 30d or 12h.")
    ] = None,
    requests: Annotated[int | None, typer.Option(help="Maximum requests a minute.")] = None,
    rows: Annotated[int | None, typer.Option(help="Maximum model rows a minute.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Maximum requests at a time.")] = None,
    weight: Annotated[float, typer.Option(help="Share of the engine under overload, relative to 1.")] = 1.0,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Create a key and print it; it is shown only once.

    Limits hold for each serving process. A running server accepts the key at once. From the first key on,
    every request needs one.
    """
    from hub.keys import Scopes
    from hub.store.catalog.keys import KeyLimits

    try:
        scopes = Scopes.parse(scope or ["infer"])
    except ValueError as error:
        raise BadRequest(f"--scope: {error}.") from None
    limits = KeyLimits(requests, rows, concurrency, weight)
    time = _time("--expires", expires) if expires else None
    _show(*_keys().create(label, scopes, expires=time, limits=limits), as_json)


@commands.command(name="list")
def list_(as_json: Annotated[bool, JSON_FLAG] = False) -> None:
    """List the keys with their scopes and limits."""
    keys = _keys(read=True).all()
    if as_json:
        print_json({"keys": [_describe(key) for key in keys]})
        return
    if not keys:
        say("There are no keys in the catalog. Create one with `hub keys create LABEL`.")
        return
    rows = [
        (key.id, key.label, str(key.scopes), _limits(key), _day(key.created), _state(key)) for key in keys
    ]
    table(("ID", "LABEL", "SCOPES", "LIMITS", "CREATED", "STATE"), rows)


@commands.command()
def revoke(id: Annotated[str, ID], as_json: Annotated[bool, JSON_FLAG] = False) -> None:
    """Make a key invalid; every serving process refuses it within its poll time (serve.poll_ms)."""
    key = _keys().revoke(id)
    if as_json:
        print_json(_describe(key))
    else:
        say(f"The key {key.id} ({escape(key.label)}) is revoked.")


@commands.command()
def rotate(
    id: Annotated[str, ID],
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="Time in which the previous key is valid as well; 0s: none.")
    ] = "1d",
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Replace a key by a new one with the same id, scopes and limits, and print it; it is shown only once."""
    _show(*_keys().rotate(id, _time("--grace", grace)), as_json)


@commands.command()
def usage(
    id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A key; default: all callers.")] = None,
    days: Annotated[int, typer.Option(help="Days to show, today included (UTC).", min=1, max=MAX_DAYS)] = 30,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Show the requests, rows and tokens of each key by day; running servers add theirs every few seconds.

    LIMITED are requests that a limit of the key refused, IN and OUT tokens of rows and of generated texts.
    --json has the exact numbers.

    Callers without a key of the catalog are `anonymous`, `admin` and `settings-N`, the Nth of serve.api_keys.
    """
    from dataclasses import asdict

    since = (datetime.now(UTC) - timedelta(days=days - 1)).date().isoformat()
    keys = _keys(read=True)
    labels = {key.id: key.label for key in keys.all()}
    found = [
        {"key": caller, "label": labels.get(caller, ""), "day": day, **asdict(counts)}
        for (caller, day), counts in keys.usage(since).items()
        if id in (None, caller)
    ]
    if as_json:
        print_json({"usage": found})
    elif not found:
        say("Nothing was counted in this time.")
    else:
        rows = [
            (one["key"], one["label"], one["day"], *(_short(one[name]) for name in _COUNTS)) for one in found
        ]
        table(("KEY", "LABEL", "DAY", *_COUNTS.values()), rows)


@commands.command()
def new(as_json: Annotated[bool, JSON_FLAG] = False) -> None:
    """Print a random key and its hash for the settings; neither is stored. See also `hub keys create`."""
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


def _keys(*, read: bool = False) -> ApiKeys:
    from hub.store.catalog.keys import ApiKeys

    context = Context.load()
    return ApiKeys((context.existing_store if read else context.store).catalog)


def _show(key: ApiKey, text: str, as_json: bool) -> None:
    if as_json:
        print_json({"key": text, **_describe(key)})
        return
    say(f"key     {text}   for the client, which sends it as 'Authorization: Bearer KEY'")
    say(f"id      {key.id}")
    say(f"scopes  {key.scopes}")
    say("It is not shown again.")


def _time(option: str, text: str) -> timedelta:
    found = _TIME.fullmatch(text)
    time = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None
    if time is None or time.days > MAX_DAYS:
        raise BadRequest(f"{option} takes a time such as 30d, 12h or 15m, of at most {MAX_DAYS:,} days.")
    return time


def _describe(key: ApiKey) -> Json:
    return {
        "id": key.id,
        "label": key.label,
        "scopes": str(key.scopes).split(),
        "state": key.state(datetime.now(UTC)),
        "created": key.created.isoformat(),
        "expires": key.expires.isoformat() if key.expires else None,
        "previous_until": key.old_until.isoformat() if key.old_until else None,
        "requests_per_minute": key.limits.requests_per_minute,
        "rows_per_minute": key.limits.rows_per_minute,
        "concurrency": key.limits.concurrency,
        "weight": key.limits.weight,
    }


def _short(count: int) -> str:
    """Return a count in at most five characters, such as 12.3k."""
    value, units = float(count), iter("kMGT")
    if len(str(count)) <= MAX_DIGITS:
        return str(count)
    unit = ""
    while value >= 999.5:  # rounds to 1000
        value, unit = value / 1000, next(units)
    return f"{value:.1f}{unit}" if value < 99.95 else f"{value:.0f}{unit}"


def _limits(key: ApiKey) -> str:
    limits = key.limits
    found = (
        (limits.requests_per_minute, "requests/min"),
        (limits.rows_per_minute, "rows/min"),
        (limits.concurrency, "at a time"),
    )
    parts = [f"{limit:,} {unit}" for limit, unit in found if limit]
    return ", ".join(parts + ([f"weight {limits.weight:g}"] if limits.weight != 1.0 else []))


def _state(key: ApiKey) -> str:
    state = key.state(datetime.now(UTC))
    return f"valid until {_day(key.expires)}" if state == "valid" and key.expires else state


def _day(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M}"
