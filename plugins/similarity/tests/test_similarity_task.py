"""Requests become rows, vectors become scores, and ranks become figures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from grafthub_similarity.models import SimilarityRequest, SimilarityResponse
from grafthub_similarity.retrieval import figures, retrievals
from grafthub_similarity.task import SimilarityTask

from hub.api import AdapterInfo, BadDimensions, BadRequest, InvalidText, Output, Pooling, Row, TooLarge

TASK = SimilarityTask()
INFO = AdapterInfo("vectors", 1, max_length=16)


def info(**settings):
    return replace(INFO, settings=settings)


def decoded(values, settings=None, **request):
    asked = SimilarityRequest(inputs=["a"] * (len(values) - ("query" in request)), **request)
    outputs = [Output(Row([5, 6, 7]), np.array(one, np.float32)) for one in values]
    return TASK.decode(asked, outputs, info(**settings or {}))


def test_one_text_and_several_make_a_row_each_with_the_query_first(word_tokenizer):
    one = TASK.encode(SimilarityRequest(inputs="the film"), word_tokenizer, INFO)
    both = TASK.encode(
        SimilarityRequest(inputs=["the film", "a city"], query="the news"), word_tokenizer, INFO
    )
    assert [row.input_ids for row in one] == [both[1].input_ids]
    assert both[0].input_ids == word_tokenizer("the news")["input_ids"]
    assert both[0].pooling is Pooling.MEAN


def test_the_pooling_of_the_options_is_that_of_the_rows(word_tokenizer):
    request = SimilarityRequest(inputs="the film")
    assert TASK.encode(request, word_tokenizer, info(pooling="cls"))[0].pooling is Pooling.CLS


def test_queries_and_texts_get_their_prompts(word_tokenizer):
    settings = info(query_prompt="who ", text_prompt="the ")
    query, text = TASK.encode(SimilarityRequest(inputs=["film"], query="won"), word_tokenizer, settings)
    assert query.input_ids == word_tokenizer("who won")["input_ids"]
    assert text.input_ids == word_tokenizer("the film")["input_ids"]
    (alone,) = TASK.encode(SimilarityRequest(inputs="won", input_type="query"), word_tokenizer, settings)
    assert alone.input_ids == query.input_ids


def test_token_ids_are_taken_as_they_are(word_tokenizer):
    ids = word_tokenizer("the film")["input_ids"]
    assert TASK.encode(SimilarityRequest(inputs=[ids]), word_tokenizer, INFO)[0].input_ids == ids
    with pytest.raises(BadRequest, match="Token id 9999 is not one of the base"):
        TASK.encode(SimilarityRequest(inputs=[[5, 9999]]), word_tokenizer, INFO)


@pytest.mark.parametrize("text", ["film " * 50, [6] * 50])
def test_long_texts_are_cut_or_refused(word_tokenizer, text):
    (row,) = TASK.encode(SimilarityRequest(inputs=[text]), word_tokenizer, INFO)
    assert len(row.input_ids) == 16
    with pytest.raises(TooLarge, match=r"Text 2 has \d+ tokens and the limit is 16"):
        TASK.encode(SimilarityRequest(inputs=["x", text], truncate=False), word_tokenizer, INFO)


def test_every_token_has_a_vector_if_asked_for(word_tokenizer):
    request = SimilarityRequest(inputs=["the film", "a"], every_token=True)
    rows = TASK.encode(request, word_tokenizer, info(pooling="cls"))
    assert [row.pooling for row in rows] == [None, None]
    outputs = [Output(row, np.ones((len(row.input_ids), 2), np.float32)) for row in rows]
    answer = TASK.decode(request, outputs, INFO)
    assert answer.vectors is None
    assert answer.token_vectors == [[[1.0, 1.0]] * len(row.input_ids) for row in rows]
    assert (answer.dimensions, answer.tokens) == (2, sum(len(row.input_ids) for row in rows))


def test_vectors_of_tokens_have_limits(word_tokenizer):
    many = SimilarityRequest(inputs=["the film"] * 1500, every_token=True)
    with pytest.raises(TooLarge, match="limit of every_token is 4,096"):
        TASK.encode(many, word_tokenizer, INFO)
    for other in ({"query": "film"}, {"dimensions": 1}, {"normalize": True}):
        request = SimilarityRequest(inputs="film", every_token=True, **other)
        with pytest.raises(BadRequest, match="goes without"):
            TASK.encode(request, word_tokenizer, INFO)


def test_an_empty_text_in_a_list_is_invalid():
    with pytest.raises(InvalidText):
        SimilarityRequest(inputs=["a film", " "])


def test_vectors_have_length_1_unless_trained_or_asked_otherwise():
    assert decoded([[3, 4]]).vectors == [pytest.approx([0.6, 0.8])]
    assert decoded([[3, 4]], normalize=False).vectors == [[3, 4]]
    assert decoded([[3, 4]], {"normalize": False}).vectors == [[3, 4]]
    assert decoded([[3, 4]], {"normalize": False}, normalize=True).vectors == [pytest.approx([0.6, 0.8])]
    assert decoded([[0, 0]]).vectors == [[0, 0]]


def test_scores_are_cosines_with_the_query():
    answer = decoded([[0, 2], [3, 4], [4, -3]], query="q")
    assert answer.scores == pytest.approx([0.8, -0.6])
    assert answer.query_vector == [0, 1]
    assert answer.tokens == 9
    short = decoded([[0, 2], [3, 4]], query="q", vectors=False)
    assert (short.vectors, short.query_vector) == (None, None)
    assert short.scores == pytest.approx([0.8])


def test_shortened_vectors_are_normalized_after_the_cut():
    answer = decoded([[3, 4, 12]], dimensions=2)
    assert answer.vectors == [pytest.approx([0.6, 0.8])]
    assert answer.dimensions == 2
    with pytest.raises(BadDimensions, match="dimensions is 4, and vectors of this deployment have 3"):
        decoded([[3, 4, 12]], dimensions=4)


def test_answers_agree_if_their_best_input_is_the_same():
    first, same, other = ([[1, 0], [1, low], [1, high]] for low, high in ((0, 1), (0.1, 2), (1, 0)))
    answers = [decoded(vectors, query="q") for vectors in (first, same, other)]
    assert TASK.agrees(answers[0], answers[1]) is True
    assert TASK.agrees(answers[0], answers[2]) is False
    assert TASK.agrees(decoded([[1, 0]]), decoded([[1, 0]])) is None


def answer(query, *vectors):
    return SimilarityResponse(vectors=list(vectors), query_vector=query, scores=None, dimensions=2, tokens=1)


def example(query, good, bad=None):
    return {"query": query, "good": good, "bad": bad}


def test_the_good_text_is_ranked_among_all_good_and_bad_texts():
    answers = [answer([1, 0], [0.9, 0.1], [1, 0]), answer([0, 1], [0, 1])]
    first, second = retrievals(answers, [example("one", "A", "B"), example("two", "C")])
    assert (first.rank, first.texts, first.best, first.best_score) == (2, 3, "B", 1)
    assert (second.rank, second.best) == (1, "C")


def test_other_good_texts_of_a_query_do_not_lower_its_rank():
    answers = [answer([1, 0], [1, 0]), answer([1, 0], [0.5, 0])]
    ranks = [one.rank for one in retrievals(answers, [example("one", "A"), example("one", "B")])]
    assert ranks == [1, 1]


def test_vectors_that_are_all_equal_rank_last():
    answers = [answer([1, 0], [1, 0]) for _ in range(3)]
    examples = [example(str(number), f"text {number}") for number in range(3)]
    assert [one.rank for one in retrievals(answers, examples)] == [3, 3, 3]


def test_ranks_over_several_blocks_equal_those_of_one(monkeypatch):
    random = np.random.default_rng(0)
    answers = [answer(*random.normal(size=(2, 4)).tolist()) for _ in range(7)]
    examples = [example(str(number), f"text {number}") for number in range(7)]
    whole = [one.rank for one in retrievals(answers, examples)]
    monkeypatch.setattr("grafthub_similarity.retrieval.QUERIES_AT_ONCE", 3)
    assert [one.rank for one in retrievals(answers, examples)] == whole


def test_figures_of_ranks():
    assert figures([1, 2, 20]) == pytest.approx(
        {
            "recall_at_1": 1 / 3,
            "recall_at_10": 2 / 3,
            "mrr": (1 + 1 / 2 + 1 / 20) / 3,
            "ndcg_at_10": (1 + 1 / np.log2(3)) / 3,
        }
    )


def test_vectors_are_exact_in_json():
    values = np.random.default_rng(0).normal(size=8).astype(np.float32)
    (vector,) = json.loads(decoded([values], normalize=False).model_dump_json())["vectors"]
    assert np.array_equal(np.array(vector, np.float32), values)
