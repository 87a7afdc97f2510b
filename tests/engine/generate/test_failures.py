"""A failure between two forwards, such as of memory, ends every row; none is lost, and later ones succeed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from hub.engine.generate.arena import Arena
from hub.engine.generate.prefix import PrefixCache
from hub.errors import EngineFailed, HubError
from tests.engine.generate.conftest import few_families


def failing_once(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, number: int) -> None:
    """Let the call of this number, from 0, fail."""
    real: Callable[..., Any] = getattr(owner, name)
    calls = iter(range(10**6))

    def call(*args: Any, **options: Any) -> Any:
        if next(calls) == number:
            raise RuntimeError("no memory")
        return real(*args, **options)

    monkeypatch.setattr(owner, name, call)


@few_families
@pytest.mark.parametrize(
    ("owner", "name", "number"),
    [
        (Arena, "reserve", 0),
        (Arena, "reserve", 2),
        (Arena, "write", 0),
        (Arena, "copy", 1),
        (PrefixCache, "store", 0),
        (PrefixCache, "find", 1),
    ],
)
def test_no_row_is_lost_when_the_arena_or_the_prefix_cache_fails(
    writer, monkeypatch, owner, name, number
) -> None:
    rows = [
        writer.row(1 + index % 3, 40, 7, tokens=3 + 2 * index, num_beams=1 if index % 2 else 3)
        for index in range(6)
    ]
    writer.alone(rows[0])
    failing_once(monkeypatch, owner, name, number)
    for written in [writer.begin(row)[0] for row in rows]:
        try:
            assert written.wait().tokens
        except HubError as error:
            assert isinstance(error, EngineFailed)
        assert written.ended.empty()  # it ended once
    monkeypatch.undo()
    assert writer.alone(rows[1]).text == writer.expected(rows[1])


@few_families
def test_a_row_for_which_there_was_no_thread_fails_and_later_ones_are_written(writer, monkeypatch) -> None:
    row = writer.row(1, 5, 7, tokens=3)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(threading.Thread, "start", refuse)
        writer.begin(row)
    assert writer.alone(row).text == writer.expected(row)
