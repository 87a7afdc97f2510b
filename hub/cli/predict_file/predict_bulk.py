"""`hub predict --data`: shows the progress of a bulk job, and what it has done."""

from __future__ import annotations

from hub.cli.context import Context
from hub.cli.screen.output import Bars, error_console, escape, print_json, progress, say
from hub.data.profile.read_options import Reading
from hub.errors import BadRequest
from hub.scale.bulk import BulkProgress, BulkResult, RunParts, run_bulk, run_locally
from hub.scale.job import BulkRequest, reading_of

__all__ = ["predict_bulk"]

SHOWN = 5  # failures that are printed
RAY_START_S = 20.0  # until the first row: measured on two cores
RAY_PAYS = 15  # times its start
WORKERS = 2


def predict_bulk(
    deployments: str,
    places: tuple[str, str, str],
    given: Reading,
    where: tuple[str, int | None],
    as_json: bool,
) -> None:
    """Run a job; `places` are the data, the output and its format, `where` is local or ray, with workers.

    Raises:
        BadRequest: an option is invalid; others as `run_bulk`.
    """
    (data, out, format), (on, workers) = places, where
    if on not in ("local", "ray"):
        raise BadRequest(f"--on {on}: choose local or ray.")
    if on == "local" and workers is not None:
        raise BadRequest("--workers goes with --on ray: a local job has one engine, which uses all cores.")
    request = BulkRequest(
        deployments=tuple(name.strip() for name in deployments.split(",")),
        data=data,
        out=out,
        format=format,
        columns=dict(given.columns),
        reading=reading_of(given),
    )
    settings = Context.load().settings
    with progress(quiet=as_json) as bars:
        shown = _Shown(bars, advises=on == "local" and not as_json)
        result = run_bulk(request, settings, _runner(on, workers or WORKERS), shown)
    _report(result, as_json)


def _runner(on: str, workers: int) -> RunParts:
    if on == "local":
        return run_locally
    from hub.scale.on_ray import run_on_ray

    return run_on_ray(workers)


class _Shown:
    """Shows how far a job is; once, where it takes long, that a cluster would be faster."""

    def __init__(self, bars: Bars, *, advises: bool) -> None:
        self._bars = bars
        self._advises = advises

    def __call__(self, now: BulkProgress) -> None:
        left = now.seconds_left
        note = f"{now.rows_per_s:,.0f} rows/s"
        if left is not None:
            note += f", {_duration(left)} left"
        self._bars("predict", now.rows_before + now.rows, now.job.rows, note)
        if self._advises and left is not None and now.seconds > RAY_START_S:
            self._advises = False
            if left > RAY_PAYS * RAY_START_S:
                error_console().print(
                    f"[yellow]About {_duration(left)} left.[/] On other machines, or on several GPUs, "
                    "--on ray --workers N divides that by about N, after a start of half a minute. Stop this "
                    "run (Ctrl-C) and give the command again with it: the files that are done stay."
                )


def _report(result: BulkResult, as_json: bool) -> None:
    found = result.to_json()
    if as_json:
        print_json(found)
        return
    if result.resumed:
        say(f"{result.resumed:,} of {found['files']:,} files were done before.")
    speed = f" ({found['rows_per_s']:,.0f} rows/s)" if found["rows_per_s"] >= 1 else ""
    say(
        f"{_counted(found['answered'], 'row')} answered, {found['failed']:,} failed; wrote "
        f"{_counted(found['files'], 'file')} to [bold]{escape(found['output'])}[/]{speed}."
    )
    for failure in found["failures"][:SHOWN]:
        where = f"{failure['file']}, row {failure['row']}"
        error_console().print(f"[yellow]{escape(where)}[/]: {escape(failure['error'])}")
    if found["failed"] > SHOWN:
        error_console().print("The column 'errors' has every reason.")


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
