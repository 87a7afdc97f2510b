"""`hub tune`: searches hyperparameters and stores the best trial."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.on_ray import ON, WORKERS, Where, check_workers
from hub.cli.screen.output import JSON_FLAG, error_console, escape, print_json, progress, say, table
from hub.cli.threads import for_training
from hub.errors import BadRecipe

if TYPE_CHECKING:
    from hub.progress import Progress
    from hub.recipe.recipe import Recipe
    from hub.training.search.trials import Trial, Tuned
    from hub.training.train import TrainResult

__all__ = ["run_search", "tune"]

FOLDER = "tune"  # in the run's folder
PAGE = "tune.html"
WINNER = "winner.json"  # the recipe of the best trial while it is evaluated and stored


def tune(  # noqa: PLR0913, PLR0917 - a command's options
    recipe: Annotated[Path, typer.Argument(help="A recipe, or a folder with recipe.yaml.")],
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Number of trials, including those before --resume; default: tune.trials."),
    ] = None,
    grid: Annotated[
        bool | None,
        typer.Option("--grid/--bayes", help="Try every combination, or sample near good values."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which no new trial starts.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key of the recipe.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted search.")] = False,
    train: Annotated[
        bool,
        typer.Option(
            "--train/--no-train", help="Whether to evaluate the best trial on held-out rows and store it."
        ),
    ] = True,
    on: Annotated[Where, ON] = Where.LOCAL,
    workers: Annotated[int | None, WORKERS] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Search hyperparameters, and store the best trial as a version."""
    from hub.recipe.recipe import load_recipe

    check_workers(on, workers)
    context = Context.load()
    parsed = load_recipe(recipe, set_ or ())
    sampler = parsed.tune.sampler if grid is None else ("grid" if grid else "bayes")
    try:
        tuned, page = run_search(
            parsed,
            context,
            trials=trials or parsed.tune.trials,
            sampler=sampler,
            resume=resume,
            timeout=timeout,
            quiet=as_json,
            on=on,
            workers=workers,
        )
        if not as_json:
            _print(tuned, page)
        result = None
        if train and tuned.winner:
            result = _store(tuned.winner, tuned, page.parent, context, resume, as_json)
    except KeyboardInterrupt:
        error_console().print("Interrupted. The same command with --resume continues from the last trial.")
        raise SystemExit(130) from None
    _end(tuned, page, result, as_json)


def run_search(  # noqa: PLR0913 - a search is all of these
    recipe: Recipe,
    context: Context,
    *,
    trials: int,
    sampler: str,
    resume: bool = False,
    timeout: float | None = None,
    quiet: bool = False,
    on: Where = Where.LOCAL,
    workers: int | None = None,
) -> tuple[Tuned, Path]:
    """Search with progress bars on stderr; return the result and the path of its page.

    Raises:
        MissingExtra: Optuna is not installed.
    """
    for_training()
    with progress(quiet) as show:
        show("load libraries", 0, 1)
        from hub.report.search_page import page
        from hub.training.train import only_run

        run = _search_here if on is Where.LOCAL else partial(_search_on_ray, workers=workers)
        work = context.settings.home / "runs" / recipe.name
        show("load libraries", 1, 1)
        with only_run(work):
            folder = work / FOLDER
            folder.mkdir(exist_ok=True)
            limits = {"trials": trials, "sampler": sampler, "resume": resume, "timeout": timeout}
            tuned = run(recipe, context, folder, show, limits)
            written = folder / PAGE
            written.write_text(page(tuned), encoding="utf-8")
    return tuned, written


def _search_here(
    recipe: Recipe, context: Context, folder: Path, show: Progress, limits: dict[str, Any]
) -> Tuned:
    from hub.training.search.session import Session
    from hub.training.search.space import space_of
    from hub.training.search.storage import StudyPlace
    from hub.training.search.study import search

    space = space_of(recipe)
    session = Session.open(
        recipe,
        registry=context.registry,
        bases=context.bases,
        cache=context.packages,
        folder=folder,
        progress=show,
    )
    return search(session, space, StudyPlace.in_folder(folder), progress=show, **limits)


def _search_on_ray(
    recipe: Recipe,
    context: Context,
    folder: Path,
    show: Progress,
    limits: dict[str, Any],
    workers: int | None,
) -> Tuned:
    from hub.scale.tune import search_on_ray

    return search_on_ray(recipe, context.settings, folder, workers=workers, progress=show, **limits)


def _store(
    winner: Recipe, tuned: Tuned, folder: Path, context: Context, resume: bool, quiet: bool
) -> TrainResult:
    """Evaluate and store the best trial, from its checkpoints if they exist."""
    from hub.cli.train import run_training
    from hub.training.search.session import KEPT

    again, trial = _same_winner(winner, folder / WINNER, resume), folder / KEPT
    result = run_training(winner, context, quiet=quiet, resume=again, search=tuned.record(), trial=trial)
    (folder / WINNER).unlink()
    shutil.rmtree(trial, ignore_errors=True)
    return result


def _same_winner(winner: Recipe, file: Path, resume: bool) -> bool:
    """Record the recipe in `file`; return whether an interrupted call recorded the same one."""
    text = json.dumps(winner.resolved())
    same = resume and file.is_file() and file.read_text(encoding="utf-8") == text
    file.write_text(text, encoding="utf-8")
    return same


def _print(tuned: Tuned, page: Path) -> None:
    keys = list(tuned.space)
    rows = [_row(trial, keys) for trial in tuned.trials]
    table(("TRIAL", *keys, tuned.metric.upper(), "STATE", "S"), rows)
    if tuned.importance:
        parts = [f"{key} {share:.0%}" for key, share in tuned.importance.items()]
        say(f"Share of the variance: {', '.join(parts)}.")
    say(f"Plots: {escape(page)}")


def _row(trial: Trial, keys: list[str]) -> tuple[str, ...]:
    values = (trial.values[key] for key in keys)
    shown = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)
    metric = "" if trial.metric is None else f"{trial.metric:.4f}"
    state = f"{trial.state}: {trial.reason}" if trial.reason else trial.state
    return (str(trial.number), *shown, metric, state, f"{trial.seconds:.1f}")


def _end(tuned: Tuned, page: Path, result: TrainResult | None, as_json: bool) -> None:
    if as_json:
        answer: dict[str, Any] = tuned.to_json() | {"page": str(page), "version": None}
        if result:
            answer |= {"version": str(result.version.ref), "metrics": dict(result.outcome.metrics)}
            answer |= {
                "report": str(result.report) if result.report else None,
                "train_seconds": round(result.seconds, 1),
            }
        print_json(answer)
    if tuned.best is None:
        last = (
            tuned.trials[-1].reason
            if tuned.trials
            else "the time limit was reached before the first trial ended"
        )
        raise BadRecipe(f"No trial finished: {last}")
    if as_json:
        return
    chosen = " ".join(f"--set {quote(f'{key}={_yaml(value)}')}" for key, value in tuned.best.values.items())
    say(f"The best trial is {tuned.best.number}: {escape(chosen)}")
    if result:
        say(f"Stored {result.version.ref}; on held-out rows: {_figures(result)}.")
        if result.report:
            say(f"Report: {escape(result.report)}")
        say(f"Next: hub deploy {result.version.ref} --as {result.version.name}")


def _figures(result: TrainResult) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in result.outcome.metrics.items())


def _yaml(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value)
