"""The suite finds offsets that are not in characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ConfigDict

from hub.api import (
    AdapterInfo,
    HeadKind,
    Model,
    Output,
)
from hub.testing.conformance import TaskConformance
from tests.support.sound_tasks import (
    Request,
    Response,
    Spans,
    run_test,
)


class Place(Model):
    start: int
    end: int
    text: str


class Found(Model):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"said": "a", "places": [{"start": 0, "end": 1, "text": "a"}]}]}
    )

    said: str
    places: tuple[Place, ...]


class Places(Spans):
    """Says where the label is."""

    def place(self, text: str, start: int) -> int:
        return start

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Any:
        said = super().decode(request, outputs, adapter).said
        start = self.place(request.text, request.text.find(said))
        return Found(said=said, places=(Place(start=start, end=start + len(said), text=said),))


class InBytes(Places):
    def place(self, text: str, start: int) -> int:
        return len(text[:start].encode())


class InUtf16(Places):
    def place(self, text: str, start: int) -> int:
        return len(text[:start].encode("utf-16-le")) // 2


class InNormalForm(Places):
    def place(self, text: str, start: int) -> int:
        return len(unicodedata.normalize("NFC", text[:start]))


@pytest.mark.parametrize("flawed", [InBytes, InUtf16, InNormalForm])
def test_offsets_that_are_not_in_characters_fail(flawed: type[Spans]) -> None:
    test = TaskConformance.test_offsets_are_in_characters_also_after_emoji_and_combining_marks
    assert run_test(Places, test, HeadKind.SPAN, Found) is None
    assert "is not at" in str(run_test(flawed, test, HeadKind.SPAN, Found))


class ByteOffsets(Spans):
    """Cuts the bytes of the text where its characters are."""

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        start, end = (int(index) for index in outputs[0].values.argmax(axis=0))
        offsets = outputs[0].row.meta["offsets"]
        cut = request.text.encode()[offsets[start][0] : offsets[end][1]]
        return Response(said=cut.decode(errors="replace"))


def test_an_answer_that_is_cut_in_bytes_fails() -> None:
    test = TaskConformance.test_offsets_are_in_characters_also_after_emoji_and_combining_marks
    assert run_test(Spans, test, HeadKind.SPAN) is None
    assert isinstance(run_test(ByteOffsets, test, HeadKind.SPAN), AssertionError)
