"""`hub evaluate`: measures a stored version on a file, alone or against another version."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.reading import COLUMN, DELIMITER, ENCODING, HEADER, SEPARATOR, reading
from hub.cli.screen.output import JSON_FLAG, escape, print_json, progress, say
from hub.errors import BadRequest

if TYPE_CHECKING:
    from hub.api.kinds.reader import InvalidRow
    from hub.data.profile.read_options import Reading
    from hub.evaluation.comparison import Comparison
    from hub.evaluation.evaluation import Evaluation
    from hub.store.records import Version

__all__ = ["evaluate"]

Json = dict[str, Any]
SHOWN = 5  # invalid rows
EVALUATION_FILE = "evaluation.json"
SEED = 13


@dataclass(frozen=True, slots=True)
class _Measured:
    version: Version
    evaluation: Evaluation
    unused: list[InvalidRow]
    against: Version | None = None
    comparison: Comparison | None = None

    def to_json(self, *, texts: bool) -> Json:
        spreads = self.version.manifest.model_dump(mode="json").get("metrics_cv", {})
        return {
            "version": str(self.version.ref),
            "sha256": self.version.sha256,
            **self.evaluation.to_json(texts=texts),
            "metrics_cv": spreads,
            "unused": [{"source": row.source, "line": row.line, "reason": row.reason} for row in self.unused],
            "against": str(self.against.ref) if self.against else None,
            "comparison": self.comparison.to_json() if self.comparison else None,
        }


def evaluate(  # noqa: PLR0913, PLR0917 - a command's options
    adapter: Annotated[str, typer.Argument(metavar="NAME[@N]", help="A version; without @N, the newest.")],
    data: Annotated[
        str, typer.Option(metavar="FILE", help="Labelled rows: a file, or any source that a recipe takes.")
    ],
    columns: Annotated[list[str] | None, COLUMN] = None,
    delimiter: Annotated[str | None, DELIMITER] = None,
    header: Annotated[bool | None, HEADER] = None,
    encoding: Annotated[str | None, ENCODING] = None,
    separator: Annotated[str | None, SEPARATOR] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="NAME[@N]", help="Another version to compare with, on the same rows."),
    ] = None,
    slice_: Annotated[
        list[str] | None,
        typer.Option(
            "--slice", metavar="COLUMN", help="Measure each value of this column on its own; repeatable."
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(metavar="NAME", help="Answer with this engine, as a server does, instead of with PEFT."),
    ] = "",
    as_json: Annotated[bool, JSON_FLAG] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help=f"Write {EVALUATION_FILE} there, with the worst mistakes."
        ),
    ] = None,
) -> None:
    """Measure a stored version on a file: metrics with intervals, calibration, slices, a comparison.

    The file is read with the settings of the version's training data; options override them.
    """
    given = reading(columns, delimiter, header, encoding, separator)
    found = _measure(adapter, data, given, against, slice_ or [], engine, as_json)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found.to_json(texts=True), indent=2, ensure_ascii=False, default=str)
        (out / EVALUATION_FILE).write_text(text, encoding="utf-8")
    if as_json:
        print_json(found.to_json(texts=False))
    else:
        _print(found, out)


def _measure(
    adapter: str, data: str, given: Reading, against: str | None, slices: list[str], engine: str, quiet: bool
) -> _Measured:
    context = Context.load()
    registry, store = context.registry, context.existing_store
    version = store.get(adapter)
    other = _comparable(version, against, store) if against else None
    loaded = registry.task(version.manifest.serving.task)
    with progress(quiet) as show:
        show("load libraries", 0, 1)
        from hub.evaluation.assess import assess
        from hub.evaluation.stored.measure import answers_of, compared
        from hub.evaluation.stored.rows_file import load_rows
        from hub.evaluation.temperature import Temperature

        show("load libraries", 1, 1)
        cache = context.packages
        rows = load_rows(version, loaded, data, cache, reading=given, slices=slices, progress=show)
        _check_slices(slices, rows.items, [field.name for field in loaded.task.fields])
        found, invalid = answers_of(
            version, rows.items, registry=registry, store=store, engine=engine, progress=show
        )
        known = version.manifest.calibration
        temperature = Temperature(known.temperature, known.rows, known.reason) if known else None
        evaluation = assess(
            found, baseline={}, temperature=temperature, columns=slices, seed=SEED, progress=show
        )
        comparison = None
        if other is not None:
            show(f"load {other.ref}", 0, 1)
            theirs, _ = answers_of(other, rows.items, registry=registry, store=store, engine=engine)
            show(f"load {other.ref}", 1, 1)
            comparison = compared(found, theirs, SEED)
    return _Measured(version, evaluation, [*rows.invalid, *invalid], other, comparison)


def _comparable(version: Version, against: str, store: Any) -> Version:
    other: Version = store.get(against)
    task, theirs = version.manifest.serving.task, other.manifest.serving.task
    if task != theirs:
        raise BadRequest(f"{version.ref} is for the task {task}, and {other.ref} for {theirs}.")
    return other


def _check_slices(slices: list[str], items: Any, fields: list[str]) -> None:
    for column in slices:
        if column not in fields and not any(dict(item.extra).get(column) for item in items):
            raise BadRequest(f"--slice {column}: no row has this column. Fields: {', '.join(fields)}.")


def _print(found: _Measured, out: Path | None) -> None:
    from hub.cli.screen import figures

    evaluation = found.evaluation
    say(f"[bold]{found.version.ref}[/] on {evaluation.rows:,} rows:")
    figures.print_metrics(evaluation, evaluation.task.upper())
    figures.print_labels(evaluation.labels)
    figures.print_slices(evaluation)
    figures.print_underperforming(evaluation)
    figures.print_calibration(evaluation)
    if found.version.manifest.metrics_cv:
        say("At training:")
        figures.print_folds(found.version.manifest.metrics_cv)
    if found.comparison and found.against:
        figures.print_comparison(found.comparison, str(found.version.ref), str(found.against.ref))
    if found.unused:
        say(f"{len(found.unused):,} invalid row{'s' * (len(found.unused) > 1)}:")
    for row in found.unused[:SHOWN]:
        say(f"  [dim]{escape(f'{row.source}:{row.line}: {row.reason}')}[/]")
    if out is not None:
        say(f"Wrote {escape(out / EVALUATION_FILE)}, with the texts of the worst mistakes.")
