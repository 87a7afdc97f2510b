"""Generates docs/errors.md, the reference of error codes, from the exceptions.

python -m docs.error_table
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from hub.errors import HubError

__all__ = ["FILE", "markdown"]

FILE = Path(__file__).with_name("errors.md")

_ABOUT = """\
# Errors

Generated from the exceptions by `python -m docs.error_table`.

Every error has a code, which is [stable](upgrades.md), and a message that says what happened, to what, and
what to do. Messages may change; they never quote the text of a request or of a training row.

- **Over HTTP**, an error is `{"error": {"code": "…", "message": "…"}}` with the status in this table, and
  with `field` if one value is at fault ([HTTP](http.md#errors)). The routes of other clients have [their
  form](clients.md) of it.
- **A command** prints `error (CODE) MESSAGE` on standard error and exits with 1; with `--json`, it prints
  the object on standard output.
- **In Python**, each code is a class of `hub.errors`; `A ← B` is a subclass of `B`. Plugins import those
  that they may raise from `hub.api`.

| status | code | class | meaning |
|---|---|---|---|
"""


def markdown() -> str:
    """Return the page: a line for each error, by status."""
    found = sorted(_below(HubError), key=lambda error: (error.status, error.code))
    return _ABOUT + "".join(map(_row, found))


def _below(parent: type[HubError]) -> Iterator[type[HubError]]:
    for error in (parent, *parent.__subclasses__()):
        if error is parent:
            yield error
        elif error.__module__.startswith("hub.errors"):
            yield from _below(error)


def _row(error: type[HubError]) -> str:
    above = error.__mro__[1 : error.__mro__.index(HubError)]
    name = " ← ".join([f"`{error.__name__}`", *(f"`{parent.__name__}`" for parent in above)])
    meaning = (inspect.getdoc(error) or "").splitlines()[0]
    return f"| {error.status} | `{error.code}` | {name} | {meaning} |\n"


if __name__ == "__main__":
    FILE.write_text(markdown(), encoding="utf-8")
