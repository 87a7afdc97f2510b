"""Fixtures of bulk jobs: two deployments on a tiny base, and files of rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hub.api import HeadKind
from hub.config import load_settings
from hub.scale.bulk import BulkResult, run_bulk, run_locally
from hub.scale.job import BulkRequest
from hub.store.change import Deploy
from tests.support.homes import FakeHome
from tests.support.serving import tiny_base_folder

__all__ = ["tiny_base_folder"]  # a fixture


@pytest.fixture
def home(tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHome:
    """A state folder with the deployments `mood` and `tone`, on the fake engine."""
    monkeypatch.setenv("HUB_SERVE__ENGINE", "fake")
    made = FakeHome(load_settings().home, tiny_base_folder)
    for name, seed in (("mood", 1), ("tone", 2)):
        made.store.deploy(name, Deploy(version=made.add(name, seed=seed).ref, by="test"))
    return made


@pytest.fixture
def reader(home: FakeHome) -> None:
    """A deployment of a task that needs two texts."""
    version = home.add("reader", seed=3, task="qa", kind=HeadKind.SPAN, labels=())
    home.store.deploy("reader", Deploy(version=version.ref, by="test"))


def texts(rows: int) -> list[str]:
    """Return texts of different lengths, no two alike."""
    return [f"film {row} is good " * (1 + row % 4) for row in range(rows)]


def write_parquet(path: Path, rows: int, group: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": pa.array(range(rows), pa.int16()), "text": texts(rows)})
    pq.write_table(table, path, row_group_size=group)
    return path


@pytest.fixture
def job(home: FakeHome, tmp_path: Path) -> Callable[..., BulkResult]:
    """Run a job locally, with the output in `out`."""

    def run(data: str | Path, *deployments: str, out: str = "out", **options: Any) -> BulkResult:
        request = BulkRequest(
            deployments=deployments or ("mood",), data=str(data), out=str(tmp_path / out), **options
        )
        return run_bulk(request, load_settings(), run_locally)

    return run
