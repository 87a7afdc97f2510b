"""The suite finds streamed answers that depend on how the text is cut, or differ from the whole one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hub.api import (
    AdapterInfo,
    AnswerStream,
    HeadKind,
    JoinedText,
    Output,
    Row,
)
from hub.testing.conformance import TaskConformance
from tests.support.sound_tasks import (
    Request,
    Response,
    Words,
    run_test,
)


class CutsPieces(AnswerStream):
    """Strips every piece instead of the text."""

    def add(self, row: int, text: str) -> str:
        return text.strip()


class Whole(AnswerStream):
    """Sends the text unchanged."""

    def add(self, row: int, text: str) -> str:
        return text


class StreamsPieces(Words):
    def stream(self, request: Request, rows: Sequence[Row], adapter: AdapterInfo) -> AnswerStream:
        return CutsPieces()


class SharesAStream(Words):
    shared = JoinedText(["", ""])

    def stream(self, request: Request, rows: Sequence[Row], adapter: AdapterInfo) -> AnswerStream:
        return self.shared


class AnswersOtherwise(Words):
    text_field = "said"

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        return Response(said=outputs[0].text.strip())


class StreamsNone(Words):
    def stream(self, request: Request, rows: Sequence[Row], adapter: AdapterInfo) -> AnswerStream:
        stream = Whole()
        stream.end = lambda row: None  # type: ignore[assignment,method-assign,return-value]
        return stream


@pytest.mark.parametrize("flawed", [StreamsPieces, SharesAStream, AnswersOtherwise, StreamsNone])
def test_a_flaw_of_a_stream_fails_its_test(flawed: type[Words]) -> None:
    class Stripped(AnswersOtherwise):
        def stream(self, request: Request, rows: Sequence[Row], adapter: AdapterInfo) -> AnswerStream:
            return JoinedText([""] * len(rows))

    test = TaskConformance.test_a_streamed_answer_is_the_same_for_any_pieces_and_equals_the_text_field
    assert run_test(Words, test, HeadKind.GENERATE) is None
    assert run_test(Stripped, test, HeadKind.GENERATE) is None
    assert isinstance(run_test(flawed, test, HeadKind.GENERATE), AssertionError)
