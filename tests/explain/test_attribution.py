"""Attribution of scores to tokens."""

from __future__ import annotations

import json
import sys
import time
from difflib import SequenceMatcher
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253

from hub.api import AdapterInfo, HeadKind, NoOptions, Row
from hub.bases.base import Base
from hub.engine.peft.model import load_adapted
from hub.engine.tokenizer import load_tokenizer
from hub.errors import BadPlugin, BadRequest, MissingExtra, NotFound
from hub.explain.attribution import ExplainOptions, explain_row
from hub.explain.builtin import AttentionRollout
from hub.explain.explanation import Explanation
from hub.explain.token_spans import _longest_run, find_places, words_of
from hub.recipe.recipe import Recipe
from hub.training.fit.model import add_adapter, load_base
from tests.support.plugins import Install, plugin_of, write_page
from tests.support.tiny import ENCODERS, peft_model, tiny_adapter, tiny_encoder

CHOSEN = ExplainOptions()
TEXT = "the service was slow"
FILLERS = ("the", "food", "was", "service", "and")
LABELS = {
    HeadKind.SEQUENCE: ("negative", "positive"),
    HeadKind.TOKEN: ("O", "B-PER", "I-PER"),
    HeadKind.SPAN: (),
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return tiny_encoder(tmp_path_factory.mktemp("bases") / "bert")


def explained(
    base: Base,
    folder: Path,
    head: HeadKind = HeadKind.SEQUENCE,
    options: ExplainOptions = CHOSEN,
    text: str = TEXT,
) -> Explanation:
    labels = LABELS[head]
    adapter = tiny_adapter(base, folder / "adapter", kind=head, labels=labels)
    model, tokenizer = peft_model(base, adapter, head, len(labels)), load_tokenizer(base)
    row = Row(**tokenizer(text, return_attention_mask=False))
    info = AdapterInfo("demo", 3, labels)
    return explain_row(model, tokenizer, head, info, [row], {"text": text}, options)


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_gradients_sum_up_to_the_difference_of_the_scores(model_type: str, tmp_path: Path) -> None:
    found = explained(tiny_encoder(tmp_path / "base", model_type), tmp_path)
    assert found.baseline_score is not None and found.convergence_delta is not None
    difference = found.score - found.baseline_score
    assert abs(difference) > 1e-3
    assert sum(found.scores) == pytest.approx(difference, abs=0.03)
    assert found.convergence_delta == pytest.approx(sum(found.scores) - difference)


def test_the_word_that_decides_has_the_largest_score(bert: Base, tmp_path: Path) -> None:
    labels = LABELS[HeadKind.SEQUENCE]
    adapter = tiny_adapter(bert, tmp_path / "adapter", kind=HeadKind.SEQUENCE, labels=labels)
    model, tokenizer = peft_model(bert, adapter, HeadKind.SEQUENCE, 2), load_tokenizer(bert)
    texts = [f"{one} {word} {two}" for one in FILLERS for two in FILLERS for word in ("good", "bad")]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    targets = torch.tensor([int("good" in text) for text in texts])
    optimizer = torch.optim.Adam(model.requires_grad_(True).parameters(), lr=0.003)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(**batch).logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    text = "the food was good and cheap"
    row = Row(**tokenizer(text, return_attention_mask=False))
    info = AdapterInfo("demo", 1, labels)
    found = explain_row(model, tokenizer, HeadKind.SEQUENCE, info, [row], {"text": text}, ExplainOptions())
    assert found.target == "positive"
    assert max(found.merged(), key=lambda word: abs(word.score)).text == "good"


def test_a_version_that_holds_its_whole_base_is_explained(bert: Base, tmp_path: Path) -> None:
    values = {"task": "sentiment", "data": "unused.csv", "method": {"type": "full"}}
    recipe = Recipe.model_validate(values)
    model = add_adapter(load_base(bert, HeadKind.SEQUENCE, 2), recipe, HeadKind.SEQUENCE).eval()
    tokenizer = load_tokenizer(bert)
    row = Row(**tokenizer(TEXT, return_attention_mask=False))
    info = AdapterInfo("demo", 1, LABELS[HeadKind.SEQUENCE])
    found = explain_row(model, tokenizer, HeadKind.SEQUENCE, info, [row], {"text": TEXT}, ExplainOptions())
    assert any(found.scores)
    assert found.convergence_delta == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_attention_is_shared_out_over_the_row(model_type: str, tmp_path: Path) -> None:
    found = explained(
        tiny_encoder(tmp_path / "base", model_type), tmp_path, options=ExplainOptions("attention")
    )
    assert sum(found.scores) == pytest.approx(1)
    assert min(found.scores) >= 0
    assert found.baseline_score is found.convergence_delta is found.steps is None


def test_attention_of_a_head_that_reads_the_mean_is_that_of_all_tokens(bert: Base, tmp_path: Path) -> None:
    labels, mean = LABELS[HeadKind.SEQUENCE], HeadKind.SEQUENCE_MEAN
    adapter = tiny_adapter(bert, tmp_path / "adapter", kind=mean, labels=labels)
    model, tokenizer = load_adapted(adapter, bert, mean, len(labels), "cpu"), load_tokenizer(bert)
    row, info = Row(**tokenizer(TEXT, return_attention_mask=False)), AdapterInfo("demo", 1, labels)
    texts, options = {"text": TEXT}, ExplainOptions("attention")
    found = explain_row(model, tokenizer, HeadKind.SEQUENCE, info, [row], texts, options)
    ids = torch.tensor([list(row.input_ids)])

    def run(ids: torch.Tensor, types: None, **settings: Any) -> Any:
        return model(input_ids=ids, **settings)

    def rollout(position: int) -> list[float]:
        score = SimpleNamespace(model=model, ids=ids, types=None, position=position, run=run)
        return list(AttentionRollout(NoOptions()).attribute(score).scores)

    each = [rollout(position) for position in range(len(row.input_ids))]
    assert found.scores == pytest.approx([sum(scores) / len(each) for scores in zip(*each, strict=True)])
    assert found.scores != pytest.approx(each[0])


def test_a_label_can_be_asked_for(bert: Base, tmp_path: Path) -> None:
    first = explained(bert, tmp_path, options=ExplainOptions("attention", "negative"))
    second = explained(bert, tmp_path, options=ExplainOptions("attention", "positive"))
    chosen = explained(bert, tmp_path, options=ExplainOptions("attention"))
    assert (first.target, second.target) == ("negative", "positive")
    assert chosen.score == max(first.score, second.score)
    with pytest.raises(NotFound, match="negative, positive"):
        explained(bert, tmp_path, options=ExplainOptions(target="neutral"))


def test_a_token_is_explained_by_its_word(bert: Base, tmp_path: Path) -> None:
    found = explained(bert, tmp_path, HeadKind.TOKEN, ExplainOptions(word="Service", target="B-PER"))
    assert found.target == "B-PER" and found.position is not None
    place = found.places[found.position]
    assert place and TEXT[place.start :].startswith("service"[: place.end - place.start])
    with pytest.raises(NotFound, match="no word 'weather'"):
        explained(bert, tmp_path, HeadKind.TOKEN, ExplainOptions(word="weather"))


def test_without_a_word_the_most_confident_labelled_token_is_explained(bert: Base, tmp_path: Path) -> None:
    found = explained(bert, tmp_path, HeadKind.TOKEN, ExplainOptions("attention"))
    assert found.target != "O"
    assert found.position is not None and found.places[found.position] is not None


@pytest.mark.parametrize("target", ["start", "end"])
def test_both_ends_of_an_answer_can_be_explained(bert: Base, tmp_path: Path, target: str) -> None:
    found = explained(bert, tmp_path, HeadKind.SPAN, ExplainOptions(target=target))
    assert found.target == target
    assert found.convergence_delta == pytest.approx(0, abs=0.03)


def test_only_heads_that_score_tokens_know_words(bert: Base, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="Omit the word"):
        explained(bert, tmp_path, options=ExplainOptions(word="slow"))


def test_the_error_without_captum_names_the_extra(
    bert: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MissingExtra, match=r"grafthub\[explain\]"):
        explained(bert, tmp_path)
    assert explained(bert, tmp_path, options=ExplainOptions("attention")).method == "attention"


def test_as_json_there_is_one_entry_for_each_token(bert: Base, tmp_path: Path) -> None:
    value: dict[str, Any] = json.loads(json.dumps(explained(bert, tmp_path).to_json()))
    lengths = {len(value[key]) for key in ("tokens", "fields", "offsets", "scores")}
    assert lengths == {len(value["tokens"])}
    assert value["offsets"][0] is None and value["fields"][0] is None  # [CLS]
    assert [word["text"] for word in value["words"]] == TEXT.split()
    assert (value["name"], value["version"], value["method"]) == ("demo", 3, "gradients")
    by_words = sum(word["score"] for word in value["words"])
    specials = value["scores"][0] + value["scores"][-1]
    assert by_words + specials == pytest.approx(sum(value["scores"]))


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_words_of_a_pair_are_found_in_their_own_text(model_type: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_encoder(tmp_path / "base", model_type))
    texts = {"question": "who was slow?", "context": "The service was slow. Who knows?"}
    ids = tokenizer(*texts.values())["input_ids"]
    (places,) = find_places([ids], texts, tokenizer)
    known = [place for place in places if place]
    special = set(tokenizer.all_special_ids)
    assert [token in special for token in ids] == [place is None for place in places]
    for name, text in texts.items():
        read = "".join(text[place.start : place.end] for place in known if place.field == name)
        assert read == "".join(text.split())
    assert sum(len(group) for group in words_of(places)) == len(known)


@pytest.mark.parametrize("seed", range(20))
def test_the_longest_run_is_that_of_difflib(seed: int) -> None:
    random = np.random.default_rng(seed)
    ids, text = (random.integers(0, 3, size).tolist() for size in random.integers(0, 40, 2))
    found = SequenceMatcher(None, ids, text, autojunk=False).find_longest_match()
    assert _longest_run(ids, np.asarray(text, np.int32)) == tuple(found)


def test_a_word_that_is_repeated_is_found_in_no_time(bert: Base) -> None:
    """difflib took 9 s for a row, and a long context has up to 256 of them."""
    tokenizer = load_tokenizer(bert)
    text = "slow " * 40_000
    ids = tokenizer(text, truncation=True, max_length=384)["input_ids"]
    began = time.perf_counter()
    places = find_places([ids] * 3, {"context": text}, tokenizer)
    assert time.perf_counter() - began < 5
    assert {len([place for place in row if place]) for row in places} == {382}


def test_an_explainer_of_a_plugin_is_a_method(install: Install, bert: Base, tmp_path: Path) -> None:
    """The example of docs/plugins/explainers.md."""
    install(write_page("explainers", tmp_path))
    found = explained(bert, tmp_path, options=ExplainOptions("occlusion"))
    assert found.method == "occlusion"
    assert len(found.scores) == len(found.tokens)
    assert found.baseline_score is None
    assert any(abs(score) > 1e-6 for score in found.scores)


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ("TokenScores([1.0])", r"Explainer 'bad' returned 1 scores for \d+ tokens"),
        ("None", r"Explainer 'bad' failed in attribute\(\)"),
    ],
)
def test_an_explainer_that_fails_is_named(
    install: Install, bert: Base, tmp_path: Path, returned: str, reason: str
) -> None:
    code = f"""
@hookimpl
def hub_explainers():
    yield ExplainerSpec("bad", "Explains.", "made:Bad")

class Bad(Explainer):
    def attribute(self, score):
        return {returned}
"""
    install(plugin_of(tmp_path, code))
    with pytest.raises(BadPlugin, match=reason):
        explained(bert, tmp_path, options=ExplainOptions("bad"))


def test_an_unknown_method_lists_those_there_are(bert: Base, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"No explainer named 'guess'. Available: attention, gradients"):
        explained(bert, tmp_path, options=ExplainOptions("guess"))
