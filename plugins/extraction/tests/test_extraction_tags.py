"""Tags become spans, and spans tags; ill-formed sequences are read as documented, or avoided."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from grafthub_extraction.tags import best_path, follows, read_spans, tag_names, write_tags
from hypothesis import given
from hypothesis import strategies as st

BIO = tag_names(["PER", "LOC"], "BIO")
BILOU = tag_names(["PER", "LOC"], "BILOU")
LABELS = st.sampled_from([BIO, BILOU])


@st.composite
def spans(draw):
    found, at = [], 0
    for gap, length, kind in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(["PER", "LOC"])), max_size=6)
    ):
        found.append((at + gap, at + gap + length, kind))
        at += gap + length
    return found, at + draw(st.integers(0, 2))


def test_the_schemes() -> None:
    assert BIO == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    assert BILOU == ("O", "B-PER", "I-PER", "L-PER", "U-PER", "B-LOC", "I-LOC", "L-LOC", "U-LOC")


@given(spans(), st.booleans())
def test_what_is_written_is_read_back(made, bilou: bool) -> None:
    found, size = made
    tags = write_tags(found, size, bilou)
    assert read_spans(tags) == found
    labels = BILOU if bilou else BIO
    assert well_formed([labels.index(tag) for tag in tags], labels)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O I-PER I-PER O", [(1, 3, "PER")]),
        ("B-PER I-LOC", [(0, 1, "PER"), (1, 2, "LOC")]),
        ("I-PER B-PER I-PER", [(0, 1, "PER"), (1, 3, "PER")]),
        ("B-PER O L-PER", [(0, 1, "PER"), (2, 3, "PER")]),
        ("B-PER L-PER I-PER", [(0, 2, "PER"), (2, 3, "PER")]),
        ("U-PER I-PER L-PER", [(0, 1, "PER"), (1, 3, "PER")]),
        ("B-PER I-PER U-PER", [(0, 2, "PER"), (2, 3, "PER")]),
        ("PER PER O LOC", [(0, 2, "PER"), (3, 4, "LOC")]),
        ("S-PER B-PER E-PER", [(0, 1, "PER"), (1, 3, "PER")]),
        ("O", []),
    ],
)
def test_ill_formed_tags_are_read_all_the_same(tags: str, expected) -> None:
    assert read_spans(tags.split()) == expected


@given(st.lists(st.sampled_from(["O", "X", *BILOU, "E-PER", "S-PER"])))
def test_any_tags_give_spans_that_cover_all_but_o_once(tags: list[str]) -> None:
    covered = [index for first, stop, _ in read_spans(tags) for index in range(first, stop)]
    assert covered == [index for index, tag in enumerate(tags) if tag != "O"]


def well_formed(path, labels) -> bool:
    around = [len(labels), *path, len(labels)]
    return all(follows(labels)[one, other] for one, other in pairwise(around))


@given(st.lists(st.sampled_from(BIO), max_size=6), st.lists(st.sampled_from(BILOU), max_size=6))
def test_well_formed_is_what_is_written(bio: list[str], bilou: list[str]) -> None:
    for tags, labels in ((bio, BIO), (bilou, BILOU)):
        again = write_tags(read_spans(tags), len(tags), bilou=labels is BILOU)
        assert well_formed([labels.index(tag) for tag in tags], labels) == (again == tags)


@given(LABELS, st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_no_well_formed_sequence_is_likelier(labels, size: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.dirichlet(np.full(len(labels), 0.5), size).astype(np.float32)
    scores = np.maximum(scores, 1e-20)

    def likelihood(path) -> float:
        return sum(
            float(np.log(row[index], dtype=np.float64)) for row, index in zip(scores, path, strict=True)
        )

    path = best_path(scores, labels).tolist()
    assert well_formed(path, labels)
    best = max(
        likelihood(one) for one in product(range(len(labels)), repeat=size) if well_formed(one, labels)
    )
    assert likelihood(path) == pytest.approx(best, rel=1e-6)


def test_a_well_formed_likeliest_sequence_is_left_as_it_is() -> None:
    scores = np.eye(5, dtype=np.float32)[[1, 2, 0, 3]]
    assert best_path(scores, BIO).tolist() == [1, 2, 0, 3]
    assert best_path(scores[:0], BIO).tolist() == []


@pytest.mark.parametrize("labels", [("O", "I-PER"), ("PER", "O"), ("LABEL_0", "LABEL_1")])
def test_labels_without_a_beginning_may_stand_anywhere(labels) -> None:
    assert follows(labels).all()


def test_a_type_without_an_end_may_end_anywhere() -> None:
    labels = ("O", "B-PER", "I-PER", "U-PER")
    assert follows(labels)[1, 0]
    assert not follows(labels)[0, 2]
