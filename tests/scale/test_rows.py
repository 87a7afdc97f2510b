"""A block of rows: several versions in one pass, and failures of single rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from hub.config import load_settings
from hub.engine.fake import FakeEngine
from hub.errors import BadAdapter, BadData, InvalidText, NotReady, PluginTimeout
from hub.scale.rows import ROWS_PER_CALL, PinnedVersion, Rows
from hub.serving.requests.pipeline import Pipeline
from tests.scale.conftest import texts
from tests.support.tokens import tokenized


@pytest.fixture
def rows(home) -> Iterator[Callable[..., Rows]]:
    """Open deployments; they are closed after the test."""
    opened: list[Rows] = []

    def open_(*names: str) -> Rows:
        opened.append(Rows(load_settings(), [PinnedVersion.of(home.store, name) for name in names]))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


def ask(rows: Rows, requests: list) -> list:
    return rows.submit(requests).result(60)


def test_answers_are_in_the_order_of_the_rows(rows) -> None:
    some = texts(3 * ROWS_PER_CALL)
    requests = [{"text": text} for text in some]
    mood, tone = ask(rows("mood", "tone"), requests)
    alone = rows("mood")
    assert [mood[row] for row in (0, 5, 100)] == [ask(alone, [requests[row]])[0][0] for row in (0, 5, 100)]
    assert len(mood) == len(tone) == len(some)
    assert mood[0] != tone[0]


def test_a_text_is_tokenized_once_for_all_deployments(rows, monkeypatch) -> None:
    both = rows("mood", "tone")
    calls = tokenized(monkeypatch)
    some = texts(20)
    ask(both, [{"text": text} for text in some])
    assert calls == dict.fromkeys(some, 1)


@pytest.mark.parametrize("packs", [False, True])
def test_short_rows_are_sorted_by_length_unless_the_engine_packs_them(rows, monkeypatch, packs) -> None:
    monkeypatch.setattr(FakeEngine, "packs", packs)
    asked: list[str] = []
    run = Pipeline.run

    async def seen(self, admission, requests, **options):
        asked.extend(request.text for request in requests)
        return await run(self, admission, requests, **options)

    opened = rows("mood")
    monkeypatch.setattr(Pipeline, "run", seen)
    some = ["a long text " * 40, "good film", "bad", "a longer text " * 60, "fair"]
    ask(opened, [{"text": text} for text in some])
    short = ["good film", "bad", "fair"] if packs else ["bad", "fair", "good film"]
    assert asked == [*short, some[0], some[3]]


def test_rows_that_make_no_request_fail_alone(rows) -> None:
    (found,) = ask(rows("mood"), [{"text": "good"}, "is not JSON", {"text": " "}, {}, {"text": "bad"}])
    assert [type(one) for one in found[1:3]] == [BadData, InvalidText]
    assert str(found[1]) == "is not JSON"
    assert found[3].code == "bad_request"
    assert found[0]["label"]
    assert found[4]["label"]


def test_a_row_that_fails_its_call_fails_alone(rows, monkeypatch) -> None:
    run = Pipeline.run

    async def failing(self, admission, requests, **options):
        if any(request.text == "slow" for request in requests):
            raise PluginTimeout("It took too long.")
        return await run(self, admission, requests, **options)

    monkeypatch.setattr(Pipeline, "run", failing)
    some = [*texts(40), "slow"]
    (found,) = ask(rows("mood"), [{"text": text} for text in some])
    assert [type(one) is dict for one in found] == [True] * 40 + [False]
    assert found[40].code == "plugin_timeout"


def test_what_is_not_a_row_s_fault_stops_the_block(rows, monkeypatch) -> None:
    async def failing(self, admission, requests, **options):
        raise NotReady("The server is shutting down.")

    opened = rows("mood")
    monkeypatch.setattr(Pipeline, "run", failing)
    with pytest.raises(NotReady):
        ask(opened, [{"text": "good"}])


def test_a_version_that_cannot_be_loaded_leaves_no_threads(home, rows) -> None:
    import threading

    version = home.store.get("mood@1")
    (version.path / "adapter_model.safetensors").write_bytes(b"altered")
    before = threading.active_count()
    with pytest.raises(BadAdapter):
        rows("mood")
    assert threading.active_count() <= before
