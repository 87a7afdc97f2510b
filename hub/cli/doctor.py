"""`hub doctor`: checks the state folder and repairs it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.screen.output import JSON_FLAG, escape, print_json, say, table
from hub.errors import HubError

if TYPE_CHECKING:
    from hub.client.doctor import Finding

__all__ = ["doctor"]

Json = dict[str, Any]


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Repair what can be repaired without losing data.")
    ] = False,
    adopt: Annotated[
        bool,
        typer.Option(
            "--adopt",
            help="Keep the current catalog, and add stored contents that are missing from it.",
        ),
    ] = False,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Check the state folder for damage; exit status 1 if something needs repair."""
    from hub.client.doctor import adopt_unknown, examine

    settings = Context.load().settings
    adopted = [asdict(one) for one in adopt_unknown(settings)] if adopt and settings.home.is_dir() else []
    found = [_described(finding, fix) for finding in examine(settings)]
    open_ = [one for one in found if one["severity"] != "info" and one["repaired"] is not True]
    if as_json:
        print_json({"home": str(settings.home), "ok": not open_, "findings": found, "adopted": adopted})
    else:
        for one in adopted:
            say(f"[bold]{one['ref']}[/] is in the catalog again." if one["ref"] else _not_adopted(one))
        _show(found, len(open_), str(settings.home), fix)
    if open_:
        raise SystemExit(1)


def _not_adopted(one: Json) -> str:
    return f"[bold red]not adopted[/] {one['sha256'][:12]}: {escape(one['reason'])}."


def _described(finding: Finding, fix: bool) -> Json:
    """Return a finding as JSON after repairing it if `fix`; `repaired` is null where no repair was tried."""
    repaired, failure = None, ""
    if fix and finding.fix:
        failure = _repair(finding)
        repaired = not failure
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "where": finding.where,
        "what": finding.what,
        "remedy": finding.remedy,
        "fixable": finding.fix is not None,
        "repaired": repaired,
        "failure": failure,
    }


def _repair(finding: Finding) -> str:
    """Repair a finding; return the reason if the repair failed, else ""."""
    from filelock import Timeout

    assert finding.fix
    try:
        finding.fix()
    except Timeout:
        return "Another process holds the lock of the store."
    except (HubError, OSError) as error:
        return str(error)
    return ""


def _show(found: list[Json], to_repair: int, home: str, fixed: bool) -> None:
    if not found:
        say(f"[bold green]ok[/] Nothing to repair in {escape(home)}.")
        return
    rows = [
        (
            one["severity"],
            one["code"],
            one["where"].removeprefix(f"{home}/"),
            f"{one['what']}\n{_outcome(one)}",
        )
        for one in found
    ]
    table(("SEVERITY", "CODE", "WHERE", "PROBLEM AND REMEDY"), rows)
    fixable = [one for one in found if one["fixable"] and one["severity"] != "info"]
    more = f"; `hub doctor --fix` repairs {len(fixable)} of them" if fixable and not fixed else ""
    say(f"[bold red]{to_repair} to repair[/]{more}." if to_repair else "[bold green]ok[/] Nothing to repair.")


def _outcome(one: Json) -> str:
    if one["repaired"]:
        return "Repaired."
    return f"Not repaired: {one['failure']}" if one["failure"] else str(one["remedy"])
