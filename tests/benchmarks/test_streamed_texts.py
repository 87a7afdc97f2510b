"""What the hot-swap benchmark takes for a whole stream."""

from __future__ import annotations

import json

import pytest

from benchmarks.hot_swap.texts import broken

START = ("start", {"version": "desk@1"})
PIECES = [("text", {"text": "one "}), ("text", {"text": "two"})]
END = ("end", {"response": {"text": "one two"}})


def events(*sent: tuple[str, object]) -> bytes:
    return "".join(f"event: {event}\ndata: {json.dumps(data)}\n\n" for event, data in sent).encode()


def test_a_stream_with_its_version_its_pieces_and_its_end_is_whole() -> None:
    assert broken(events(START, *PIECES, END), "desk@1") == ""


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [*PIECES, END],
        [START, *PIECES],
        [START, *PIECES, ("error", {"code": "engine_failed"})],
        [START, PIECES[0], END],
        [("start", {"version": "desk@2"}), *PIECES, END],
    ],
)
def test_any_other_is_broken(sent) -> None:
    assert broken(events(*sent), "desk@1")
