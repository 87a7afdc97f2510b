"""Metrics on a full disk: no process dies by SIGBUS, and counting continues."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

from hub.http.metrics import values as metric_values
from hub.http.metrics.values import ReservedDict

ROOT = Path(__file__).parents[3]


def no_space(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_a_file_has_its_blocks_before_it_is_written(tmp_path) -> None:
    path = tmp_path / "counter_1.db"
    values = ReservedDict(str(path))
    assert allocated(path) >= path.stat().st_size == 1 << 16
    for number in range(2_000):
        values.write_value(f"a key that is quite long, number {number}", float(number), 0.0)
    assert allocated(path) >= path.stat().st_size > 1 << 16
    values.close()
    read = {key: value for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path))}
    assert len(read) == 2_000
    assert read["a key that is quite long, number 1999"] == 1999.0


@pytest.mark.parametrize("length", range(8))
def test_the_size_of_the_next_value_is_foreseen_to_the_byte(tmp_path, length) -> None:
    """An underestimate would let prometheus_client grow the file without blocks."""
    path = tmp_path / "counter_1.db"
    values = ReservedDict(str(path))
    for number in range(3_000):
        values.write_value(f"{number:0{length + 4}}", 1.0, 0.0)
        assert allocated(path) >= values._capacity
    values.close()


def test_a_file_without_room_becomes_memory_and_goes_on_counting(tmp_path, monkeypatch, caplog) -> None:
    path = tmp_path / "counter_1.db"
    values = ReservedDict(str(path))
    values.write_value("before", 7.0, 0.0)
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    for number in range(2_000):
        values.write_value(f"a key that is quite long, number {number}", float(number), 0.0)
    assert values.read_value("before") == (7.0, 0.0)
    assert values.read_value("a key that is quite long, number 1999")[0] == 1999.0
    assert path.stat().st_size == 1 << 16, "no hole was made in the file"
    assert caplog.text.count("No space left on device") == 1
    values.close()


def test_a_file_that_cannot_be_made_is_memory_from_the_start(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    values = ReservedDict(str(tmp_path / "counter_1.db"))
    values.write_value("key", 3.0, 0.0)
    assert values.read_value("key") == (3.0, 0.0)
    values.close()
    nowhere = ReservedDict(str(tmp_path / "missing" / "counter_1.db"))
    assert nowhere.read_value("key") == (0.0, 0.0)
    nowhere.close()


FULL = """
import sys
from pathlib import Path
from hub.http.metrics.values import ReservedDict
room = Path(sys.argv[1])
values = ReservedDict(str(room / "counter_1.db"))
values.write_value("before", 1.0, 0.0)
with open(room / "rest", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
for number in range(20_000):
    values.write_value(f"a key that is quite long, number {number}", 1.0, 0.0)
print("counted", int(sum(values.read_value(key)[0] for key in list(values._positions))))
"""


def test_a_real_disk_that_fills_up_does_not_end_the_process(tmp_path) -> None:
    """prometheus_client's own class is ended by SIGBUS here."""
    room = tmp_path / "room"
    room.mkdir()
    script = f'mount -t tmpfs -o size=128k tmpfs {room} && exec {sys.executable} -c "$1" {room}'
    ran = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", FULL],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if "Operation not permitted" in ran.stderr or "unshare failed" in ran.stderr:
        return  # no namespace may be made here: the tests above attack the same without a disk
    assert (ran.returncode, ran.stdout) == (0, "counted 20001\n"), ran.stderr


def test_one_worker_keeps_its_metrics_in_memory(shared) -> None:
    shared.post("/v1/deployments/mood/predict", json={"text": "a film"})
    assert metric_values.FOLDER not in os.environ
    text = shared.get("/metrics").text
    assert 'hub_calls_total{code="ok",task="sentiment"}' in text
    assert "_created" not in text


def test_workers_of_one_supervisor_share_a_folder_in_memory(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f"grafthub-metrics-{dead.pid}-1"
    left.mkdir()
    (left / "counter_1.db").touch()
    folder = metric_values._memory_folder()
    assert folder == metric_values._memory_folder()
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not left.exists(), "those of supervisors that are gone are removed"


def test_a_folder_that_another_user_made_first_is_not_used(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = metric_values._memory_folder()
    folder.chmod(0o777)
    assert metric_values._memory_folder() != folder
