"""The servers that are asked, and how each is asked for the sentiment of a text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.server import process, ready, wait
from hub.bases.base import Base
from hub.cli.quickstart.local_server import free_port

__all__ = [
    "EMBED",
    "FAMILIES",
    "NAMES",
    "OURS",
    "Contender",
    "ours",
    "plain_bento",
    "plain_fastapi",
    "rivals",
]

Request = Callable[[str, str], tuple[str, Any]]

OURS, LOCKED, MIXED = "ours", "BentoML, set_adapter", "BentoML, adapter_names"
THREADS = "FastAPI, set_adapter in a thread"
NAMES = {
    OURS: "",
    LOCKED: "set_adapter_",
    MIXED: "adapter_names_",
    THREADS: "fastapi_",
}  # prefixes of figures
EMBED = "vectors"  # a deployment that answers with vectors


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to be asked: where, and with what for a text and a deployment."""

    name: str
    port: int
    request: Request


def _infer(text: str, name: str) -> tuple[str, Any]:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
    return f"/v2/models/{name}/infer", {"inputs": [tensor]}


# Each family of routes that can ask for it; the first of a group is what the others are compared with.
FAMILIES: dict[str, Request] = {
    "native": lambda text, name: (f"/v1/deployments/{name}/predict", {"text": text}),
    "hf": lambda text, name: (f"/hf/{name}", {"inputs": text}),
    "oip": _infer,
    "tei": lambda text, name: (f"/tei/{name}/predict", {"inputs": text}),
    "native_embed": lambda text, name: (f"/v1/deployments/{EMBED}/predict", {"inputs": text}),
    "tei_embed": lambda text, name: (f"/tei/{EMBED}/embed", {"inputs": text}),
    "openai_embed": lambda text, name: ("/v1/embeddings", {"model": EMBED, "input": text}),
    "ollama_embed": lambda text, name: ("/api/embed", {"model": EMBED, "input": text}),
}


def ours(port: int) -> Contender:
    """Our server, asked on its native route."""
    return Contender(OURS, port, FAMILIES["native"])


def rivals(bento: int, fastapi: int) -> list[Contender]:
    """The ways of plain PEFT, at the ports of their servers."""
    return [
        Contender(LOCKED, bento, lambda text, name: ("/locked", {"text": text, "adapter": name})),
        Contender(MIXED, bento, lambda text, name: ("/mixed", {"asks": [{"text": text, "adapter": name}]})),
        Contender(THREADS, fastapi, lambda text, name: ("/predict", {"text": text, "adapter": name})),
    ]


@contextmanager
def plain_bento(base: Base, adapters: Path) -> Iterator[int]:
    """Run BentoML with plain PEFT and its adaptive batching; yield the port."""
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    home = {"BENTOML_HOME": str(adapters.parent / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    command = [bentoml, "serve", "benchmarks.plain_service:Plain", "--port"]
    with _plain(command, base, adapters, home) as port:
        yield port


@contextmanager
def plain_fastapi(base: Base, adapters: Path) -> Iterator[int]:
    """Run FastAPI with plain PEFT behind a lock; yield the port."""
    command = [sys.executable, "-m", "uvicorn", "--no-access-log", "benchmarks.plain_fastapi:app", "--port"]
    with _plain(command, base, adapters, {}) as port:
        yield port


@contextmanager
def _plain(command: list[str], base: Base, adapters: Path, extra: dict[str, str]) -> Iterator[int]:
    port = free_port(0)
    extra = {"BENCH_BASE": str(base.path), "BENCH_ADAPTERS": str(adapters), **extra}
    log = adapters.parent / f"plain-{port}.log"
    with process([*command, str(port)], extra, log) as alive:
        wait(alive, lambda: ready(f"http://127.0.0.1:{port}"))
        yield port
