"""kill -9 of a command at each of its steps: old state or new, and nothing to mend."""

from __future__ import annotations

import pytest

from hub.store.change import Deploy
from hub.store.store import Store


@pytest.mark.parametrize("name", ["mood", "fresh"])
def test_a_deploy(broken, name) -> None:
    broken.sweep("deploy", "mood@3", "--as", name)


def test_a_rollback(broken) -> None:
    broken.sweep("rollback", "mood")


def test_a_canary(broken) -> None:
    broken.sweep("deploy", "mood@3", "--as", "mood", "--canary", "10")


def test_a_promotion(broken, tmp_path) -> None:
    broken.pristine = broken.home().rename(tmp_path / "on-trial")
    Store(broken.pristine).deploy("mood", Deploy(version="mood@3", canary=10, by="test"))
    broken.sweep("promote", "mood")


@pytest.fixture(params=["alone", "url"])
def place(request, broken, tmp_path) -> str:
    """Where contents lie: in the home alone, or at a URL as well (here inside the home: its steps count)."""
    if request.param == "url":
        broken.environment["HUB_STORE__BLOBS"] = (broken.scratch / "shared").as_uri()
        broken.pristine = broken.home().rename(tmp_path / "with-url")
        (broken.pristine / "shared").mkdir()
    return request.param


def test_an_import(broken, peft_folder, place) -> None:
    options = ("--task", "sentiment", "--base", "tiny", "--labels", "negative,positive")
    broken.sweep("adapters", "import", str(peft_folder), "fresh", *options)


def test_a_removal(broken, place) -> None:
    broken.sweep("adapters", "rm", "mood@3", "--yes")


def test_a_start_in_an_empty_home(broken, tmp_path) -> None:
    broken.pristine = tmp_path / "empty"
    broken.pristine.mkdir()
    broken.sweep("adapters", "list")
