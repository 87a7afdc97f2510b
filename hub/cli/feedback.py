"""`hub feedback`: accuracy of versions on labelled answers, and labelled answers as training data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.screen.output import JSON_FLAG, confirm, escape, print_json, say, table
from hub.errors import BadData, BadRequest, Conflict

if TYPE_CHECKING:
    from hub.data.feedback import FeedbackRows
    from hub.store.catalog.feedback import LabelledAnswer, VersionScore
    from hub.store.records import Deployment

__all__ = ["commands"]

commands = typer.Typer(help="Show, export and delete kept answers and their labels.", no_args_is_help=True)
ROLES = ("stable", "canary", "shadow", "previous", "")
HEADERS = ("DEPLOYMENT", "VERSION", "AS", "ANSWERS", "LABELLED", "ACCURACY", "95 % INTERVAL")
FORMATS = (".jsonl", ".csv", ".parquet")
SHOWN = 5  # filtered answers
Json = dict[str, Any]


@commands.command()
def show(
    deployment: Annotated[str | None, typer.Argument(help="A deployment; default: all.")] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Show the kept and labelled answers of each version, and its accuracy on them."""
    from hub.store.catalog.feedback import Answers

    store = Context.load().existing_store
    scores = Answers(store.catalog).scores(deployment)
    if deployment and not scores:
        store.deployment(deployment)  # raises NotFound with the known names
    deployments = {one.name: one for one in store.deployments()}
    rows = [_described(score, deployments.get(score.deployment)) for score in scores]
    rows.sort(key=lambda row: (row["deployment"], ROLES.index(row["role"])))
    if as_json:
        print_json(rows)
    elif rows:
        table(HEADERS, [_cells(row) for row in rows])
    else:
        say(
            f"No answers are kept{f' for {deployment}' if deployment else ''}: see feedback.keep in hub.toml."
        )


@commands.command()
def export(
    deployment: Annotated[str, typer.Argument(help="A deployment.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="FILE.jsonl, .csv or .parquet.")],
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Write labelled answers as a training file for `hub train`."""
    from hub.scale.answer_files import atomically, open_answers

    if out.suffix not in FORMATS:
        raise BadRequest(f"The file's name must end in one of {', '.join(FORMATS)}, not {out.suffix!r}.")
    rows = _training_rows(Context.load(), deployment)
    written, filtered = 0, []
    with atomically(out) as partial, open_answers(partial, out.suffix) as file:
        for labelled, maker in rows:
            row, reason = _row(labelled, maker, flat=out.suffix != ".jsonl")
            if reason:
                filtered.append({"request_id": labelled.answer.request_id, "reason": reason})
                continue
            file.add(row)
            written += 1
        if not written:
            reasons = "; ".join(sorted({one["reason"] for one in filtered}))
            raise BadData(
                f"None of the {len(filtered)} labelled answers of {deployment!r} makes a training row: "
                f"{reasons}."
            )
    if as_json:
        print_json({"file": str(out), "rows": written, "filtered": filtered})
        return
    say(f"Wrote {written} rows to {escape(out)}.")
    for one in filtered[:SHOWN]:
        say(f"Filtered {one['request_id']}: {escape(one['reason'])}.")
    if len(filtered) > SHOWN:
        say(f"And {len(filtered) - SHOWN} more; --json lists them.")


@commands.command()
def clear(
    deployment: Annotated[str | None, typer.Argument(help="A deployment; default: all.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Delete kept answers with their requests and labels."""
    from hub.store.catalog.feedback import Answers

    store = Context.load().existing_store
    answers = Answers(store.catalog)
    if deployment and not answers.scores(deployment):
        store.deployment(deployment)  # raises NotFound with the known names
    if not yes:
        what = f"every answer of {deployment}" if deployment else "every answer of every deployment"
        confirm(f"Delete {what}, with requests and labels, for good?", as_json)
    count = answers.clear(deployment)
    if as_json:
        print_json({"deployment": deployment, "removed": count})
    else:
        say(f"Deleted {count} answers.")


def _described(score: VersionScore, deployment: Deployment | None) -> Json:
    from hub.serving.canary.analysis import wilson

    low, high = wilson(score.correct, score.labelled)
    return {
        "deployment": score.deployment,
        "version": score.version,
        "sha256": score.sha256,
        "role": _role(score.sha256, deployment),
        "answers": score.answers,
        "labelled": score.labelled,
        "correct": score.correct,
        "accuracy": score.correct / score.labelled if score.labelled else None,
        "interval": [low, high] if score.labelled else None,
    }


def _role(sha256: str, deployment: Deployment | None) -> str:
    if deployment is None:
        return ""
    canary = deployment.canary.version if deployment.canary else None
    versions = (deployment.stable, canary, deployment.shadow, deployment.previous)
    named = zip(ROLES, versions, strict=False)
    return next((role for role, version in named if version and version.sha256 == sha256), "")


def _cells(row: Json) -> list[object]:
    shown: list[object] = [row[key] for key in ("deployment", "version", "role", "answers", "labelled")]
    if row["interval"] is None:
        return [*shown, "", ""]
    low, high = row["interval"]
    return [*shown, f"{row['accuracy']:.3f}", f"{low:.3f} to {high:.3f}"]


def _training_rows(context: Context, name: str) -> Iterator[tuple[LabelledAnswer, FeedbackRows]]:
    """Yield the labelled answers of a deployment, each with the maker of its row.

    Raises:
        Conflict: all were kept without their requests.
        BadData: no answer has a label.
    """
    from hub.data.feedback import FeedbackRows
    from hub.store.catalog.feedback import Answers

    task = context.registry.task(context.existing_store.deployment(name).task).task
    every = list(Answers(context.existing_store.catalog).labelled(name))
    if not every:
        raise BadData(f"No answer of {name!r} has a label yet: POST /v1/feedback gives one.")
    with_texts = [one for one in every if one.answer.request is not None]
    if not with_texts:
        raise Conflict(
            f"The {len(every)} labelled answers of {name!r} were kept without their requests, which a "
            "training file needs. Set feedback.keep to 'texts'; it applies to later answers."
        )
    multi_label = any(isinstance(one.label, list) and len(one.label) != 1 for one in with_texts)
    maker = FeedbackRows(task, multi_label=multi_label)
    return ((one, maker) for one in every)


def _row(labelled: LabelledAnswer, maker: FeedbackRows, *, flat: bool) -> tuple[Json, str]:
    """Return a training row, or {} and the reason that there is none."""
    from hub.data.fields import Unusable

    if labelled.answer.request is None:
        return {}, "it was kept without its request"
    try:
        row = maker.row(json.loads(labelled.answer.request), labelled.label)
        return (maker.flat(row) if flat else row), ""
    except Unusable as error:
        return {}, str(error)
