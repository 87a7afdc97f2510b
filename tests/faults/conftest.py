"""A home to break, a process to kill in it, and what has to hold afterwards."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.cli.main import app
from hub.store.change import Deploy
from hub.store.content.content import content_hash
from hub.store.store import Store
from tests.faults.killed import Job
from tests.support.homes import FakeHome, plain_adapter
from tests.support.preloaded import preloaded
from tests.support.serving import tiny_base_folder

__all__ = ["tiny_base_folder"]

ALL = os.environ.get("GRAFTHUB_FAULTS") == "all"
OTHERS = 1  # kills of a sweep beside those that tell most, unless all are asked for
# Kinds of steps that tell most: those before and after which the state differs, or half of a file is written.
FIRST, LAST = ("half", "rename", "commit"), ("rename", "commit", "committed")
KILLED = -9
ENVIRONMENT = {"HUB_SERVE__ENGINE": "fake"}
State = Mapping[str, Any]


class Forge:
    """A process that has imported and built everything, and forks one for each command."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
        (orders, self._orders), (self._answers, answers) = (
            (os.fdopen(one, mode) for one, mode in zip(os.pipe(), "rw", strict=True)) for _ in range(2)
        )
        with orders, answers:
            self._process = preloaded().start(
                "tests.faults.killed",
                env=environment,
                cwd=Path(__file__).parents[2],
                stdin=orders,
                stdout=answers,
                stderr=sys.__stderr__,
            )

    def __enter__(self) -> Forge:
        return self

    def __exit__(self, *error: object) -> None:
        self._orders.close()
        self._process.wait(30)
        self._answers.close()

    def run(self, home: Path, *words: str, at: int = 0, environment: Mapping[str, str] | None = None) -> Ran:
        record, output = self._folder / "record", self._folder / "output"
        record.write_text("")
        variables = {**ENVIRONMENT, **(environment or {})}
        job = Job(str(home), list(words), str(record), str(output), at, variables)
        self._orders.write(job.line())
        self._orders.flush()
        status = int(self._answer())
        return Ran(status, record.read_text().splitlines(), output.read_text())

    def ready(self) -> bool:
        return self._answer() == "ready"

    def _answer(self) -> str:
        return self._answers.readline().strip()


@dataclass(frozen=True)
class Ran:
    """A command that ended, or was ended: its exit status, its steps in order, what it printed."""

    status: int
    steps: list[str]
    output: str


@dataclass
class Broken:
    """Kills a command at its steps, each time in a fresh copy of one home, and checks what is left."""

    forge: Forge
    pristine: Path
    scratch: Path
    environment: dict[str, str] = field(default_factory=dict)

    def home(self) -> Path:
        shutil.rmtree(self.scratch, ignore_errors=True)
        shutil.copytree(self.pristine, self.scratch)
        return self.scratch

    def sweep(self, *words: str) -> None:
        """Kill the command before each of its steps.

        Afterwards the state is the one before, or the one of a command that ran to its end; the doctor has
        nothing to mend; and the command, run again, does what it would have done from there.
        """
        old = state(self.home())
        whole = self.run(*words, fresh=True)
        new = state(self.scratch)
        after = {False: (whole, new), True: (self.run(*words), state(self.scratch))}
        assert whole.status == 0, whole.output
        found = set()
        for at in chosen(whole.steps):
            killed = self.run(*words, at=at, fresh=True)
            step = f"{at} of {len(whole.steps)}: {killed.steps[-1]}"
            assert killed.status == KILLED, f"{step}: {killed.output}"
            now = state(self.scratch)
            assert now in (old, new), step
            done = now == new != old
            found.add(done)
            self.healthy(step)
            again, (expected, left) = self.run(*words), after[done]
            assert (again.status, again.output) == (expected.status, expected.output), step
            assert state(self.scratch) == left, step
        assert found == {False, new != old}, "some steps are before the change, and some after it"
        self.tidied()

    def run(self, *words: str, at: int = 0, fresh: bool = False) -> Ran:
        home = self.home() if fresh else self.scratch
        return self.forge.run(home, *words, at=at, environment=self.environment)

    def healthy(self, step: str) -> None:
        assert {one["severity"] for one in self.examined(step)} <= {"info"}, step

    def examined(self, step: str, *options: str) -> list[dict[str, Any]]:
        """Return what the doctor finds, in this process; it has to be satisfied."""
        environment = {"HUB_HOME": str(self.scratch), **ENVIRONMENT, **self.environment}
        report = CliRunner().invoke(app, ["doctor", "--json", *options], env=environment)
        assert report.exit_code == 0, f"{step}: {report.output}"
        findings: list[dict[str, Any]] = json.loads(report.stdout)["findings"]
        return findings

    def tidied(self) -> None:
        """Once what is left is days old, nothing of it stays."""
        age(self.scratch)
        self.examined("--fix", "--fix")
        assert self.examined("afterwards") == []
        stored = {version.sha256 for version in Store(self.scratch).versions()}
        assert {path.name for path in (self.scratch / "adapters").glob("*") if path.is_dir()} == stored


def chosen(steps: Sequence[str]) -> list[int]:
    """Return which steps to kill at, from 1: all, or those that tell most and a sample of the others."""
    numbers = range(1, len(steps) + 1)
    if ALL:
        return list(numbers)
    kinds = [step.partition(" ")[0] for step in steps]
    telling = {kinds.index(kind) + 1 for kind in FIRST if kind in kinds}
    telling |= {len(kinds) - kinds[::-1].index(kind) for kind in LAST if kind in kinds}
    others = [number for number in numbers if number not in telling]
    return sorted(telling | set(random.Random(len(steps)).sample(others, min(OTHERS, len(others)))))


def state(home: Path) -> State:
    """Return all that the store says, having compared each version's content with its hash."""
    store = Store(home)
    versions = store.versions()
    for version in versions:
        assert content_hash(version.path, version.manifest.serving) == version.sha256
    deployments = store.deployments()
    moves = [move for one in ("mood", "other", "fresh") for move in history(store, one)]
    assert sorted(move[0] for move in moves) == list(range(1, store.generation() + 1))
    return {
        "generation": store.generation(),
        "versions": {str(version.ref): version.sha256 for version in versions},
        "moves": moves,
        "deployments": {
            one.name: (
                [str(version.ref) for version in one.versions],
                one.previous and str(one.previous.ref),
                one.canary and one.canary.percent,
                one.generation,
            )
            for one in deployments
        },
    }


def history(store: Store, name: str) -> list[tuple[int, str, str | None, str | None]]:
    from hub.errors import NotFound

    try:
        moves = store.history(name)
    except NotFound:
        return []
    refs = [(move.before and str(move.before), move.after and str(move.after)) for move in moves]
    return [(move.generation, name, *ref) for move, ref in zip(moves, refs, strict=True)]


def age(home: Path) -> None:
    """Make everything in a home two days old."""
    for folder, names, files in os.walk(home, topdown=False):
        for name in (*names, *files, "."):
            path = Path(folder, name)
            then = path.stat().st_mtime - 2 * 86400
            os.utime(path, (then, then))


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    with Forge(tmp_path_factory.mktemp("forge") / "it") as forge:
        assert forge.ready(), "it imports what it needs; its error is above"
        yield forge


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path) -> Path:
    """mood@1 was live before mood@2; mood@3 is stored; other@1 has an endpoint of its own."""
    home = FakeHome(tmp_path_factory.mktemp("pristine") / "home", tiny_base_folder)
    for seed in (1, 2, 3):
        home.add("mood", seed=seed)
    home.add("other", seed=9)
    for name, ref in (("mood", "mood@1"), ("mood", "mood@2"), ("other", "other@1")):
        home.store.deploy(name, Deploy(version=ref, by="test"))
    return home.path


@pytest.fixture
def broken(forge: Forge, pristine: Path, tmp_path: Path) -> Broken:
    return Broken(forge, pristine, tmp_path / "home")


@pytest.fixture(scope="session")
def peft_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that is in no store yet."""
    return plain_adapter(tmp_path_factory.mktemp("made") / "adapter", seed=77)
