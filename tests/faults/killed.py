"""Runs commands in processes that are killed at a step; forked from one that has imported everything.

    python -m tests.faults.killed --at 12 --record steps.txt -- deploy mood@2

does one; without arguments it reads a JSON object a line (`Job`), and writes the exit status of each.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import threading
import traceback
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from tests.faults.steps import Steps

RUNTIME = "runtime:"  # before the words of a move that is asked of a serving runtime, not of the command line


@dataclass(frozen=True)
class Job:
    """What to run: in which home, with which variables; killed at step `at`, or never for 0."""

    home: str
    words: list[str]
    record: str
    output: str
    at: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def warm() -> None:
    """Import what commands import, so that a child does not."""
    import transformers.models.bert.modeling_bert  # noqa: F401

    import hub.client.catalog
    import hub.client.doctor
    import hub.engine.assemble
    import hub.engine.fake
    import hub.serving.residency.servable  # noqa: F401
    from hub.engine.tokenizer import load_tokenizer  # noqa: F401
    from tests.support.once import find_once

    find_once()
    with tempfile.TemporaryDirectory() as home:  # what is built at the first use is built here
        os.environ["HUB_HOME"] = home
        for words in (["adapters", "list"], ["doctor"]):
            with redirect_stdout(StringIO()), suppress(SystemExit):
                command(words)


def run(job: Job) -> int:
    """Run a job in this process."""
    os.environ |= {**job.environment, "HUB_HOME": job.home}
    steps = Steps(Path(job.home), Path(job.record), job.at)
    steps.install()
    try:
        if job.words[0] == RUNTIME:
            serve(job.words[1:], steps)
        else:
            steps.armed = True
            command(job.words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 70
    return 0


def command(words: list[str]) -> None:
    from hub.cli.main import main

    sys.argv = ["hub", *words]
    main()


def serve(words: list[str], steps: Steps) -> None:
    """Start a runtime on the fake engine, change a deployment, and print the version of each deployment.

    The change is `deploy NAME REF` or `rollback NAME`; without one, the steps of the start are counted.
    """
    import asyncio

    from hub.config import load_settings
    from hub.registry.host import Registry
    from hub.serving.runtime import Runtime
    from hub.store.change import Deploy, DeploymentChange

    settings = load_settings(flags={"serve": {"engine": "fake", "slots": 4, "poll_ms": 3_600_000}})
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    runtime = Runtime(settings, Registry.of(settings))
    steps.armed = not words
    runtime.start(loop).join()
    if words:
        name, deployment, *version = words
        change = Deploy(version=version[0], by="test") if version else DeploymentChange(by="test")
        steps.armed = True
        getattr(runtime, name)(deployment, change)
    steps.armed = False
    for name, route in sorted(runtime.router.routes.by_name.items()):
        print(name, route.version.ref)
    runtime.close()


def main() -> None:
    if len(sys.argv) > 1:
        parser = argparse.ArgumentParser()
        parser.add_argument("--at", type=int, default=0)
        parser.add_argument("--record", required=True)
        parser.add_argument("words", nargs="+")
        given = parser.parse_args()
        sys.exit(run(Job(os.environ["HUB_HOME"], given.words, given.record, os.devnull, given.at)))
    answers = sys.stdout
    warm()
    gc.freeze()  # a child's collector would copy every page that it walks over
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(f"{_forked(Job(**json.loads(line)))}\n")
        answers.flush()


def _forked(job: Job) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status: Any = 70
    try:
        output = os.open(job.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        status = run(job)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
