"""kill -9 of a command at each of its steps: the state is the old or the new one, and nothing is to be mended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def test_a_deploy(broken) -> None:
    broken.sweep("deploy", "mood@3", "--as", "mood")


def test_a_first_deploy_under_a_name(broken) -> None:
    broken.sweep("deploy", "mood@3", "--as", "fresh")


def test_a_rollback(broken) -> None:
    first = {}

    def undone(now: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """A rollback that had happened before the kill is undone by the second; its effect is checked alone."""
        first.setdefault(now["generation"], now)
        return None if now["generation"] > min(first) else None

    broken.sweep("rollback", "mood", again=undone)


def test_an_import(broken, peft_folder) -> None:
    options = ("--task", "sentiment", "--base", "tiny", "--labels", "negative,positive")
    broken.sweep("adapters", "import", str(peft_folder), "fresh", *options)


def test_a_removal(broken) -> None:
    def gone(now: Mapping[str, Any]) -> Mapping[str, Any] | None:
        left = {ref: sha256 for ref, sha256 in now["versions"].items() if ref != "mood@3"}
        return {**now, "versions": left} if "mood@3" in now["versions"] else None

    broken.sweep("adapters", "rm", "mood@3", "--yes", again=gone)
