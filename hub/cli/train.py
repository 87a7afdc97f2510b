"""`hub train`: trains a recipe, stores the version and, with --deploy, puts it live."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from hub.cli.context import Context
from hub.cli.deploy_trained import check_task, deploy_trained, print_deployed
from hub.cli.on_ray import ON, WORKERS, Where, check_workers
from hub.cli.screen.output import JSON_FLAG, error_console, escape, print_json, progress, say
from hub.cli.threads import for_training
from hub.names import check_name

if TYPE_CHECKING:
    from hub.recipe.recipe import Recipe
    from hub.store.manifest import Search
    from hub.training.run import Fitting
    from hub.training.train import TrainResult

__all__ = ["TrainCommand", "run_training", "train"]

Json = dict[str, Any]
_RECIPE_NAME = "@recipe"  # no legal deployment name
_TAKES_VALUE = ("--set", "--on", "--workers")
DEFAULT_WORKERS = 2
SHOWN = 5  # invalid rows


class TrainCommand(TyperCommand):
    """Makes the NAME after `--deploy` optional, which typer does not support."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--deploy" in args:
            at = args.index("--deploy")
            named = at + 1 < len(args) and not args[at + 1].startswith("-") and _has_recipe(args[:at])
            if not named:
                args = [*args[:at], f"--deploy={_RECIPE_NAME}", *args[at + 1 :]]
        return super().parse_args(ctx, args)


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, or a folder with recipe.yaml.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key of the recipe.")
    ] = None,
    deploy: Annotated[
        str | None,
        typer.Option(metavar="[NAME]", help="Deploy the version as NAME; default: the recipe's name."),
    ] = None,
    ablation: Annotated[
        bool,
        typer.Option("--ablation", help="Also train without augmentation, and compare."),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    on: Annotated[Where, ON] = Where.LOCAL,
    workers: Annotated[int | None, WORKERS] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Train an adapter, measure it on held-out rows, and store it as a new version."""
    from hub.recipe.recipe import load_recipe

    check_workers(on, workers)
    context = Context.load()
    parsed = load_recipe(recipe, [*(set_ or ()), *(["augment.ablation=true"] if ablation else [])])
    target = None
    if deploy is not None:
        target = check_name(parsed.name if deploy == _RECIPE_NAME else deploy, "deployment")
        check_task(target, parsed.task, context)
    try:
        result = run_training(parsed, context, quiet=as_json, resume=resume, on=on, workers=workers)
    except KeyboardInterrupt:
        error_console().print(
            "Interrupted. The same command with --resume continues from the last checkpoint."
        )
        raise SystemExit(130) from None
    deployed = deploy_trained(result, target, context, as_json) if target else None
    if as_json:
        print_json(_summary(result) | ({"deploy": deployed} if deployed else {}))
    else:
        _print(result, deployed)
    if deployed and (not deployed["passed"] or "failed" in deployed):
        raise SystemExit(1)


def run_training(
    recipe: Recipe,
    context: Context,
    *,
    quiet: bool = False,
    resume: bool = False,
    search: Search | None = None,
    trial: Path | None = None,
    on: Where = Where.LOCAL,
    workers: int | None = None,
) -> TrainResult:
    """Run `hub.training.train` with progress bars on stderr."""
    for_training()
    with progress(quiet) as show, _fitting(on, recipe, context, workers) as fitting:
        show("load libraries", 0, 1)
        from hub.export.int8_gate import INT8, int8_gauge
        from hub.report.write import write_report
        from hub.serving.residency.servable import servable_on
        from hub.training.train import train as train_recipe

        show("load libraries", 1, 1)
        return train_recipe(
            recipe,
            registry=context.registry,
            store=context.store,
            bases=context.bases,
            work=context.settings.home / "runs" / recipe.name,
            progress=show,
            resume=resume,
            check=servable_on(context.bases, trained_here=True),
            gauges={INT8: int8_gauge(context.settings, show)},
            search=search,
            trial=trial,
            report=write_report,
            fitting=fitting,
        )


def _fitting(
    on: Where, recipe: Recipe, context: Context, workers: int | None
) -> AbstractContextManager[Fitting | None]:
    if on is Where.LOCAL:
        return nullcontext()
    from hub.scale.train import fitting_on_ray

    return fitting_on_ray(recipe, context.settings, workers or DEFAULT_WORKERS)


def _has_recipe(args: list[str]) -> bool:
    """Return whether one of the arguments is positional."""
    return any(
        not arg.startswith("-") and (index == 0 or args[index - 1] not in _TAKES_VALUE)
        for index, arg in enumerate(args)
    )


def _summary(result: TrainResult) -> Json:
    outcome, data = result.outcome, result.plan.dataset
    return {
        "version": str(result.version.ref),
        "new": result.new,
        "sha256": result.version.sha256,
        "metric": result.version.manifest.metric,
        "metrics": dict(outcome.metrics),
        "metrics_cv": result.version.manifest.model_dump(mode="json").get("metrics_cv", {}),
        "baseline": dict(outcome.baseline),
        "evaluation": result.evaluation.to_json(),
        "seconds": round(result.seconds, 1),
        "fit_seconds": round(outcome.fitted.seconds, 1),
        "steps": outcome.fitted.steps,
        "epochs": outcome.fitted.epochs,
        "best_step": outcome.fitted.best_step,
        "stopped_early": outcome.fitted.stopped_early,
        "resumed_from": outcome.fitted.resumed_from,
        "dtype": outcome.dtype,
        "precision": result.version.manifest.model_dump(mode="json").get("precision", {}),
        "rows": {
            "train": len(data.train),
            "validation": len(data.validation),
            "held_out": len(data.held_out),
            "filtered": sum(data.data_report.filtered.values()),
            "duplicates": data.data_report.duplicates,
            "leaked": data.data_report.leaked,
            "invalid": len(result.invalid),
        },
        "data_report": data.data_report.to_json(),
        "augmented": dict(result.outcome.augmented),
        "augmented_dropped": {change: dict(reason) for change, reason in result.outcome.dropped.items()},
        "ablation": result.ablation.as_dict() if result.ablation else None,
        "invalid_file": str(result.invalid_file),
        "report": str(result.report) if result.report else None,
        "trackers": [one.to_json() for one in result.trackers],
    }


def _print(result: TrainResult, deployed: Json | None) -> None:
    from hub.cli.screen.figures import print_calibration, print_folds, print_metrics, print_underperforming
    from hub.evaluation.goal import gain
    from hub.export.int8_gate import describe_int8

    version, fitted = result.version, result.outcome.fitted
    stored = "Stored" if result.new else "These weights are already stored:"
    say(f"{stored} [bold]{version.ref}[/], trained in {result.seconds:.0f} s ({_course(result)}).")
    metric = version.manifest.metric
    after, before = result.outcome.metrics[metric], result.outcome.baseline.get(metric)
    print_metrics(result.evaluation, "HELD OUT")
    if before is not None and gain(after, before, version.manifest.metric_goal) <= 0:
        named = {"majority": "majority label", "mean": "mean of the training rows"}.get(
            result.evaluation.baseline_name, result.evaluation.baseline_name
        )
        say(f"[bold yellow]No better than the {named}[/]: try more rows or steps.")
    print_folds(version.manifest.metrics_cv)
    print_calibration(result.evaluation)
    print_underperforming(result.evaluation)
    _print_rows(result)
    if int8 := describe_int8(version.manifest):
        say(f"Serving in int8 is {escape(int8)}.")
    if fitted.resumed_from:
        say(f"The run continued from step {fitted.resumed_from}.")
    if result.report:
        say(f"Report: {escape(result.report)}")
    for tracker in result.trackers:
        state = "[yellow]incomplete[/]: " if tracker.problem else ""
        say(f"Tracked by {tracker.name}: {state}{escape(tracker.problem or tracker.where)}")
    if deployed is None:
        say(f"Next: hub deploy {version.ref} --as {version.name}")
    else:
        print_deployed(version, deployed)


def _course(result: TrainResult) -> str:
    fitted = result.outcome.fitted
    course = f"{fitted.steps} steps, {fitted.epochs:.3g} epochs, {result.outcome.dtype}"
    if fitted.best_step is None:
        return course
    early = "stopped early, " if fitted.stopped_early else ""
    return f"{course}, {early}best at step {fitted.best_step}"


def _print_rows(result: TrainResult) -> None:
    from hub.cli.screen.figures import print_ablation

    data, data_report = result.plan.dataset, result.plan.dataset.data_report
    parts = [
        f"{len(data.train):,} for training",
        f"{len(data.validation):,} {'for validation' if data.chooses else 'to calibrate'}",
        f"{len(data.held_out):,} held out",
        f"{sum(data_report.filtered.values()):,} filtered",
        f"{data_report.duplicates:,} duplicates",
        f"{data_report.leaked:,} held-out rows that are also training rows",
        f"{len(result.invalid):,} invalid",
    ]
    say(f"Rows: {', '.join(part for part in parts if not part.startswith('0 '))}.")
    for line in data_report.lines():
        say(f"  {escape(line)}.")
    if counts := dict(result.outcome.augmented):
        dropped = counts.pop("dropped", 0)
        kept = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        say(f"  Augmented copies: {kept or 'none'}; {dropped:,} dropped{_reasons(result)}.")
    if result.ablation:
        print_ablation(result.ablation)
    for row in result.invalid[:SHOWN]:
        say(f"  [dim]{escape(f'{row.source}:{row.line}: {row.reason}')}[/]")
    if len(result.invalid) > SHOWN:
        say(f"  [dim]all in {escape(result.invalid_file)}[/]")


def _reasons(result: TrainResult) -> str:
    counts: dict[str, int] = {}
    for reasons in result.outcome.dropped.values():
        for reason, count in reasons.items():
            counts[reason] = counts.get(reason, 0) + count
    return f" ({', '.join(f'{reason} {count:,}' for reason, count in counts.items())})" if counts else ""
