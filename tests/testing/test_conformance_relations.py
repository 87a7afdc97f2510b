"""The suite passes for the task of docs/plugins/relations.md, with several rows for each request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.api import HeadKind, TaskSpec
from hub.testing.conformance import TaskConformance
from tests.support.plugins import installing, write_page


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path) -> Iterator[None]:
    with installing(tmp_path / "site") as install:
        install(write_page("relations", tmp_path))
        yield


class TestRelations(TaskConformance):
    spec = TaskSpec(
        "relations",
        "Find relations.",
        HeadKind.SEQUENCE,
        *(f"acme_ties_task:Relations{name}" for name in ("Request", "Response", "Task")),
    )
    examples = (
        {
            "text": "the actor love the film in paris",
            "entities": (
                {"start": 4, "end": 9, "label": "person"},
                {"start": 19, "end": 23, "label": "work"},
                {"start": 27, "end": 32, "label": "city"},
            ),
            "relations": ({"head": 0, "tail": 1, "label": "likes"},),
        },
        {
            "text": "the team hate rain",
            "entities": (
                {"start": 4, "end": 8, "label": "person"},
                {"start": 14, "end": 18, "label": "work"},
            ),
            "relations": ({"head": 0, "tail": 1, "label": "dislikes"},),
        },
    )
