"""A shared tokenizer calls the real one once for the same arguments, and returns copies of the result."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hub.serving.requests.shared_tokens import SharedTokens

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


class Counting:
    """Counts the calls of a tokenizer."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.tokenizer.chat_template = TEMPLATE
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str):
        return getattr(self.tokenizer, name)

    def __call__(self, *texts, **options):
        self.calls["call"] += 1
        return self.tokenizer(*texts, **options)

    def apply_chat_template(self, *given, **options):
        self.calls["chat"] += 1
        return self.tokenizer.apply_chat_template(*given, **options)


@pytest.fixture
def real(tiny_base_folder) -> Counting:
    return Counting(tiny_base_folder)


@pytest.fixture
def shared(real):
    """Make tokenizers of a base that share their results."""
    tokens = SharedTokens()
    return lambda base="one": tokens.tokenizer(base, real)


def test_the_same_text_is_tokenized_once_with_and_without_offsets(real, shared) -> None:
    plain = shared()("a warm film", verbose=False)
    pair = shared()("a warm film", None, verbose=False)
    placed = shared()("a warm film", return_offsets_mapping=True, verbose=False)
    assert real.calls == {"call": 1}
    expected = real.tokenizer("a warm film", return_offsets_mapping=True)
    assert dict(placed) == dict(expected)
    del placed["offset_mapping"]
    assert dict(plain) == dict(pair) == dict(placed)
    assert plain.sequence_ids(0) == expected.sequence_ids(0)


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        (("a warm film.",), {}),
        (("a warm film", "a dull one"), {}),
        (("a warm film",), {"add_special_tokens": False}),
        ((["a", "warm", "film"],), {"is_split_into_words": True}),
    ],
)
def test_other_arguments_have_results_of_their_own(real, shared, texts, options) -> None:
    shared()("a warm film")
    assert dict(shared()(*texts, **options)) == dict(real.tokenizer(*texts, **options))
    assert real.calls == {"call": 2}


def test_other_bases_share_nothing(real, shared) -> None:
    shared("one")("a warm film"), shared("two")("a warm film")
    assert real.calls == {"call": 2}


def test_what_one_caller_changes_no_other_sees(shared) -> None:
    first = shared()("a warm film")
    ids = list(first["input_ids"])
    first["input_ids"].append(7)
    first.pop("attention_mask")
    assert shared()("a warm film")["input_ids"] == ids
    assert "attention_mask" in shared()("a warm film")


def test_a_chat_is_rendered_and_tokenized_once(real, shared) -> None:
    chat = [{"role": "user", "content": "Name a river."}]
    one, other = (shared().apply_chat_template(chat, tokenize=False) for _ in range(2))
    assert one == other == "user: Name a river.\n"
    ids = [shared().apply_chat_template(chat, tokenize=True, return_dict=False) for _ in range(2)]
    assert ids[0] == ids[1] and ids[0] is not ids[1]
    assert real.calls == {"chat": 2}


def test_an_argument_that_is_no_json_is_not_shared(real, shared) -> None:
    odd = {"verbose": object()}
    shared()("a", **odd), shared()("a", **odd)
    assert real.calls == {"call": 2}


def test_threads_that_ask_at_the_same_time_share(real, shared) -> None:
    start = threading.Barrier(4)

    def ask(_: int):
        start.wait(10)
        return shared()("a warm film")["input_ids"]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert found == [found[0]] * 4
    assert real.calls == {"call": 1}


def test_everything_else_is_the_tokenizers_own(real, shared) -> None:
    assert shared().is_fast and shared().pad_token_id == real.tokenizer.pad_token_id
    assert shared().get_vocab() == real.tokenizer.get_vocab()
    assert shared().decode(shared()("a warm film")["input_ids"], skip_special_tokens=True) == "a warm film"
