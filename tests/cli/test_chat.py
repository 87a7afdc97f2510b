"""A dialogue in the terminal: what is sent, what is shown, and how it goes on after an error."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from typer.testing import CliRunner

from hub.cli.context import Context
from hub.cli.main import app
from hub.errors import BadRequest, EngineFailed


class Client:
    """Answers each request with the number of its messages, or fails."""

    url = None

    def __init__(self, properties: dict[str, object]) -> None:
        self._properties = properties
        self.requests: list[dict[str, object]] = []

    def deployment(self, name: str) -> dict[str, object]:
        return {"task": "generation", "request": {"properties": self._properties}}

    def stream(self, deployment: str, request):
        self.requests.append(request)
        if request["messages"][-1]["content"] == "fail":
            yield "half an "
            raise EngineFailed("The engine failed.")
        if request["messages"][-1]["content"] == "nothing":
            yield {"completion_tokens": 1, "finish_reason": "stop", "response": {"text": ""}}
            return
        yield f"answer {len(self.requests)}"
        yield "\x1b[31m!"
        yield {"completion_tokens": 2, "finish_reason": "stop", "response": {"text": ""}}


@pytest.fixture
def client(monkeypatch) -> Client:
    made = Client({"messages": {}})
    monkeypatch.setattr(Context, "client", lambda self, server=None: nullcontext(made))
    return made


def chat(lines: str, *args: str) -> str:
    result = CliRunner().invoke(app, ["chat", "desk", *args], input=lines, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def contents(request) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in request["messages"]]


def test_each_turn_sends_the_dialogue_until_then(client) -> None:
    shown = chat("hello\n\nagain\n/quit\nnever\n", "--system", "Be kind.", "--temperature", "0.5")
    assert [contents(request) for request in client.requests] == [
        [("system", "Be kind."), ("user", "hello")],
        [
            ("system", "Be kind."),
            ("user", "hello"),
            ("assistant", "answer 1\x1b[31m!"),
            ("user", "again"),
        ],
    ]
    assert client.requests[0]["temperature"] == 0.5 and "max_new_tokens" not in client.requests[0]
    assert "answer 2" in shown and "\x1b" not in shown


def test_reset_begins_again(client) -> None:
    chat("one\n/reset\ntwo\n")
    assert contents(client.requests[1]) == [("user", "two")]


def test_a_turn_that_fails_is_shown_and_is_not_part_of_the_dialogue(client) -> None:
    shown = chat("fail\nnext\n")
    assert "engine_failed" in shown and "The engine failed." in shown
    assert contents(client.requests[1]) == [("user", "next")]


def test_an_empty_answer_is_not_part_of_the_dialogue(client) -> None:
    assert "an empty answer" in chat("nothing\nnext\n")
    assert contents(client.requests[1]) == [("user", "next")]


def test_a_task_without_messages_is_refused(client) -> None:
    client._properties = {"text": {}}
    with pytest.raises(BadRequest, match="takes no `messages`"):
        CliRunner().invoke(app, ["chat", "desk"], input="", catch_exceptions=False)
