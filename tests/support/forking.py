"""The process from which tests fork: `python -m tests.support.forking SOCKET`, started by `preloaded`."""

from __future__ import annotations

import asyncio
import atexit
import gc
import importlib
import json
import logging
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import psutil

from tests.support.once import find_once
from tests.support.preloaded import ADDRESS, JOB, PYTHON, AskingPopen, Job, words_of

END_LIMIT_S = 30
WORKER = "hub.http.process.worker"
# What Python sets when it starts, and a supervisor may have changed.
AT_START = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGPIPE: signal.SIG_IGN,
    signal.SIGXFSZ: signal.SIG_IGN,
}
# Libraries that read variables which a server sets for its workers.
TOO_EARLY = ("bentoml", "prometheus_client")


def _import() -> None:
    import aiohttp  # noqa: F401 - as the next three, what a server's worker imports with bentoml
    import circus  # noqa: F401
    import onnx  # noqa: F401
    import peft  # noqa: F401
    import pip._internal.commands.download
    import pip._internal.commands.install
    import pip._internal.commands.wheel  # noqa: F401
    import pyparsing  # noqa: F401
    import torch  # noqa: F401
    import transformers.models.bert.modeling_bert  # noqa: F401
    import zmq  # noqa: F401

    import hub.cli.main
    import hub.client.catalog
    import hub.engine.assemble
    import hub.engine.fake
    import hub.engine.tokenizer
    import hub.http.app
    import hub.http.process.launch
    import hub.jobs.check_file
    import hub.jobs.events
    import hub.jobs.openai_rows
    import hub.jobs.request
    import hub.report.write
    import hub.serving.runtime
    import hub.training.train  # noqa: F401


def _accept(address: str) -> Job:
    """Fork for each connection; return its job in the forked process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"{address}.new")
        listener.listen(64)
        Path(f"{address}.new").rename(address)  # whoever sees it can connect
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if not os.fork():
                break
            connection.close()
            _reap(os.WNOHANG)
        else:  # the tests have ended
            signal.alarm(END_LIMIT_S)  # a command that they left is not waited for
            _reap(0)
            os._exit(0)
    line, streams, *_ = socket.recv_fds(connection, 1 << 20, 3)
    if not line:  # whoever asked was killed before that
        os._exit(0)
    if job := os.fork():
        for stream in streams:
            os.close(stream)
        with suppress(OSError):  # whoever asked may have ended
            connection.send(str(job).encode())
            ended = os.pidfd_open(job)
            if ended not in select.select([ended, connection], [], [])[0]:
                _kill(job)  # whoever asked has ended, or was killed in its place
            connection.send(str(os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])).encode())
        os._exit(0)
    os.setpgid(0, 0)  # it can be killed with all that it starts
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    return Job(**json.loads(line))


def _kill(job: int) -> None:
    for kill in (os.killpg, os.kill):  # its group may be another one, or not be there yet
        with suppress(ProcessLookupError):
            kill(job, signal.SIGKILL)


def _reap(options: int) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def _stand_in(asker: int) -> None:
    """Join the group of the program that asked, and see its parent as one's own: jobs end with theirs."""

    def parent() -> int:
        try:
            return psutil.Process(asker).ppid()
        except psutil.Error:
            return 0

    with suppress(PermissionError):  # of another session
        os.setpgid(0, os.getpgid(asker))
    os.getppid = parent


def _become(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Make this process one that was started as `python -m module arguments`, run it, and end."""
    status: Any = 1
    try:
        os.environ.clear()
        os.environ.update(environment)
        for number, handler in AT_START.items():
            signal.signal(number, handler)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(number, mode, closefd=False, buffering=1) for number, mode in enumerate("rww")
        )
        known = set(sys.path)
        paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = added = [path for path in paths if path not in known]
        importlib.invalidate_caches()
        if any(Path(path, "sitecustomize.py").is_file() for path in added):
            sys.modules.pop("sitecustomize", None)
            importlib.import_module("sitecustomize")
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(status)  # the destructors of onnxruntime wait for a thread that a fork does not have


class _ForkingPopen(AskingPopen):
    """Forks the workers of a server from its supervisor, too."""

    def __init__(self, args: Any, *others: Any, **options: Any) -> None:
        words = words_of(args)
        if words[:3] == [PYTHON, "-m", WORKER] and not any(name in sys.modules for name in TOO_EARLY):
            options["preexec_fn"] = partial(_become_worker, words[3:], options["env"], options["pass_fds"])
        super().__init__(args, *others, **options)


def _become_worker(
    arguments: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int]
) -> None:
    """Run a worker after the fork, in the place of exec; `subprocess` has set its streams and its group."""
    gc.freeze()  # no finalizer may close what belongs to the supervisor
    asyncio._set_running_loop(None)
    signal.set_wakeup_fd(-1)
    logging.root.handlers.clear()
    last = 2
    for descriptor in sorted({*descriptors, os.sysconf("SC_OPEN_MAX")}):
        os.closerange(last + 1, descriptor)  # one of them tells the supervisor that the worker runs
        last = descriptor
    _become(WORKER, arguments, environment)


def main() -> None:
    _import()
    find_once()
    assert not any(name in sys.modules for name in TOO_EARLY)
    gc.collect()
    gc.freeze()  # a child's collector would copy every page that it walks over
    ADDRESS.append(sys.argv[1])
    try:
        job = _accept(sys.argv[1])
        os.chdir(job.folder)
        if job.module == JOB:
            _stand_in(job.asker)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # as at the end of `_become`
    subprocess.Popen = _ForkingPopen  # type: ignore[misc]
    _become(job.module, job.arguments, job.environment)


if __name__ == "__main__":
    main()
