"""`hub export`: writes an adapter as a standalone model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.adapters import Ref
from hub.cli.context import Context
from hub.cli.screen.output import JSON_FLAG, escape, print_json, progress, say, table
from hub.export.formats import Format, Precision

if TYPE_CHECKING:
    from hub.export.export import Exported
    from hub.export.parity import Figures, Parity

__all__ = ["export"]


def export(
    ref: Ref,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="A folder that is absent or empty.")
    ],
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.ONNX,
    int8: Annotated[bool, typer.Option("--int8", help="Quantize the ONNX model's linear layers.")] = False,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Merge an adapter into its base as a standalone model, and compare it with the adapter."""
    from hub.export.export import export_version

    started = time.perf_counter()
    with progress(quiet=as_json) as bars:
        precision, store = Precision.INT8 if int8 else Precision.FP32, Context.load().existing_store
        exported = export_version(store, ref, output, form, precision=precision, progress=bars)
    seconds = time.perf_counter() - started
    if as_json:
        print_json(_summary(exported, seconds))
    else:
        _print(exported, seconds)


def _summary(exported: Exported, seconds: float) -> dict[str, Any]:
    return {
        "version": str(exported.version.ref),
        "format": exported.form.value,
        "precision": exported.precision.value,
        "folder": str(exported.folder),
        "bytes": exported.nbytes,
        "seconds": round(seconds, 1),
        "parity": exported.parity.to_json() if exported.parity else None,
    }


def _print(exported: Exported, seconds: float) -> None:
    if exported.parity:
        _print_parity(exported.parity)
    what = f"{exported.form} ({exported.precision})" if exported.parity else exported.form
    say(
        f"Wrote [bold]{exported.version.ref}[/] as {what} to {escape(exported.folder)}: "
        f"{exported.nbytes / 1e6:.1f} MB in {seconds:.0f} s. Its README.md shows how to load it."
    )


def _print_parity(parity: Parity) -> None:
    rows = [(f"{each.rows} x {each.tokens}", *_cells(each.figures)) for each in parity.batches]
    headers = ("ROWS x TOKENS", "MAX DIFFERENCE", "COSINE", "SAME DECISION", "WHERE CLEAR")
    table(headers, [*rows, ("all", *_cells(parity.total))])


def _cells(figures: Figures) -> tuple[str, ...]:
    shares = (figures.agreement, figures.clear_agreement)
    return (
        f"{figures.max_difference:.1e}",
        f"{figures.cosine:.5f}",
        *("" if share is None else f"{share:.1%}" for share in shares),
    )
