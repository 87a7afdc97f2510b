"""Runs `hub` in processes that are forked from one in which the libraries are imported.

Importing torch and transformers is most of what a short command or the start of a server costs. A forked
process has its own memory, environment, folder and streams, as a started one; a server's workers are forked
from its supervisor. Commands whose variables are read at import, such as HF_HOME, are started as usual.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

__all__ = [
    "ADDRESS",
    "JOB",
    "AskingPopen",
    "Forked",
    "Job",
    "Preloaded",
    "Process",
    "own_preloaded",
    "preloaded",
    "share_preloaded",
    "start_forked",
    "words_of",
]

ROOT = Path(__file__).parents[2]
PYTHON = sys.executable  # a test may change it
JOB = "hub.jobs.process"
ASKED_FOR = (
    "hub.bases.gguf",
    "hub.engine.onnx.export",
    "hub.jobs.check_file",
    JOB,
    "hub.registry.probe",
    "hub.registry.screening",
    "pip",
)
SHARED = "GRAFTHUB_TEST_FORKS"  # in the environment of test processes that share one
VARIABLES = "variables.json"  # beside its socket: those that it was started with
START_LIMIT_S = 120
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
SET_AT_IMPORT = {"TORCHINDUCTOR_CACHE_DIR"}  # by PEFT, perhaps in the process that asks, after it asked first
SCRIPT = """\
import json, os, signal, socket, sys
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect({address!r})
job = dict(module={module!r}, arguments=sys.argv[1:], environment=dict(os.environ), folder=os.getcwd())
job["asker"] = os.getpid()
socket.send_fds(connection, [json.dumps(job).encode()], [0, 1, 2])
process = int(connection.recv(64))
signal.signal(signal.SIGTERM, lambda number, frame: os.kill(process, number))
status = int(connection.recv(64))
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
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
class Job:
    module: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str
    asker: int = 0  # the program in whose place it runs, if there is one


class Preloaded:
    """The process to fork from, of one Python."""

    def __init__(self, python: str, address: str, environment: Mapping[str, str]) -> None:
        self.python = python
        self.address = address
        self._environment = environment

    def wait(self) -> Preloaded:
        """Return it once it has imported the libraries; its socket is there then."""
        until = time.monotonic() + START_LIMIT_S
        while not Path(self.address).exists():
            assert time.monotonic() < until, "it cannot import what it needs"
            time.sleep(0.05)
        return self

    def start(
        self,
        module: str,
        *arguments: str,
        env: Mapping[str, str],
        cwd: Path | str | None = None,
        stdin: IO[Any] | None = None,
        stdout: IO[Any],
        stderr: IO[Any],
    ) -> Process:
        """Start `python -m module arguments`, by default without input."""
        with open(os.devnull) as nothing:
            streams = (stdin or nothing, stdout, stderr)
            if self.fits(env):
                job = Job(module, list(arguments), dict(env), str(cwd or Path.cwd()))
                return Forked(send(self.address, job, *streams), (module, *arguments))
            command = [self.python, "-m", module, *arguments]
            named = dict(zip(("stdin", "stdout", "stderr"), streams, strict=True))
            return subprocess.Popen(command, env=env, cwd=cwd, **named)

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
        names -= SET_AT_IMPORT
        return all(environment.get(name) == self._environment.get(name) for name in names)


def preloaded(python: str = sys.executable) -> Preloaded:
    """Return the process to fork from, which is started at the first call."""
    return _started(python).wait()


@cache
def own_preloaded() -> Preloaded:
    """Return one that is a child of this process, so that what it forks is below this process."""
    return _start(PYTHON).wait() if SHARED in os.environ else preloaded()


@cache
def _started(python: str) -> Preloaded:
    address = os.environ.get(SHARED, "")
    if not address or python != PYTHON:
        return _start(python)
    return Preloaded(python, address, json.loads(Path(address).with_name(VARIABLES).read_text()))


def _start(python: str) -> Preloaded:
    folder = tempfile.TemporaryDirectory(prefix="hub-fork-")  # the path of a socket has to be short
    address = str(Path(folder.name, "socket"))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    Path(folder.name, VARIABLES).write_text(json.dumps(environment))
    paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    process = subprocess.Popen(
        [python, "-m", "tests.support.forking", address],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdin=subprocess.PIPE,
    )
    atexit.register(_end, process, folder)
    started = Preloaded(python, address, environment)
    for name in ASKED_FOR:
        started.write_script(Path(folder.name, name))
    return started


def _end(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    with process, folder:  # it ends once its commands have ended
        pass


def share_preloaded() -> None:
    """Start one process to fork from for those that are started from now on, and do not wait for it."""
    os.environ[SHARED] = _started(PYTHON).address


def start_forked(command: Sequence[str], **options: Any) -> Process:
    """Start `python -m ...` as `subprocess.Popen` does, from the process that has the libraries."""
    python, flag, module, *arguments = command
    assert (python, flag) == (sys.executable, "-m")
    return preloaded().start(module, *arguments, **{"env": os.environ, **options})


def send(address: str, job: Job, *streams: IO[Any]) -> socket.socket:
    """Have a job run with these standard streams; its process id, then its exit status come back."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(address)
    socket.send_fds(connection, [json.dumps(asdict(job)).encode()], [stream.fileno() for stream in streams])
    return connection


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


class AskingPopen(subprocess.Popen[Any]):
    """Asks for the processes in `ASKED_FOR`, such as exports, instead of starting them."""

    def __init__(self, args: Any, *others: Any, **options: Any) -> None:
        python, *words = words_of(args) or [""]
        if words[:1] == ["-P"]:
            del words[0]
        if (python, *words[:1]) == (PYTHON, "-m") and words[1] in ASKED_FOR:
            address = ADDRESS[0] if ADDRESS else preloaded().address
            args = [str(Path(address).with_name(words[1])), *words[2:]]
        super().__init__(args, *others, **options)


def words_of(args: Any) -> list[Any]:
    return list(args) if not isinstance(args, str | bytes | os.PathLike) else []
