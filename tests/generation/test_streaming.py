"""Texts of rows become parts of an answer, whatever the pieces they arrive in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.api import JoinedText

TEXTS = st.lists(st.text(" \n\u2028ab\u0301", max_size=6), max_size=4)


def joined(texts: list[str], before: list[str]) -> str:
    """The definition: stripped texts that are not empty, with the separator of each but the first."""
    answer = ""
    for text, separator in zip(texts, before, strict=True):
        if text := text.strip():
            answer += separator + text if answer else text
    return answer


@given(TEXTS, st.data())
def test_joined_text_is_the_same_for_every_order_of_pieces(texts: list[str], data: st.DataObject) -> None:
    before = data.draw(st.lists(st.sampled_from(["", " ", "\n"]), min_size=len(texts), max_size=len(texts)))
    stream, parts = JoinedText(before), []
    places = {row: 0 for row in range(len(texts))}
    while places:
        row = data.draw(st.sampled_from(sorted(places)))
        start = places[row]
        if start == len(texts[row]):
            parts.append(stream.end(row))
            del places[row]
            continue
        places[row] = data.draw(st.integers(start + 1, len(texts[row])))
        parts.append(stream.add(row, texts[row][start : places[row]]))
    assert "".join(parts) == joined(texts, before)
    assert JoinedText(before).whole(texts) == joined(texts, before)


def test_joined_text_is_sent_as_soon_as_it_is_certain() -> None:
    stream = JoinedText(["", "\n"])
    assert stream.add(0, "  A film ") == "A film"
    assert stream.add(1, "Good") == ""
    assert stream.add(0, "of") == " of"
    assert stream.end(0) == "\nGood"
    assert stream.add(1, "\n\nnews \n") == "\n\nnews"
    assert stream.end(1) == ""
