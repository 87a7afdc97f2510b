"""`hub push`, `pull`, `backup`, `restore` and `gc`: versions between hubs, whole hubs, and what may go."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.screen.output import JSON_FLAG, escape, print_json, progress, say, table
from hub.errors import BadRequest
from hub.names import check_name, parse_version_ref

if TYPE_CHECKING:
    from hub.client.http import ServerClient
    from hub.transfer.backup import Backup
    from hub.transfer.retention import RemovalPlan

__all__ = ["backup", "gc", "pull", "push", "restore"]

Json = dict[str, Any]
Place = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="Another hub (https://...), or a folder at any URL: s3://bucket/depot, or a path.",
    ),
]
FILE = "A file, or a URL such as s3://bucket/hub.tar."


def push(
    ref: Annotated[str, typer.Argument(metavar="NAME[@N]", help="A version; without @N, the newest.")],
    url: Place,
    name: Annotated[str | None, typer.Option("--as", help="Name of the adapter in the other hub.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write again what the folder has under this name.")
    ] = False,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Send a version to another hub, or keep it in a folder; its content hash is compared on arrival."""
    from hub.transfer.move import archive_of, push_to_depot

    store = Context.load().existing_store
    if not _is_hub(url):
        sent = push_to_depot(store, ref, url, replace=replace)
        found: Json = {"version": sent.ref, "sha256": sent.sha256, "url": url}
        told = f"Wrote [bold]{sent.ref}[/] to {escape(url)}.\nNext: hub pull {escape(url)} {sent.ref}"
    else:
        with archive_of(store, ref) as (record, archive), _hub(url) as remote:
            found = {**remote.send_version(archive, name), "url": url}
        told = (
            f"{escape(url)} stored [bold]{record.ref}[/] as [bold]{found['version']}[/].\n"
            f"Next: hub deploy {found['version']} --as {record.name} --server {escape(url)}"
        )
    if as_json:
        print_json(found)
    else:
        say(told)


def pull(
    url: Place,
    ref: Annotated[str, typer.Argument(metavar="NAME[@N]", help="A version there; without @N, the newest.")],
    name: Annotated[str | None, typer.Option("--as", help="Name of the adapter here.")] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Store a version of another hub or of a folder here; its content hash is compared."""
    from tempfile import TemporaryFile

    from hub.transfer.move import pull_from_depot, receive

    context, wanted = Context.load(), parse_version_ref(ref)
    if name is not None:
        check_name(name, "adapter")
    if _is_hub(url):
        with TemporaryFile() as archive:
            with _hub(url) as remote:
                remote.fetch_version(str(wanted), archive)
            archive.seek(0)
            received = receive(archive, context, name=name)
    else:
        received = pull_from_depot(url, wanted, context, name=name)
    version, sent = received.version, received.sent
    if as_json:
        print_json({"version": str(version.ref), "sha256": version.sha256, "sent_as": sent.ref, "url": url})
        return
    say(f"Stored {sent.ref} of {escape(url)} as [bold]{version.ref}[/], sha256 {version.sha256[:12]}.")
    say(f"Next: hub deploy {version.ref} --as {version.name}")


def backup(
    file: Annotated[str, typer.Argument(metavar="FILE", help=FILE)],
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Write the catalog and the files of all versions to one tar file, also while servers run.

    Without bases, which are pulled again, hub.toml, the admin key, uploaded files and training jobs.
    """
    from hub.transfer.backup import back_up
    from hub.transfer.depot import opened

    store = Context.load().existing_store
    with opened(file, "wb", private=True) as stream, progress(as_json) as show:
        made = back_up(store, stream, show)
    if as_json:
        print_json({**asdict(made), "file": file})
        return
    say(f"Wrote {_held(made)} to {escape(file)} ({made.bytes / 1e6:,.1f} MB).")


def restore(
    file: Annotated[str, typer.Argument(metavar="FILE", help=FILE)],
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Restore a backup into an empty state folder (HUB_HOME), and an empty catalog if one is set."""
    from hub.transfer.backup import restore as restore_backup
    from hub.transfer.depot import opened

    context = Context.load()
    with opened(file, "rb") as stream, progress(as_json) as show:
        restored = restore_backup(stream, context.settings, show)
    made = restored.backup
    if as_json:
        print_json({**asdict(made), "missing_bases": list(restored.missing)})
        return
    say(f"Restored {_held(made)} to {escape(context.settings.home)}, as they were at {made.created}.")
    for base in restored.missing:
        say(f"Next: hub base pull {escape(base['source'])} --name {escape(base['name'])}")


def gc(
    keep_last: Annotated[
        int, typer.Option("--keep-last", help="Newest versions of each adapter to keep.", min=1)
    ],
    name: Annotated[str | None, typer.Argument(help="Only the versions of this adapter.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Remove old versions for good; what is live, on trial, or would be rolled back to always stays."""
    from hub.transfer.retention import plan_removal, remove_planned

    store = Context.load().existing_store
    plan = plan_removal(store, keep_last, name)
    if plan.remove and not (dry_run or yes or as_json):
        _show_plan(plan)
        typer.confirm(f"Remove {len(plan.remove)} versions for good?", abort=True, err=True)
    if as_json and not (dry_run or yes) and plan.remove:
        raise BadRequest("Give --yes or --dry-run beside --json.")
    removed = [] if dry_run else remove_planned(store, plan)
    if as_json:
        print_json(
            {
                "planned": [str(version.ref) for version in plan.remove],
                "removed": [str(version.ref) for version in removed],
                "kept": [{"version": str(kept.version.ref), "reason": kept.reason} for kept in plan.keep],
                "bytes": plan.bytes,
            }
        )
    elif dry_run:
        _show_plan(plan)
    else:
        say(f"Removed {len(removed)} versions." if plan.remove else "There is nothing to remove.")


def _held(made: Backup) -> str:
    """Return how much a backup holds."""
    counts = ((made.versions, "version"), (made.deployments, "deployment"))
    return " and ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)


def _show_plan(plan: RemovalPlan) -> None:
    rows = [(version.ref, "remove", f"{version.created:%Y-%m-%d %H:%M}") for version in plan.remove]
    rows += [(kept.version.ref, f"keep: {kept.reason}", "") for kept in plan.keep]
    table(("VERSION", "OLD", "CREATED"), rows)
    say(f"{len(plan.remove)} versions to remove, {plan.bytes / 1e6:,.1f} MB.")


def _is_hub(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _hub(url: str) -> ServerClient:
    """Return a client of another hub; its admin key is in HUB_KEY."""
    import os

    from hub.client.http import ServerClient

    return ServerClient(url, key=os.environ.get("HUB_KEY", ""))
