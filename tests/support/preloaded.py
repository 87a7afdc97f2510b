"""Runs `hub` in processes that are forked from one in which the libraries are imported.

Importing torch and transformers is most of what a short command or the start of a server costs. A forked
process has its own memory, environment, folder and streams, as a started one; a server's workers are forked
from its supervisor. Commands whose variables are read at import, such as HF_HOME, are started as usual.
"""

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
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import IO, Any, NoReturn

__all__ = ["AskingPopen", "Forked", "Preloaded", "Process", "preloaded"]

ROOT = Path(__file__).parents[2]
PYTHON = sys.executable  # a test may change it
END_LIMIT_S = 30
WORKER = "hub.http.process.worker"
ASKED_FOR = ("hub.bases.gguf", "hub.engine.onnx.export", "hub.jobs.check_file")
ADDRESS: list[str] = []  # in a forked process, that of the process it comes from
# Variables that the imported libraries have read.
READ_AT_IMPORT = (
    "CUDA_",
    "GOMP_",
    "HF_",
    "LD_",
    "MKL_",
    "OMP_",
    "TOKENIZERS_",
    "TORCH",
    "TRANSFORMERS_",
    "XDG_",
)
# What Python sets when it starts, and a supervisor may have changed.
AT_START = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGPIPE: signal.SIG_IGN,
    signal.SIGXFSZ: signal.SIG_IGN,
}
# Libraries that read variables which a server sets for its workers.
TOO_EARLY = ("bentoml", "prometheus_client")

SCRIPT = """\
import json, os, signal, socket, sys
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect({address!r})
job = dict(module={module!r}, arguments=sys.argv[1:], environment=dict(os.environ), folder=os.getcwd())
socket.send_fds(connection, [json.dumps(job).encode()], [0, 1, 2])
process = int(connection.recv(64))
signal.signal(signal.SIGTERM, lambda number, frame: os.kill(process, number))
sys.exit(int(connection.recv(64)))
"""


class Forked:
    """A process that runs: what tests use of `subprocess.Popen`."""

    def __init__(self, connection: socket.socket, words: Sequence[str]) -> None:
        self.args = words
        self.pid = int(connection.recv(64))
        self.returncode: int | None = None
        self._connection = connection

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once the process has ended."""
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
            self.returncode = int(self._connection.recv(64))
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


Process = Forked | subprocess.Popen[bytes]


@dataclass(frozen=True)
class _Job:
    module: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str


class Preloaded:
    """The process to fork from, of one Python; it ends with this process."""

    def __init__(self, python: str) -> None:
        self.python = python
        self._folder = tempfile.TemporaryDirectory(prefix="hub-fork-")  # the path of a socket has to be short
        self.address = str(Path(self._folder.name, "socket"))
        self._environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
        command = [python, "-m", "tests.support.preloaded", self.address]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self._environment | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout and self._process.stdout.readline(), "it cannot import what it needs"
        for name in ASKED_FOR:
            self.write_script(Path(self.address).with_name(name))
        atexit.register(self.close)

    def close(self) -> None:
        """End it once its commands have ended."""
        with self._process, self._folder:
            pass

    def start(
        self,
        module: str,
        *arguments: str,
        env: Mapping[str, str],
        cwd: Path | str | None = None,
        stdout: IO[Any],
        stderr: IO[Any],
    ) -> Process:
        """Start `python -m module arguments`, without input."""
        if not self.fits(env):
            command = [self.python, "-m", module, *arguments]
            return subprocess.Popen(
                command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
            )
        with open(os.devnull) as nothing:
            job = _Job(module, list(arguments), dict(env), str(cwd or Path.cwd()))
            return Forked(send(self.address, job, nothing, stdout, stderr), (module, *arguments))

    def run(
        self, module: str, *arguments: str, env: Mapping[str, str], cwd: Path | str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m module arguments`, as `subprocess.run` does with `capture_output` and `text`."""
        with tempfile.TemporaryFile("w+b") as out, tempfile.TemporaryFile("w+b") as err:
            status = self.start(module, *arguments, env=env, cwd=cwd, stdout=out, stderr=err).wait()
            printed = [_read(file) for file in (out, err)]
        return subprocess.CompletedProcess([module, *arguments], status, *printed)

    def write_script(self, path: Path) -> None:
        """Write a program that runs the module of its name, as the one that pip writes does."""
        path.write_text(f"#!{self.python} -IS\n{SCRIPT.format(address=self.address, module=path.name)}")
        path.chmod(0o755)

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Return whether the libraries, as they were imported, suit a process with this environment."""
        names = {name for name in (*environment, *self._environment) if name.startswith(READ_AT_IMPORT)}
        return all(environment.get(name) == self._environment.get(name) for name in names)


def preloaded(python: str = sys.executable) -> Preloaded:
    """Return the process to fork from, which is started at the first call."""
    return _started(python)


_started = cache(Preloaded)


def send(address: str, job: _Job, *streams: IO[Any]) -> socket.socket:
    """Have a job run with these standard streams; its process id, then its exit status come back."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(address)
    socket.send_fds(connection, [json.dumps(asdict(job)).encode()], [stream.fileno() for stream in streams])
    return connection


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _import() -> None:
    import onnx  # noqa: F401
    import peft  # noqa: F401
    import torch  # noqa: F401
    import transformers.models.bert.modeling_bert  # noqa: F401

    import hub.cli.main
    import hub.client.catalog
    import hub.engine.assemble
    import hub.engine.fake
    import hub.engine.tokenizer
    import hub.http.process.launch
    import hub.jobs.check_file
    import hub.report.write
    import hub.serving.runtime
    import hub.training.train  # noqa: F401

    assert not any(name in sys.modules for name in TOO_EARLY)


def _accept(address: str) -> _Job:
    """Fork for each connection; return its job in the forked process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
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
    if job := os.fork():
        for stream in streams:
            os.close(stream)
        with suppress(OSError):  # whoever asked may have ended
            connection.send(str(job).encode())
            ended = os.pidfd_open(job)
            if ended not in select.select([ended, connection], [], [])[0]:
                os.kill(job, signal.SIGKILL)  # whoever asked has ended, or was killed in its place
            connection.send(str(os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])).encode())
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    return _Job(**json.loads(line))


def _reap(options: int) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


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


class AskingPopen(subprocess.Popen[Any]):
    """Asks for the processes in `ASKED_FOR`, such as exports, instead of starting them."""

    def __init__(self, args: Any, *others: Any, **options: Any) -> None:
        words = _words(args)
        if words[:2] == [PYTHON, "-m"] and words[2] in ASKED_FOR:
            address = ADDRESS[0] if ADDRESS else preloaded().address
            args = [str(Path(address).with_name(words[2])), *words[3:]]
        super().__init__(args, *others, **options)


class _ForkingPopen(AskingPopen):
    """Forks the workers of a server from its supervisor, too."""

    def __init__(self, args: Any, *others: Any, **options: Any) -> None:
        words = _words(args)
        if words[:3] == [PYTHON, "-m", WORKER] and not any(name in sys.modules for name in TOO_EARLY):
            options["preexec_fn"] = partial(_become_worker, words[3:], options["env"], options["pass_fds"])
        super().__init__(args, *others, **options)


def _words(args: Any) -> list[Any]:
    return list(args) if not isinstance(args, str | bytes | os.PathLike) else []


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
    gc.collect()
    gc.freeze()  # a child's collector would copy every page that it walks over
    ADDRESS.append(sys.argv[1])
    try:
        job = _accept(sys.argv[1])
        os.chdir(job.folder)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # as at the end of `_become`
    subprocess.Popen = _ForkingPopen  # type: ignore[misc]
    _become(job.module, job.arguments, job.environment)


if __name__ == "__main__":
    main()
