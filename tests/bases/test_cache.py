from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from hub.bases.base import BaseKind
from hub.bases.cache import Bases
from hub.bases.fingerprint import fingerprint
from hub.errors import BadBase, Conflict, InvalidName, NotFound

KILLED_HALF_WAY = """
import os, signal, sys
from pathlib import Path
from hub.bases.cache import Bases

def die(what, done, total):
    if done == 2:
        os.kill(os.getpid(), signal.SIGKILL)

Bases(Path(sys.argv[1])).pull(sys.argv[2], progress=die)
"""
PULL = """
import sys
from pathlib import Path
from hub.bases.cache import Bases

steps = []
Bases(Path(sys.argv[1])).pull(sys.argv[2], progress=lambda *step: steps.append(step))
print(len(steps))
"""


@pytest.fixture
def bases(tmp_path: Path) -> Bases:
    return Bases(tmp_path / "home")


def entries(bases: Bases) -> set[str]:
    return {path.name for path in bases.folder.iterdir()} - {".locks"}


def test_a_pulled_base_is_found_by_name_and_fingerprint(bases: Bases, model_folder) -> None:
    folder = model_folder()
    base = bases.pull(str(folder), "mine")
    assert (base.name, base.kind, base.model_type, base.max_length) == ("mine", BaseKind.ENCODER, "bert", 64)
    assert base.fingerprint == fingerprint(folder) == fingerprint(base.path)
    assert bases.get("mine") == bases.by_fingerprint(base.fingerprint) == base
    assert bases.list() == [base]


def test_a_home_without_bases_lists_none_and_makes_nothing(tmp_path: Path) -> None:
    assert Bases(tmp_path / "home").list() == []
    assert not (tmp_path / "home").exists()


def test_an_unknown_base_is_answered_with_those_there_are(bases: Bases, model_folder) -> None:
    with pytest.raises(NotFound, match="hub base pull minilm"):
        bases.get("mine")
    bases.pull(str(model_folder()), "mine")
    with pytest.raises(NotFound, match="Available: mine"):
        bases.get("yours")
    with pytest.raises(NotFound, match="Available: mine"):
        bases.by_fingerprint("0" * 64)


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", "", "UPPER", "a..b", "x" * 64])
def test_a_name_that_could_leave_the_folder_is_refused(bases: Bases, model_folder, name: str) -> None:
    for use in (lambda: bases.get(name), lambda: bases.pull(str(model_folder(f"m{id(name)}")), name or " ")):
        with pytest.raises(InvalidName):
            use()
    assert not bases.folder.exists()


def test_pulling_again_copies_nothing(bases: Bases, model_folder) -> None:
    folder = model_folder()
    base = bases.pull(str(folder))
    steps = []
    assert bases.pull(str(folder), progress=lambda *step: steps.append(step)) == base
    assert steps == []


def test_a_base_stays_when_its_folder_is_gone(bases: Bases, model_folder) -> None:
    folder = model_folder()
    base = bases.pull(str(folder))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert bases.pull(str(folder)) == base


def test_a_name_that_stands_for_another_base_is_not_reused(bases: Bases, model_folder) -> None:
    one, two = model_folder("one"), model_folder("two", seed=2)
    bases.pull(str(one), "mine")
    with pytest.raises(Conflict, match="--name"):
        bases.pull(str(two), "mine")


def test_a_folder_that_changed_is_not_taken_for_the_base_it_was(bases: Bases, model_folder) -> None:
    folder = model_folder()
    bases.pull(str(folder))
    (folder / "tokenizer.json").write_text('{"version": "2.0"}')
    with pytest.raises(Conflict, match="has changed"):
        bases.pull(str(folder))


def test_a_pull_that_fails_half_way_leaves_nothing(bases: Bases, model_folder) -> None:
    def fail(what: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bases.pull(str(model_folder()), progress=fail)
    assert entries(bases) == set()


@pytest.mark.parametrize("another", [True, False], ids=["of another base", "of the same base"])
def test_what_a_killed_pull_left_is_removed_by_the_next(bases: Bases, model_folder, another: bool) -> None:
    folder = model_folder()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_HALF_WAY, str(bases.folder.parent), str(folder)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert entries(bases) == {".model.partial"}
    assert bases.list() == []
    other = bases.pull(str(model_folder("other", seed=3) if another else folder))
    assert entries(bases) == {other.name}
    assert bases.list() == [other]


def test_what_another_process_is_pulling_is_left_alone(bases: Bases, model_folder) -> None:
    busy = bases.folder / ".busy.partial"
    busy.mkdir(parents=True)
    (bases.folder / ".locks").mkdir()
    with FileLock(bases.folder / ".locks" / "busy"):
        bases.pull(str(model_folder()))
    assert entries(bases) == {".busy.partial", "model"}


def test_two_processes_that_pull_at_once_get_one_base(bases: Bases, model_folder) -> None:
    folder = model_folder()
    command = [sys.executable, "-c", PULL, str(bases.folder.parent), str(folder)]
    pulls = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    steps = sorted(int(pull.communicate()[0]) for pull in pulls)
    assert [pull.returncode for pull in pulls] == [0, 0, 0]
    assert steps[:2] == [0, 0] and steps[2] > 0
    assert entries(bases) == {"model"}


def test_a_damaged_record_is_named_with_what_to_do(bases: Bases, model_folder) -> None:
    base = bases.pull(str(model_folder()))
    record = json.loads((base.path / "base.json").read_text())
    (base.path / "base.json").write_text(json.dumps({**record, "kind": "toaster"}))
    with pytest.raises(BadBase, match=r"Remove .* and pull the base again"):
        bases.get("model")


def test_a_folder_that_no_pull_made_is_not_overwritten(bases: Bases, model_folder) -> None:
    (bases.folder / "model").mkdir(parents=True)
    with pytest.raises(BadBase, match="not a base that was pulled here"):
        bases.pull(str(model_folder()))
