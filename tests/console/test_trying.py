"""Asking a deployment from its page: answers as plugins draw them, streams, and explanations."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from html import unescape

import pytest
from starlette.testclient import TestClient

from hub.api import HeadKind
from hub.console.coloured_words import coloured_words
from hub.console.fields import body_of
from hub.console.plain_html import plain_html
from hub.console.streamed_answer import HtmlEvents
from hub.errors import BadRequest
from hub.store.change import Deploy
from tests.console.conftest import Browser
from tests.http.conftest import serve
from tests.support.homes import FakeHome
from tests.support.plugins import installing, plugin_of, write_page

RENDERER = """
import time

@hookimpl
def hub_renderers():
    yield RendererSpec("careless", "Does what its text asks for.", "made:Careless", tasks=("classification",))

class Careless(Renderer[NoOptions]):
    def render(self, request, response):
        if request["text"] == "raise":
            raise ValueError("a secret of the renderer")
        if request["text"] == "hang":
            time.sleep(5)
        return request["text"]
"""
SCRIPTS = {"accept": "text/html, text/event-stream", "hx-request": "true"}
LIMIT_S = "1"


@pytest.fixture(scope="module")
def server(home: FakeHome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server with the renderer of docs/plugins/renderers.md, and with a careless one."""
    folder = tmp_path_factory.mktemp("renderers")
    topic = home.add("topic", task="classification", labels=("sports", "science"))
    desk = home.add("desk", task="translation", kind=HeadKind.GENERATE, labels=())
    home.store.deploy("topic", Deploy(version=topic.ref))
    home.store.deploy("desk", Deploy(version=desk.ref))
    with installing(folder / "site") as install:
        install(write_page("renderers", folder), plugin_of(folder, RENDERER))
        variables = {"HUB_LIMITS__PLUGIN_TIMEOUT_S": LIMIT_S, "HUB_SERVE__EXPLAIN": "true"}
        with serve(home.path, **variables) as client:
            yield client


@pytest.mark.parametrize("text", ["[", "[" * 20_000, '["\\ud800"]', "NaN", "1" * 5000])
def test_what_is_no_json_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(BadRequest, match=r"inputs: write JSON\."):
        body_of({"properties": {"inputs": {"type": "array"}}}, {"inputs": text})


def test_lines_of_a_text_end_as_in_a_request_of_the_api(operator: Browser) -> None:
    page = operator.send("/console/deployments/mood/try", text="\r\none\r\n\r\ntwo\rthree").text
    assert r"""-d '{"text": "\none\n\ntwo\rthree"}'""" in unescape(page)
    assert re.search(r"<textarea [^>]*>\n\none\n\ntwo", page)  # of which HTML drops the first line feed


def test_an_answer_is_drawn_by_the_renderer_of_its_task(operator: Browser) -> None:
    page = operator.send("/console/deployments/mood/try", text="<b>fine</b>").text
    assert re.search(r'<div class="drawn"><p>&lt;b&gt;fine&lt;/b&gt;: [15] stars</p></div>', page)
    assert "<meter" not in page


def test_a_renderer_writes_nothing_that_acts(operator: Browser) -> None:
    text = '<h3 onclick="a()">Fine</h3><script>b()</script><form action="/x"><button>Go</button></form>'
    page = operator.send("/console/deployments/topic/try", text=text).text
    assert '<div class="drawn"><h3>Fine</h3>Go</div>' in page


@pytest.mark.parametrize("text", ["raise", "hang", "hang"])
def test_a_renderer_that_fails_or_hangs_takes_no_answer_away(operator: Browser, text: str) -> None:
    began = time.monotonic()
    page = operator.send("/console/deployments/topic/try", text=text)
    assert page.status_code == 200
    assert "<meter" in page.text
    assert "secret" not in page.text
    assert time.monotonic() - began < 4  # the limit, not the hang
    answered = operator.client.post("/v1/deployments/topic/predict", json={"text": "x"})
    assert answered.status_code == 200  # its task is not suspended


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("<p>one<br>two", "<p>one<br>two</p>"),
        ('<p hx-get="/console" id="main" style="x" title="a&quot;b">x</p>', '<p title="a&quot;b">x</p>'),
        ('<img src=x onerror="a()"><a href="javascript:b()">link</a>', "link"),
        ("<svg><style><p>x</p></style></svg>after", "after"),
        ("<b><i>crossed</b></i>", "<b><i>crossed</i></b>"),
        ("1 < 2 &amp; <!-- hidden --> 3", "1 &lt; 2 &amp;  3"),
        ("</div></main>", ""),
        ("<p/>x<ul><li>a<li>b</ul>", "<p></p>x<ul><li>a<li>b</li></li></ul>"),
    ],
)
def test_only_plain_html_is_kept(written: str, kept: str) -> None:
    assert plain_html(written) == kept
    assert plain_html(kept) == kept


def test_a_question_ends_in_the_time_of_a_request(operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(*given: object) -> bytes:
        await asyncio.sleep(30)
        return b"{}"

    monkeypatch.setattr("hub.console.pages.try_it.predict_once", slow)
    monkeypatch.setattr("hub.console.routes.AskRoute._seconds", lambda self, limits: 0.2)
    late = operator.send("/console/deployments/mood/try", text="Good.")
    assert late.status_code == 504
    assert "deadline_exceeded" in late.text


def test_generated_text_is_streamed_to_a_script(operator: Browser) -> None:
    fields = {"text": "hello", "source_language": "en", "target_language": "fr"}
    whole = operator.send("/console/deployments/desk/try", **fields)
    assert whole.headers["content-type"] == "text/html; charset=utf-8"
    shown = re.search(r"<blockquote>(.+?)</blockquote>", whole.text)
    assert shown
    streamed = operator.post("/console/deployments/desk/try", SCRIPTS, token=operator.token(), **fields)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    events = [
        "\n".join(line.removeprefix("data: ") for line in event.splitlines())
        for event in streamed.text.split("\n\n")
        if event.startswith("data: ")
    ]
    first = re.search(r'<blockquote aria-busy="true">(.+?)</blockquote>', events[0])
    assert first
    assert shown[1].startswith(first[1])
    assert f"<blockquote>{shown[1]}</blockquote>" in events[-1]


def test_a_stream_shows_the_text_so_far_at_most_ten_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("hub.console.streamed_answer.time.monotonic", lambda: now)
    stream = HtmlEvents(lambda answer, error: f"<p>{answer}</p>")
    assert b"<blockquote" in (first := stream.text("a <b>")) and b"a &lt;b&gt;<" in first
    assert stream.text(" warm") == b":\n\n"  # a comment
    now += 0.2
    assert b"a &lt;b&gt; warm film<" in stream.text(" film")


def test_an_error_of_a_stream_is_shown(operator: Browser) -> None:
    answer = operator.post("/console/deployments/desk/try", SCRIPTS, token=operator.token(), text=" ")
    assert 'role="alert"' in answer.text


def test_an_explanation_colours_the_words(operator: Browser) -> None:
    page = operator.send("/console/deployments/mood/try", text="A warm film.").text
    found = re.search(r'name="body" value="([^"]+)"', page)
    assert found
    shown = operator.send("/console/deployments/mood/explain", body=unescape(found[1]), method="attention")
    assert shown.status_code == 200, shown.text
    assert re.search(r'<span class="(for|against)-4" title="[-0-9.]+">', shown.text)
    assert "by attention" in shown.text


@pytest.mark.parametrize("body", ["", "[1]", "{", '{"other": 1}'])
def test_what_cannot_be_explained_is_refused(operator: Browser, body: str) -> None:
    refused = operator.send("/console/deployments/mood/explain", body=body, method="attention")
    assert refused.status_code in (400, 422)
    assert 'role="alert"' in refused.text


def test_pieces_of_a_text_are_in_order_with_their_strength() -> None:
    words = [
        {"field": "text", "offsets": [4, 8], "score": -0.5},
        {"field": "text", "offsets": [0, 3], "score": 1.0},
        {"field": "text", "offsets": [7, 99], "score": 1.0},
    ]
    [found] = coloured_words({"text": "the warm film", "other": 1}, words)
    assert [(one["text"], one["strength"]) for one in found["pieces"]] == [
        ("the", 4),
        (" ", None),
        ("warm", -2),
        (" film", None),
    ]
    assert coloured_words({"text": "x"}, []) == []
