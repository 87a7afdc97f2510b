"""`hub quickstart`: trains, serves and hot-swaps a real adapter, and prints measured figures."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Annotated

import typer

from hub.cli.context import Context
from hub.cli.screen.output import JSON_FLAG, print_json, progress, say
from hub.cli.threads import beside_others

if TYPE_CHECKING:
    import httpx

    from hub.cli.quickstart.local_server import LocalServer
    from hub.cli.quickstart.swap_watch import SwapResult
    from hub.client.http import ServerClient
    from hub.config import Settings
    from hub.training.train import TrainResult

__all__ = ["quickstart"]

NAME = "quickstart"
FIRST_ROWS, SECOND_ROWS = 2000, 5000  # training rows of the two versions, of 9,000
BEFORE_S, AFTER_S = 2.0, 2.0  # of load before and after the swap
TEXTS = (
    "A warm and funny film that I will watch again.",
    "Two hours of my life that nobody gives back.",
    "The acting is fine, but the story goes nowhere.",
    "An unforgettable performance in a beautiful picture.",
    "Neither clever nor exciting.",
    "It made me laugh, and then it made me think.",
    "A clumsy remake without an idea of its own.",
    "The best thing he has done in years.",
)


@dataclass(frozen=True, slots=True)
class Trained:
    """One trained version; accuracy is on held-out rows."""

    version: str
    accuracy: float
    rows: int
    seconds: float


def quickstart(
    once: Annotated[bool, typer.Option("--once", help="Stop at the end; default: keep serving.")] = False,
    port: Annotated[int | None, typer.Option(help="Port; default: serve.port, or a free one.")] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Pull a base, train, serve, deploy, predict, and swap in a second version under load."""
    from hub.cli.quickstart.local_server import local_server

    # Answers during the swap are compared with those of both versions, which needs float32 in every batch.
    os.environ.setdefault("HUB_SERVE__ENGINE", "onnx")
    beside_others()  # the server, its clients and the second training share the cores
    context = Context.load()
    settings = context.settings
    narrator = _Narrator(quiet=as_json)
    narrator.step(1, "Base model and version 1")
    _pull(context, as_json)
    first = _train(context, as_json, f"data.limit={FIRST_ROWS}")
    narrator.trained(first)
    narrator.step(2, "A server, and version 1 live")
    with local_server(settings, port) as server, _clients(settings, server) as (admin, http):
        _deploy(admin, first.version)
        p50 = _latency(http)
        narrator.live(server.url, http, p50)
        narrator.step(3, "Version 2, from more rows")
        second = _train(context, as_json, f"data.limit={SECOND_ROWS}")
        narrator.trained(second)
        narrator.step(4, "Swap it in while clients keep calling")
        swap_ms, result = _swap(admin, http, server, first.version, second.version)
        narrator.swapped(swap_ms, result)
        narrator.end(server.url)
        if as_json:
            trained = {"first": asdict(first), "second": asdict(second)}
            times = {"request_p50_ms": p50, "swap_ms": swap_ms}
            print_json({"url": server.url, **trained, **times, "swap": asdict(result)})
        if not once:
            server.wait()
    if result.failed or result.wrong:
        raise SystemExit(1)


def _pull(context: Context, quiet: bool) -> None:
    with progress(quiet) as bars:
        context.bases.pull("minilm", progress=bars)


def _train(context: Context, quiet: bool, *overrides: str) -> Trained:
    from hub.cli.train import run_training
    from hub.recipe.recipe import load_recipe

    with as_file(files("hub.cli") / "templates" / NAME / "recipe.yaml") as path:
        recipe = load_recipe(path, overrides)
        result: TrainResult = run_training(recipe, context, quiet=quiet)
    data = result.version.manifest.data
    assert data is not None, "a trained version has its data in the manifest"
    return Trained(
        str(result.version.ref), result.outcome.metrics["accuracy"], data.train_rows, round(result.seconds, 1)
    )


@contextmanager
def _clients(settings: Settings, server: LocalServer) -> Iterator[tuple[ServerClient, httpx.Client]]:
    """Open an administration client and an HTTP client for requests."""
    import httpx

    from hub.client.connect import connect

    http = httpx.Client(base_url=server.url, timeout=60, verify=server.verify, trust_env=False)
    with connect(settings) as admin, http:
        yield admin, http  # type: ignore[misc]


def _deploy(admin: ServerClient, version: str) -> float:
    """Deploy a version; return the milliseconds of the swap."""
    from hub.store.change import Deploy

    return float(admin.deploy(NAME, Deploy(version=version, reason="quickstart"))["swap_ms"])


def _latency(http: httpx.Client) -> float:
    from hub.cli.quickstart.swap_watch import ask

    for text in TEXTS:
        ask(http, NAME, text)
    return statistics.median(ask(http, NAME, text).seconds * 1000 for text in TEXTS * 4)


def _swap(
    admin: ServerClient, http: httpx.Client, server: LocalServer, old: str, new: str
) -> tuple[float, SwapResult]:
    from hub.cli.quickstart.swap_watch import SwapWatch, reference

    expected = {old: reference(http, NAME, TEXTS)}
    watch = SwapWatch(server.url, NAME, TEXTS, verify=server.verify)
    with watch.running():
        time.sleep(BEFORE_S)
        swap_ms = _deploy(admin, new)
        since = time.monotonic()
        time.sleep(AFTER_S)
    expected[new] = reference(http, NAME, TEXTS)
    return swap_ms, watch.result(expected, new, since)


class _Narrator:
    """Prints each step and its figures; silent with --json."""

    def __init__(self, quiet: bool) -> None:
        self._say = (lambda text: None) if quiet else say

    def step(self, number: int, title: str) -> None:
        self._say(f"\n[bold]{number}. {title}[/]")

    def trained(self, trained: Trained) -> None:
        self._say(
            f"   [bold]{trained.version}[/] has an accuracy of {trained.accuracy:.1%} on held-out rows; "
            f"{trained.rows} training rows, {trained.seconds:.0f} s."
        )

    def live(self, url: str, http: httpx.Client, p50: float) -> None:
        text = TEXTS[0]
        answer = http.post(f"/v1/deployments/{NAME}/predict", json={"text": text}).json()
        self._say(f"   Live at {url}; a request takes {p50:.1f} ms (median).")
        self._say(f'   "{text}" -> {answer["label"]}, {answer["score"]:.2f}')

    def swapped(self, swap_ms: float, result: SwapResult) -> None:
        shares = ", ".join(f"{count} by {version}" for version, count in result.by_version.items())
        self._say(
            f"   {result.sent} requests during the swap: {result.failed} failed, {result.wrong} wrong "
            f"({shares})."
        )
        self._say(
            f"   The swap itself took {swap_ms:.1f} ms; requests took {result.median_ms:.1f} ms (median), "
            f"{result.slowest_ms:.1f} ms at most."
        )

    def end(self, url: str) -> None:
        self._say(f"\nIn a browser: {url}/console, with the key that `hub console` names. API pages: {url}")
        self._say(f'Try: hub predict {NAME} "What a film!"   hub rollback {NAME}   hub status')
        self._say("Your own data: hub init, then hub train.")
