"""Text of others cannot act on the terminal that shows it."""

from __future__ import annotations

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from hub.cli.screen.output import error_console, fail, print_json, progress, say, table
from hub.errors import HubError
from hub.visible import keep_logs_visible, visible, visible_json

EVIL = [
    "\x1b]0;title\x07",
    "\x1b[2J",
    "\x9b31m",
    "a\rb",
    "\u202egnp.exe",
    "\u2066x",
    "\x7f",
    "\x00",
    "\udcff",
]
ACTING = set("\x1b\x07\x9b\r\u202e\u2066\x7f\x00\udcff")


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("how", ["say", "table", "fail", "json", "progress"])
def test_no_way_of_printing_lets_it_through(text, how, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["hub"])
    if how == "say":
        say(f"[bold]label[/] {text}")
    elif how == "table":
        table(("LABEL",), [(text,)])
    elif how == "fail":
        with pytest.raises(SystemExit):
            fail(HubError(text))
    elif how == "json":
        print_json({"label": text})
    else:
        error_console().print(f"step {text}")
    printed = "".join(capsys.readouterr())
    assert printed
    assert not ACTING & set(printed)


@pytest.mark.parametrize("text", [*EVIL, "[red]x[/red]", "[/]", "[link=http://x]y", "{task.id}", "\\[b]"])
def test_descriptions_of_bars_are_text(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as bars:
        bars(f"read {text}.csv", 1, 2, note=f"label {text}")
        bars(f"predict {text}", 1, 0)
    printed = capsys.readouterr().err
    assert not ACTING & set(printed)
    lines = printed.split("\n")
    assert f"read {visible(text)}.csv  label {visible(text)}" in lines[0]
    assert f"predict {visible(text)}" in lines[1]


def test_the_text_beside_a_spinner_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    for text in (*EVIL, "[red]x[/red]", "[/]"):
        with error_console().status(f"Installing {text}") as spinner:
            assert isinstance(spinner.status, str)
            assert Text.from_markup(spinner.status).plain == f"Installing {visible(text)}"
    assert not ACTING & set("".join(capsys.readouterr()))


def test_a_description_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as bars:
        bars("read a\nerror: gone.csv", 1, 0)
    assert "read a\\nerror: gone.csv" in capsys.readouterr().err


@given(st.text())
def test_json_keeps_its_value(text) -> None:
    document = json.dumps({"text": text}, ensure_ascii=False)
    assert json.loads(visible_json(document)) == {"text": text}


def test_what_does_not_act_stays() -> None:
    text = "Grüße, 世界 👩‍👩‍👧 עברית\tand\nlines"
    assert visible(text) == text


def test_logs_show_it_too() -> None:
    sink = io.StringIO()
    handler = logging.StreamHandler(sink)
    logger = logging.getLogger("tests.visible")
    logger.addHandler(handler)
    before = {one: list(one.filters) for one in logging.root.handlers}
    keep_logs_visible()
    logger.error("label %s", "\x1b[2J")
    logger.removeHandler(handler)
    for one, filters in before.items():
        one.filters = filters
    assert sink.getvalue() == "label \\x1b[2J\n"
